"""`instance-composer doctor`: versions, model files and features of this machine, as a text for a report."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..doctor.installation import Installation
    from ..doctor.report import Row


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the ComfyUI, and how much is done."""
    parser.add_argument(
        "--comfyui",
        type=Path,
        metavar="FOLDER",
        help="the folder with ComfyUI's main.py (default: COMFYUI_PATH, else the one this pack is a node of)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="leave out hashes, and the tiny pass through each model file"
    )


def run(arguments: argparse.Namespace) -> int:
    """Show the report; 1 when something that should work does not."""
    from ..doctor.examine import examine

    installation = _installation(arguments.comfyui)
    if arguments.quick:
        report = examine(installation)
    else:
        report = examine(installation, thorough=True, unet_pass=_unet_pass(), hashes=_hash, watch=_watch)
    print(report, end="")
    return int(report.faults > 0)


def _installation(comfyui: Path | None) -> Installation:
    from ..doctor.installation import Installation
    from ..hosts.comfyui_folders import read_installation

    own = Path(__file__).resolve().parents[1]
    named = os.environ.get("COMFYUI_PATH")
    if comfyui is None and named:
        comfyui = Path(named)
    if comfyui is None and own.parent.name == "custom_nodes":
        comfyui = own.parents[1]
    if comfyui is None:
        return Installation(remark="not looked for: name its folder with --comfyui")
    return read_installation(comfyui)


def _unet_pass() -> Callable[..., Any] | None:
    """UNets are tried where diffusers is."""
    try:
        from ..hosts.diffusers_sdxl.unet_pass import predict_noise
    except ImportError:
        return None
    return predict_noise


def _hash(path: Path) -> str:
    from tqdm import tqdm

    from ..doctor.model_files import sha256

    size = path.stat().st_size
    with tqdm(total=size, desc=path.name, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        return sha256(path, bar.update)


def _watch(name: str, check: Callable[[], Row]) -> Row:
    from tqdm import tqdm

    # How long a model takes to load is not known before; the bar says which one it is.
    with tqdm(total=1, desc=f"trying {name}", leave=False, disable=None) as bar:
        row = check()
        bar.update()
        return row
