"""The model folders of Grounding DINO and SAM, and the errors for files that are not there."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

DETECTORS, SEGMENTERS = "grounding-dino", "sams"
EXTENSIONS = frozenset({".pth", ".pt", ".safetensors"})
# Names that are offered even where the files are absent: the error of the run says more than an empty list.
DEFAULT_DETECTOR, DEFAULT_SEGMENTER = "groundingdino_swint_ogc.pth", "sam_vit_b_01ec64.pth"
CONFIG = "config.json"
VOCABULARIES = ("vocab.txt", "tokenizer.json")
# Nodes that can stand in: their MASK or BOUNDING_BOX goes into Instance Layout or Attribute Concentration.
OTHER_NODES = (
    "Other nodes can give regions too: connect a MASK (SAM3 Detect, or any segmentation or mask editor) to "
    "Attribute Concentration, or a MASK or BOUNDING_BOX (RT-DETR Detect) to Instance Layout."
)


class MissingWeightsError(ValueError):
    """A model file that is not there: which one, where it goes, and what to do without it."""


def register_folders() -> None:
    """Make both folders known to ComfyUI; folders from extra_model_paths.yaml stay listed."""
    for name in (DETECTORS, SEGMENTERS):
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))
        # Another pack or the yaml file may have made the entry, so add to its extensions.
        folder_paths.folder_names_and_paths[name][1].update(EXTENSIONS)


def list_detectors() -> list[str]:
    """Files of original weights, and folders of the transformers library."""
    folders = _detector_folders()
    files = [
        name for name in folder_paths.get_filename_list(DETECTORS) if Path(name).parent.name not in folders
    ]
    return _with_default([*files, *folders], DEFAULT_DETECTOR)


def list_segmenters() -> list[str]:
    """Files of SAM weights."""
    names = [name for name in folder_paths.get_filename_list(SEGMENTERS) if "sam" in Path(name).name.lower()]
    return _with_default(names, DEFAULT_SEGMENTER)


def detector_path(name: str) -> Path:
    """The file or folder of this name in models/grounding-dino; `MissingWeightsError` for any other."""
    path = _detector_folders().get(name) or _file(DETECTORS, name)
    if path is None:
        raise MissingWeightsError(
            f"There is no Grounding DINO {name!r}. Put groundingdino_swint_ogc.pth (github.com/IDEA-Research/"
            "GroundingDINO, releases), or a folder of the transformers library such as grounding-dino-tiny, "
            f"into {_places(DETECTORS)}. {OTHER_NODES}"
        )
    return path


def segmenter_path(name: str) -> Path:
    """The file of this name in models/sams; `MissingWeightsError` for any other."""
    path = _file(SEGMENTERS, name)
    if path is None:
        raise MissingWeightsError(
            f"There is no SAM {name!r}. Put sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth or "
            "sam_vit_h_4b8939.pth (github.com/facebookresearch/segment-anything, model checkpoints) into "
            f"{_places(SEGMENTERS)}. {OTHER_NODES}"
        )
    return path


def vocabulary_path(weights: Path) -> Path:
    """The vocabulary of BERT that belongs to a Grounding DINO; `MissingWeightsError` if there is none.

    In a folder of the transformers library; for a file in its folder, in `bert-base-uncased` there, or in
    `models/bert-base-uncased`, where other packs keep it.
    """
    if weights.is_dir():
        places = [weights]
    else:
        shared = Path(folder_paths.models_dir) / "bert-base-uncased"
        places = [weights.parent, weights.parent / "bert-base-uncased", shared]
    files = [place / name for place in places for name in VOCABULARIES]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise MissingWeightsError(
            f"{weights.name} needs the vocabulary of bert-base-uncased, which is not there. Put its "
            f"vocab.txt (huggingface.co/google-bert/bert-base-uncased) into {places[-1]}."
        )
    return found


def _detector_folders() -> dict[str, Path]:
    """Name -> folder, of folders directly below models/grounding-dino that hold a whole model."""
    folders = [Path(base) for base in folder_paths.get_folder_paths(DETECTORS)]
    configs = [config for base in folders if base.is_dir() for config in sorted(base.glob(f"*/{CONFIG}"))]
    # bert-base-uncased may lie here too, and is no detector.
    return {one.parent.name: one.parent for one in configs if "bert" not in one.parent.name}


def _file(folder: str, name: str) -> Path | None:
    if name not in folder_paths.get_filename_list(folder):
        return None
    path = folder_paths.get_full_path(folder, name)
    return None if path is None else Path(path)


def _places(folder: str) -> str:
    return " or ".join(folder_paths.get_folder_paths(folder))


def _with_default(names: list[str], default: str) -> list[str]:
    return names if default in names else [*names, default]
