"""The model folder for composition reward models."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ....models.rewards import ASPECTS, SUFFIXES, reward_files

FOLDER = "composition_rewards"
NONE = "none"


def register_reward_folder() -> None:
    """Make `models/composition_rewards` known; a folder from extra_model_paths.yaml stays listed."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    folder_paths.folder_names_and_paths[FOLDER][1].update(SUFFIXES)


def list_reward_files() -> list[str]:
    """Names of the files in the model folder."""
    return folder_paths.get_filename_list(FOLDER)


def list_reward_folders() -> list[str]:
    """Names of folders below the model folder that hold files."""
    return sorted({os.path.dirname(name) for name in list_reward_files()} - {""})


def chosen_files(folder: str | None, names: dict[str, str]) -> dict[str, Path]:
    """Full paths by aspect: those of a folder of the model folder, or of the named files.

    Raises FileNotFoundError for a name that leads anywhere else, ValueError when nothing is named.
    """
    if folder is not None:
        inside = [name for name in list_reward_files() if os.path.dirname(name) == folder]
        if not inside:
            raise FileNotFoundError(f"There is no folder {folder!r} with reward models in {_places()}.")
        return reward_files(_path(inside[0]).parent)
    found = {aspect: _path(names[aspect]) for aspect in ASPECTS if names.get(aspect, NONE) != NONE}
    if not found:
        raise ValueError(
            f"No reward model is chosen. Put the files into {_places()} and choose one for at least one of "
            f"{', '.join(ASPECTS)}, or choose a folder that has them."
        )
    return found


def _path(name: str) -> Path:
    path = folder_paths.get_full_path(FOLDER, name)
    if path is None:
        raise FileNotFoundError(f"There is no reward model {name!r} in {_places()}.")
    return Path(path)


def _places() -> str:
    return ", ".join(folder_paths.get_folder_paths(FOLDER))
