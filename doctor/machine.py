"""Versions of Python and of packages, memory and devices."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from .report import Row

# Packages whose version a report needs, the pack's own requirements first.
PACKAGES = (
    "numpy",
    "Pillow",
    "safetensors",
    "tqdm",
    "torch",
    "transformers",
    "diffusers",
    "accelerate",
    "peft",
    "spacy",
    "segment-anything",
    "groundingdino-py",
    "comfyui-frontend-package",
)
GIB = 2**30


def version_of(package: str) -> str | None:
    """The installed version of a package, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def version_rows(requirements: Path) -> Iterator[Row]:
    """Python, and each package; one that is older than a line of `requirements` asks for is a fault."""
    yield Row("ok", "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    asked = _requirements(requirements)
    for package in PACKAGES:
        version, lowest = version_of(package), asked.pop(package.lower(), None)
        if version is None:
            state = "note" if lowest is None else "fault"
            yield Row(state, package, "not installed", "" if lowest is None else _install(package, lowest))
        elif lowest is not None and _older(version, lowest):
            yield Row("fault", package, f"{version}, older than {lowest}", _install(package, lowest))
        else:
            yield Row("ok", package, version)


def memory_rows() -> Iterator[Row]:
    """Free memory of the machine and of each device that torch sees."""
    free = free_memory()
    yield Row("note" if free is None else "ok", "memory", _amount(free) if free is not None else "not known")
    try:
        import torch
    except ImportError:
        yield Row("missing", "devices", "torch is not installed", "Run this with ComfyUI's Python.")
        return
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            available, whole = torch.cuda.mem_get_info(number)
            words = f"{torch.cuda.get_device_name(number)}, {_amount(available)} of {whole / GIB:.1f} GiB"
            yield Row("ok", f"cuda:{number}", words)
    elif torch.backends.mps.is_available():
        yield Row("ok", "mps", "Apple GPU, which shares the memory above")
    elif torch.xpu.is_available():
        for number in range(torch.xpu.device_count()):
            yield Row("ok", f"xpu:{number}", torch.xpu.get_device_name(number))
    else:
        yield Row("note", "devices", "no GPU that this torch can use: everything runs on the CPU")


def free_memory() -> int | None:
    """Bytes that can be had without swapping, None where nothing tells."""
    try:
        import psutil

        return int(psutil.virtual_memory().available)
    except ImportError:
        names = ("SC_AVPHYS_PAGES", "SC_PAGE_SIZE")
        if not hasattr(os, "sysconf") or not set(names) <= set(os.sysconf_names):
            return None
        return os.sysconf(names[0]) * os.sysconf(names[1])


def _amount(size: int) -> str:
    return f"{size / GIB:.1f} GiB free"


def _requirements(file: Path) -> dict[str, str]:
    """Package in lower case -> lowest version, of lines such as numpy>=1.25."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    pairs = (line.split(">=") for line in lines if ">=" in line and not line.startswith("#"))
    return {name.strip().lower(): lowest.strip() for name, lowest in pairs}


def _older(version: str, lowest: str) -> bool:
    def parts(text: str) -> list[int]:
        return [int(part) if part.isdigit() else 0 for part in text.split("+")[0].split(".")]

    return parts(version) < parts(lowest)


def _install(package: str, lowest: str) -> str:
    return f'In the Python that runs this: python -m pip install "{package}>={lowest}"'
