"""ComfyUI inside this process, with a base directory of its own."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from pathlib import Path

from comfyui_location import find_comfyui


def start_comfyui(cpu: bool = True) -> Path:
    """Make ComfyUI importable, once, on the CPU or on the device it chooses; returns its base directory."""
    root = str(find_comfyui())
    if root not in sys.path:
        sys.path.insert(0, root)
    # Arguments are not parsed unless main.py runs, and most modules read them when they are imported.
    from comfy.cli_args import args

    if not args.base_directory:
        args.cpu = cpu
        args.base_directory = tempfile.mkdtemp(prefix="instance-composer-")
        atexit.register(shutil.rmtree, args.base_directory, ignore_errors=True)
    return Path(args.base_directory)
