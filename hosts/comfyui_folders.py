"""Model folders and version of a ComfyUI that is not running."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ..doctor.installation import FOLDERS, Installation

# ComfyUI itself knows where its models are, extra_model_paths.yaml included; a process of its own is asked.
_ASK = """
import json, os, sys
sys.path.insert(0, os.getcwd())
sys.argv = ["main.py"]
import folder_paths
if os.path.isfile("extra_model_paths.yaml"):
    from utils.extra_config import load_extra_path_config
    load_extra_path_config("extra_model_paths.yaml")
print(json.dumps({name: list(entry[0]) for name, entry in folder_paths.folder_names_and_paths.items()}))
"""
_SECONDS = 60


def read_installation(comfyui: Path) -> Installation:
    """What the ComfyUI in this folder has; ValueError where there is none.

    Where its own code cannot run in this Python, folders below `models` are taken and `remark` says so.
    """
    comfyui = comfyui.expanduser().resolve()
    if not (comfyui / "comfy").is_dir():
        raise ValueError(f"there is no ComfyUI in {comfyui}; name the folder that holds its main.py")
    told, remark = _ask(comfyui)
    models = {name: [Path(folder) for folder in told.get(name, ())] for name in FOLDERS}
    for name in FOLDERS:
        usual = comfyui / "models" / name
        if usual not in models[name]:
            models[name] = [*models[name], usual]
    packs = [Path(folder) for folder in told.get("custom_nodes", ())] or [comfyui / "custom_nodes"]
    return Installation(_version(comfyui), models, packs, remark)


def _ask(comfyui: Path) -> tuple[dict[str, list[str]], str]:
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _ASK], cwd=comfyui, capture_output=True, text=True, timeout=_SECONDS
        )
        return json.loads(answer.stdout.splitlines()[-1]), ""
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        words = (
            f"extra_model_paths.yaml was not read: ComfyUI's own code does not run in {sys.executable}; only "
            f"{comfyui / 'models'} was looked at"
        )
        return {}, words


def _version(comfyui: Path) -> str:
    file = comfyui / "comfyui_version.py"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    line = next((line for line in text.splitlines() if line.startswith("__version__")), None)
    return line.split('"')[1] if line and '"' in line else "of unknown version"
