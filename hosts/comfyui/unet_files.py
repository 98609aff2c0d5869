"""Where ComfyUI keeps files and folders that may hold an SDXL UNet."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ...models.itercomp import holds_unet

# In the order a name is looked for.
FILE_FOLDERS = ("diffusion_models", "checkpoints")
DIFFUSERS = "diffusers"
# Levels below models/diffusers that are looked into, as in publisher/model/unet.
DEPTH = 2


def list_unets() -> list[str]:
    """What the loader offers: diffusers folders, with a slash at the end, and files."""
    files = (name for folder in FILE_FOLDERS for name in folder_paths.get_filename_list(folder))
    return [*sorted(_diffusers_folders()), *dict.fromkeys(files)]


def unet_path(name: str) -> Path:
    """Where an offered name leads; FileNotFoundError for a name that leads anywhere else."""
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
