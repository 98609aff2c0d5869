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


def _present(name: str) -> str:
    """The name itself, or that of the one file that differs from it by its extension alone."""
    present = list_adapters()
    stem, extension = os.path.splitext(name)
    others = [one for one in present if os.path.splitext(one)[0] == stem]
    is_other = name not in present and extension in EXTENSIONS and len(others) == 1
    return others[0] if is_other else name


def adapter_path(name: str) -> str:
    """Full path of a file of the model folder; FileNotFoundError for a name that leads anywhere else.

    A workflow may name the same weights in the other format: `spd_adapter.safetensors` is found as
    `spd_adapter.bin` too.
    """
    path = folder_paths.get_full_path(FOLDER, _present(name))
    if path is None:
        folders = ", ".join(folder_paths.get_folder_paths(FOLDER))
        raise FileNotFoundError(
            f"There is no IFAdapter file {name!r}. Put spd_adapter.bin or a .safetensors made of it into "
            f"{folders} and choose it from the list."
        )
    return path
