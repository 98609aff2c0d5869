"""Model files in ComfyUI's folders: what each is, read off its header, and its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..models.ifadapter.adapter import IFAdapter
from ..models.rewards.checkpoint import METADATA, unused
from ..models.rewards.model import RewardModel
from ..models.sdxl.architecture import describe
from ..models.sdxl.files import holds_unet, open_unet
from ..models.sdxl.names import unet_names
from ..models.vision.sam import infer_sizes
from ..models.weights import CheckpointError, Weights, open_weights, read_metadata
from .installation import ADAPTERS, DETECTORS, REWARDS, SEGMENTERS, UNETS
from .report import Row

SUFFIXES = frozenset({".safetensors", ".sft", ".bin", ".pth", ".pt"})
# Checkpoints are many, and pickled ones slow to open: only these are looked at there.
_CHECKPOINTS = frozenset({".safetensors", ".sft"})
# What IterComp's authors call their files; no weight tells a tuned SDXL from another.
ITERCOMP = "itercomp"
_CHUNK = 2**22

# Sizes of the published files; a test compares them with their lists of weights.
PUBLISHED_ADAPTER = {
    "phrase_width": 2048,
    "text_width": 2048,
    "queries": 4,
    "resampler_width": 2560,
    "resampler_depth": 4,
    "resampler_heads": 20,
    "position_features": 512,
    "position_hidden": 768,
    "head_dim": 64,
    "gate_hidden": 80,
    "gate_kernel": 7,
    # Processor numbers in diffusers' order, in which odd ones are cross-attention.
    "layers": dict.fromkeys((n for first in (49, 69, 89, 121) for n in range(first, first + 8, 2)), 1280),
}
PUBLISHED_REWARD = {
    "image_size": 224,
    "vision_width": 1024,
    "vision_layers": 24,
    "vocabulary": 30524,
    "text_width": 768,
    "text_layers": 12,
    "head": (1024, 128, 64, 16, 1),
}


@dataclass(frozen=True)
class ModelFile:
    """A file or folder below a model folder of `kind`; `found` says what it is, `fault` what is wrong.

    `useful`: whether a node of this pack can load it as what the folder is for.
    """

    kind: str
    name: str
    path: Path
    found: str
    useful: bool
    fault: str = ""

    @property
    def size(self) -> int:
        """Bytes, those of all weight files for a folder."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())


def find_model_files(models: Mapping[str, Sequence[Path]]) -> list[ModelFile]:
    """What lies in the model folders that the pack's nodes read; headers are read, weights are not."""
    found: list[ModelFile] = []
    for kind, folders in models.items():
        # Several packs may register one folder.
        for folder in dict.fromkeys(folder.resolve() for folder in folders):
            found += [_looked_at(kind, path, folder) for path in _candidates(kind, folder)]
    return found


def file_rows(files: Sequence[ModelFile], hashes: Callable[[Path], str] | None) -> Iterator[Row]:
    """A row for each file that belongs to this pack, and one that counts the other checkpoints.

    `hashes` gives the hash of a file, None leaves hashes out.
    """
    own = [file for file in files if file.kind not in UNETS or ITERCOMP in file.name.lower()]
    for file in own:
        parts, fault = [file.found], file.fault
        try:
            parts.append(f"{file.size:,} bytes")
            # Of a faulty file too: it tells a damaged download from one that is not understood.
            if hashes is not None and file.path.is_file():
                parts.append(f"SHA-256 {hashes(file.path)}")
        except OSError as error:
            fault = fault or f"It cannot be read to its end: {error.strerror or error}"
        state = "fault" if fault else "ok" if file.useful else "note"
        yield Row(state, f"{file.kind}/{file.name}", ", ".join(parts), fault)
    others = [file for file in files if file not in own]
    fitting = sum(file.useful for file in others)
    yield Row("ok" if fitting else "missing", "checkpoints", f"{fitting} of SDXL's plan among {len(others)}")


def sha256(path: Path, told: Callable[[int], object] = lambda _: None) -> str:
    """SHA-256 of a file in hexadecimal; `told` gets the number of bytes of each part that was read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            digest.update(part)
            told(len(part))
    return digest.hexdigest()


def _candidates(kind: str, folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    if kind == "diffusers":
        below = (path for depth in ("*", "*/*") for path in sorted(folder.glob(depth)) if path.is_dir())
        yield from (path for path in below if path.name != "unet" and holds_unet(path))
        return
    suffixes = _CHECKPOINTS if kind in UNETS else SUFFIXES
    for path in sorted(folder.rglob("*")):
        # A folder of the transformers library counts by its configuration, not by its shards.
        whole = kind == DETECTORS and path.name == "config.json" and "bert" not in path.parent.name
        in_folder = kind == DETECTORS and (path.parent / "config.json").is_file()
        if whole:
            yield path.parent
        elif path.is_file() and path.suffix in suffixes and not in_folder:
            yield path


def _looked_at(kind: str, path: Path, folder: Path) -> ModelFile:
    name = path.relative_to(folder).as_posix()
    try:
        found, useful = _KINDS[kind](path)
    except CheckpointError as error:
        return ModelFile(kind, name, path, "not usable here", False, str(error))
    except (OSError, KeyError, IndexError, ValueError) as error:
        return ModelFile(kind, name, path, "cannot be read", False, f"{type(error).__name__}: {error}")
    return ModelFile(kind, name, path, found, useful)


def _adapter(path: Path) -> tuple[str, bool]:
    state = _without_numbers(open_weights([path]))
    # Names and shapes are checked as they are before sampling.
    adapter = IFAdapter.from_state_dict({_plain(name): value for name, value in state.items()})
    config = adapter.config
    published = all(getattr(config, name) == value for name, value in PUBLISHED_ADAPTER.items())
    words = "sizes of the published one" if published else "sizes of its own"
    return f"IFAdapter, {len(config.layers)} layers, {len(adapter.state_dict())} weights, {words}", True


def _unet(path: Path) -> tuple[str, bool]:
    if path.is_file() and (found := _other_than_sdxl(path)) is not None:
        return found, False
    structure = open_unet(path).structure
    return f"UNet of SDXL's plan, width {structure.width}, {structure.in_channels} channels", True


def _other_than_sdxl(path: Path) -> str | None:
    weights = open_weights([path])
    return describe(weights.renamed(unet_names(list(weights)).get).shapes)


def _reward(path: Path) -> tuple[str, bool]:
    weights = open_weights([path])
    state = {name.removeprefix("module."): value for name, value in _without_numbers(weights).items()}
    if "blip.visual_encoder.pos_embed" not in state:
        return describe(weights.shapes) or "a UNet", False
    model = RewardModel.from_state_dict(
        {name: value for name, value in state.items() if not unused(name)}, read_metadata(path, METADATA)
    )
    config = model.config
    published = all(getattr(config, name) == value for name, value in PUBLISHED_REWARD.items())
    words = "sizes of the published ones" if published else "sizes of its own"
    return f"composition reward model, {config.vision_layers} and {config.text_layers} layers, {words}", True


def _detector(path: Path) -> tuple[str, bool]:
    if path.is_dir():
        return "folder of the transformers library", True
    if not any(".level_embed" in name for name in open_weights([path])):
        raise CheckpointError("it has no weight level_embed, as a Grounding DINO has")
    return "Grounding DINO, original weights", True


def _segmenter(path: Path) -> tuple[str, bool]:
    if "sam" not in path.name.lower():
        return "not offered: its name does not contain sam", False
    sizes = infer_sizes(_without_numbers(open_weights([path])), path.name)
    return f"SAM, {sizes['encoder_depth']} blocks of width {sizes['encoder_embed_dim']}", True


def _without_numbers(weights: Weights) -> dict[str, Tensor]:
    """Tensors of the same names and shapes that hold nothing."""
    return {name: torch.empty(header.shape, device="meta") for name, header in weights.items()}


def _plain(name: str) -> str:
    """The name without what distributed training leaves in it."""
    group, _, rest = name.removeprefix("module.").partition(".")
    return f"{group}.{rest.removeprefix('module.')}"


_KINDS: dict[str, Callable[[Path], tuple[str, bool]]] = {
    ADAPTERS: _adapter,
    REWARDS: _reward,
    DETECTORS: _detector,
    SEGMENTERS: _segmenter,
    **dict.fromkeys(UNETS, _unet),
}
