"""The model folder for vision-language models that judge pictures."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

FOLDER = "vision_language_models"
_CONFIG = "config.json"


def register_judge_folder() -> None:
    """Make `models/vision_language_models` known; a folder from extra_model_paths.yaml stays listed."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    folder_paths.folder_names_and_paths[FOLDER][1].add(".json")


def list_judges() -> list[str]:
    """Names of folders below the model folder that hold a model as Hugging Face's hub has it."""
    files = folder_paths.get_filename_list(FOLDER)
    return sorted({os.path.dirname(name) for name in files if os.path.basename(name) == _CONFIG} - {""})


def judge_path(folder: str) -> Path:
    """The folder of this name; FileNotFoundError for one that is not listed."""
    path = None
    if folder in list_judges():
        path = folder_paths.get_full_path(FOLDER, os.path.join(folder, _CONFIG))
    if path is None:
        places = ", ".join(folder_paths.get_folder_paths(FOLDER))
        raise FileNotFoundError(
            f"There is no vision-language model {folder!r} in {places}. Put its folder there as Hugging "
            "Face's hub has it, with config.json, weights and tokenizer."
        )
    return Path(path).parent
