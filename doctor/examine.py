"""The whole report of an installation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from .installation import FOLDERS, Installation
from .machine import memory_rows, version_of, version_rows
from .packs import pack_rows
from .report import Report, Row, Section

OWN = Path(__file__).resolve().parents[1]
# Takes the name of what is tried, and does it; a command shows a bar around it.
Watch = Callable[[str, Callable[[], Row]], Row]
_NO_TORCH = Row(
    "missing", "model files", "not looked at: torch is not installed", "Run this with ComfyUI's Python."
)


def examine(
    installation: Installation,
    *,
    thorough: bool = False,
    unet_pass: Callable[..., object] | None = None,
    hashes: Callable[[Path], str] | None = None,
    watch: Watch = lambda _, check: check(),
) -> Report:
    """Look at versions, memory, other packs, model files and features; `thorough` also runs model files.

    `unet_pass` is `self_check.UNetPass` of the host at hand. Reads only; nothing is downloaded.
    """
    sections = [
        Section("Versions", (*_own_rows(installation), *version_rows(OWN / "requirements.txt"))),
        Section("Memory", tuple(memory_rows())),
        Section("Other packs", tuple(pack_rows(installation.custom_nodes, OWN))),
    ]
    if version_of("torch") is None:
        return Report((*sections, Section("Model files", (_NO_TORCH,))))
    from .features import feature_rows
    from .model_files import file_rows, find_model_files
    from .self_check import self_check

    files = find_model_files({kind: installation.models.get(kind, ()) for kind in FOLDERS})
    sections.append(Section("Model files", tuple(file_rows(files, hashes))))
    if thorough:
        tried = tuple(watch(name, check) for name, check in self_check(files, unet_pass))  # pyright: ignore[reportArgumentType]
        sections.append(Section("Self-check", tried or (Row("note", "self-check", "no model file to try"),)))
    sections.append(Section("Features", tuple(feature_rows(files))))
    return Report(tuple(sections))


def _own_rows(installation: Installation) -> Iterator[Row]:
    yield Row("ok", "Instance Composer", _own_version())
    if installation.version is None:
        yield Row("note", "ComfyUI", installation.remark or "not found")
    else:
        yield Row("ok", "ComfyUI", installation.version)
        if installation.remark:
            yield Row("note", "model folders", installation.remark)


def _own_version() -> str:
    """The version of the pack, which as a custom node is not an installed package."""
    text = (OWN / "pyproject.toml").read_text(encoding="utf-8") if (OWN / "pyproject.toml").is_file() else ""
    line = next((line for line in text.splitlines() if line.startswith("version = ")), None)
    return line.split('"')[1] if line else version_of("instance-composer") or "of unknown version"
