"""The file format of SDXL's UNet: a diffusers folder or a single file, checked before any large read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import sizes_read_from
from ..weights import (
    CheckpointError,
    Weights,
    listing,
    open_weights,
    read_metadata,
    read_texts,
)
from .architecture import SDXL_WIDTH, Structure, sdxl_structure
from .names import unet_names
from .prediction import MARKS, Prediction, read_prediction, scheduler_prediction

_STEM = "diffusion_pytorch_model"
# Files that diffusers writes, in the order of preference: safetensors before torch, full precision before the
# half-precision variant, one file before shards.
_INDEXES = (f"{_STEM}.safetensors.index.json", f"{_STEM}.safetensors.index.fp16.json")
_TORCH_INDEXES = (f"{_STEM}.bin.index.json", f"{_STEM}.bin.index.fp16.json")
_NAMES = (
    f"{_STEM}.safetensors",
    _INDEXES[0],
    f"{_STEM}.fp16.safetensors",
    _INDEXES[1],
    f"{_STEM}.bin",
    _TORCH_INDEXES[0],
    f"{_STEM}.fp16.bin",
    _TORCH_INDEXES[1],
)

# Where a single file keeps the config.json of a model that is smaller than SDXL.
METADATA = "instance_composer.unet"
UNET_CLASS = "UNet2DConditionModel"

# Sizes that no shape tells, of SDXL base (unet/config.json): used where a file has no config.json.
HEAD_DIM = 64
TIME_FEATURES = 256


@dataclass(frozen=True)
class UNetFile:
    """An SDXL UNet on disk: weights under original names, sizes, and what shapes cannot tell.

    `others` are the tensors beside the UNet: text encoders, autoencoder. `prediction` is what it predicts, by
    the marks of a file, which are in neither, or by a folder's scheduler.
    """

    name: str
    weights: Weights
    others: Weights
    structure: Structure
    head_dim: int = HEAD_DIM
    time_features: int = TIME_FEATURES
    config: Mapping[str, Any] = field(default_factory=dict)
    prediction: Prediction = field(default_factory=Prediction)

    def metadata(self) -> dict[str, str]:
        """For a single file of these weights; a smaller model than SDXL takes its config along."""
        small = {METADATA: json.dumps(dict(self.config))} if self.structure.width != SDXL_WIDTH else {}
        return {"format": "pt", **small}


def open_unet(path: Path) -> UNetFile:
    """The UNet of a diffusers folder (the model's or its unet/ alone) or of one file of either naming.

    Reads headers only. Raises `CheckpointError` for what is not a whole, readable SDXL UNet.
    """
    if path.is_dir():
        folder = unet_folder(path)
        everything, config = _open_folder(folder), _config(folder)
        prediction = _beside(folder)
    elif path.is_file():
        everything, config = open_weights([path]), read_metadata(path, METADATA)
        prediction = read_prediction(path.name, everything, everything.read, read_texts(path))
        prediction = prediction if prediction.said else _beside(path.parent)
        everything = everything.renamed(lambda name: None if name in MARKS else name)
    else:
        raise CheckpointError(f"There is no file or folder {path.name}.")
    names = unet_names(list(everything))
    with sizes_read_from(path.name, "a UNet"):
        structure = sdxl_structure(path.name, everything.renamed(names.get).shapes)
        head_dim = _head_dim(config)
    if structure.width != SDXL_WIDTH and not config:
        raise CheckpointError(
            f"{path.name} holds a UNet of SDXL's plan with {structure.width} channels instead of "
            f"{SDXL_WIDTH}, and nothing tells the size of its attention heads. Load its diffusers folder, "
            "whose config.json does."
        )
    return UNetFile(
        path.name,
        everything.renamed(names.get),
        everything.renamed(lambda name: None if name in names else name),
        structure,
        head_dim,
        config.get("addition_time_embed_dim") or TIME_FEATURES,
        config,
        prediction,
    )


def unet_folder(path: Path) -> Path:
    """The folder with the UNet's weights: `unet` below a model's folder, or the folder itself."""
    return path / "unet" if (path / "unet").is_dir() else path


def _beside(folder: Path) -> Prediction:
    """What the scheduler beside a model's unet/ folder says; unmarked for a folder of another name."""
    return scheduler_prediction(folder.parent) if folder.name == "unet" else Prediction()


def holds_unet(path: Path) -> bool:
    """Whether a folder looks like a diffusers model with a UNet, or like its unet/ folder."""
    folder = unet_folder(path)
    if folder == path and not any((folder / name).is_file() for name in _NAMES):
        return False
    return _config(folder).get("_class_name", UNET_CLASS) == UNET_CLASS


def _open_folder(folder: Path) -> Weights:
    file = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    if file is None:
        there = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
        raise CheckpointError(
            f"{folder.parent.name}/{folder.name} has no UNet weights: it holds {listing(there)}. Expected is "
            f"{_STEM}.safetensors, its shards with {_INDEXES[0]}, or {_STEM}.bin."
        )
    return _open_shards(file) if file.name in (*_INDEXES, *_TORCH_INDEXES) else open_weights([file])


def _open_shards(index: Path) -> Weights:
    try:
        places: Any = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{index.name} is no index of weight shards ({error}).") from error
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise CheckpointError(
            f"{index.name} is no index of weight shards: its weight_map should say the file of every weight."
        )
    shards = sorted(set(places.values()))
    if any(Path(shard).name != shard for shard in shards):
        raise CheckpointError(f"{index.name} names files outside its own folder, which are not read.")
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(shards)} shards of {index.name} are missing: {listing(missing)}. "
            f"Download them into {index.parent.parent.name}/{index.parent.name}."
        )
    weights = open_weights(index.parent / shard for shard in shards)
    absent = [name for name in places if name not in weights]
    if absent:
        raise CheckpointError(
            f"The shards of {index.name} lack {len(absent)} of its {len(places)} weights: {listing(absent)}. "
            "They are of another model or version than the index."
        )
    return weights


def _config(folder: Path) -> dict[str, Any]:
    """config.json of a folder; nothing where there is none that can be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _head_dim(config: dict[str, Any]) -> int:
    heads, widths = config.get("attention_head_dim"), config.get("block_out_channels")
    if not heads or not widths:
        return HEAD_DIM
    # The key attention_head_dim holds the number of heads, a misnomer that diffusers keeps for old files.
    last = heads[-1] if isinstance(heads, list) else heads
    return int(widths[-1] // last)
