"""The model folder for IFAdapter files."""

from __future__ import annotations

import os

import folder_paths

FOLDER = "ifadapter"
EXTENSIONS = frozenset({".bin", ".safetensors"})


def register_folder() -> None:
    """Make `models/ifadapter` known to ComfyUI; a folder from extra_model_paths.yaml stays listed."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    # The yaml file may have made the entry before this pack was loaded, so add to its extensions.
    folder_paths.folder_names_and_paths[FOLDER][1].update(EXTENSIONS)


def list_adapters() -> list[str]:
    """Names of the files in the model folder, as the loader offers them."""
    return folder_paths.get_filename_list(FOLDER)


def adapter_path(name: str) -> str:
    """Full path of a file of the model folder; FileNotFoundError for a name that leads anywhere else."""
    path = folder_paths.get_full_path(FOLDER, name)
    if path is None:
        folders = ", ".join(folder_paths.get_folder_paths(FOLDER))
        raise FileNotFoundError(
            f"There is no IFAdapter file {name!r}. Put spd_adapter.bin or a .safetensors made of it into "
            f"{folders} and choose it from the list."
        )
    return path
