"""Files and folders in ComfyUI's model folders that may hold an SDXL UNet."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ....demo import COMPOSITION_LORA, FOLDER, demo_folder
from ....models.sdxl.files import holds_unet

# Model folders for single files, in the order in which a name is looked for.
FILE_FOLDERS = ("diffusion_models", "checkpoints")
DIFFUSERS = "diffusers"
# The name of the demo model that comes with the pack, with the LoRA of its feedback learning.
DEMO = "demo model, tuned"
# Levels of folders below models/diffusers that are searched: publisher and model, whose unet/ is below.
DEPTH = 2


def list_unets() -> list[str]:
    """Names that the loader offers: diffusers folders, which end in a slash, files, the tuned demo model."""
    files = (name for folder in FILE_FOLDERS for name in folder_paths.get_filename_list(folder))
    tuned = [DEMO] if _demo_is_tuned() else []
    return [*sorted(_diffusers_folders()), *dict.fromkeys(files), *tuned]


def unet_path(name: str) -> Path:
    """The file or folder of an offered name; FileNotFoundError for a name that leads anywhere else."""
    if name == DEMO and _demo_is_tuned():
        return demo_folder()
    if (folder := _diffusers_folders().get(name)) is not None:
        return folder
    if not name.endswith("/"):
        for kind in FILE_FOLDERS:
            if (path := folder_paths.get_full_path(kind, name)) is not None:
                return Path(path)
    folders = [one for kind in (DIFFUSERS, *FILE_FOLDERS) for one in folder_paths.get_folder_paths(kind)]
    raise FileNotFoundError(
        f"There is no UNet {name!r}. Put the published folder (with unet/ in it) into {folders[0]}, or one "
        f"file into {', '.join(folders[1:])}, and choose it from the list."
    )


def _demo_is_tuned() -> bool:
    return (FOLDER / COMPOSITION_LORA).is_file()


def _diffusers_folders() -> dict[str, Path]:
    """Name -> folder."""
    found: dict[str, Path] = {}
    for root in folder_paths.get_folder_paths(DIFFUSERS):
        for path, folders, _ in os.walk(root, followlinks=True):
            place = Path(path).relative_to(root)
            if place.parts and holds_unet(Path(path)):
                found.setdefault(f"{place.as_posix()}/", Path(path))
                folders.clear()
            elif len(place.parts) >= DEPTH:
                folders.clear()
    return found
