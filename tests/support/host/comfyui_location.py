"""Places of ComfyUI, older and newer ComfyUI versions and other packs on this machine. Standard library only.

`python tests/support/host/comfyui_location.py` prints the ComfyUI folder, or nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]

HOW_TO_GET_COMFYUI = (
    "ComfyUI was not found. Get it with `git clone https://github.com/Comfy-Org/ComfyUI "
    "~/comfy/ComfyUI` or name its folder in COMFYUI_PATH."
)


def find_comfyui() -> Path | None:
    """COMFYUI_PATH, else ~/comfy/ComfyUI, else the ComfyUI this checkout is a custom node of."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        folder = Path(named).expanduser().resolve()
        if not _is_comfyui(folder):
            raise FileNotFoundError(f"COMFYUI_PATH is {named}, which holds no comfy/ and no main.py.")
        return folder
    candidates = [Path.home() / "comfy" / "ComfyUI"]
    if REPOSITORY.parent.name == "custom_nodes":
        candidates.append(REPOSITORY.parents[1])
    return next((folder for folder in candidates if _is_comfyui(folder)), None)


def find_older_hosts() -> dict[str, Path]:
    """Older ComfyUI checkouts, `<ComfyUI>/../hosts/*`, by version, whatever their folders are called."""
    found = {version_of(folder): folder for folder in _beside_comfyui("hosts") if _is_comfyui(folder)}
    return dict(sorted(found.items()))


def find_newer_hosts() -> dict[str, Path]:
    """ComfyUI newer than the one the tests are written for, `<ComfyUI>/../newer-hosts/<name>`, by name.

    None is needed. A folder may be a release, or the tested version with later single files in it.
    """
    return {folder.name: folder for folder in _beside_comfyui("newer-hosts") if _is_comfyui(folder)}


def find_packs() -> dict[str, Path]:
    """Other node packs, `<ComfyUI>/../packs/<name>`, by name."""
    return {folder.name: folder for folder in _beside_comfyui("packs")}


def _is_comfyui(folder: Path) -> bool:
    return (folder / "comfy").is_dir() and (folder / "main.py").is_file()


def version_of(comfyui: Path) -> str:
    """The version a checkout says it is, as its tag is called; its folder's name where it says none."""
    file = comfyui / "comfyui_version.py"
    said = re.search(r'__version__ = "(.+)"', file.read_text()) if file.is_file() else None
    return f"v{said[1]}" if said else comfyui.name


def _beside_comfyui(name: str) -> list[Path]:
    comfyui = find_comfyui()
    folder = comfyui.parent / name if comfyui else None
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder and folder.is_dir() else []


if __name__ == "__main__":
    print(find_comfyui() or "")
