"""One tiny forward pass of each model file, on fixed inputs, so that two people can compare its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..models.ifadapter.adapter import IFAdapter
from ..models.rewards.model import RewardModel
from ..models.sdxl.files import open_unet
from .installation import ADAPTERS, REWARDS, UNETS
from .machine import GIB, free_memory
from .model_files import ITERCOMP, ModelFile
from .report import PassRefusedError, Row

# Predicts noise with the UNet of a file: from latents, time, text and sizes (`unet_inputs`).
UNetPass = Callable[[Path, Mapping[str, Tensor]], Tensor]

SEED = 20241007
# Cells on each side of the latent: the least that SDXL's two halvings leave something of.
SIDE = 16
_WORDS, _TEXT_LAYERS = 8, 3
# SDXL is told height, width, two offsets of the crop, and height and width aimed at.
SIZES = 6
# Beside the file's bytes in float32: activations, and what reading maps.
_SPARE = GIB


def self_check(
    files: Sequence[ModelFile], unet_pass: UNetPass | None
) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Name and check of every file that can be tried: adapters, rewards, and UNets named as IterComp's.

    A check returns its row and raises nothing that a file could cause; PassRefusedError comes through from
    `unet_pass`. Without `unet_pass` no UNet is tried.
    """
    checks: dict[str, Callable[[Path], str]] = {ADAPTERS: _adapter, REWARDS: _reward}
    if unet_pass is not None:
        checks |= dict.fromkeys(UNETS, lambda path: _numbers(unet_pass(path, unet_inputs(path))))
    for file in files:
        named = file.kind not in UNETS or ITERCOMP in file.name.lower()
        if file.useful and named and file.kind in checks:
            yield file.name, lambda file=file: _tried(file, checks[file.kind])


def unet_inputs(path: Path) -> dict[str, Tensor]:
    """`latent` (1, C, 16, 16), `text` (1, 77, D), `pooled` (1, V) of a seed, as a file's UNet takes them."""
    file, draw = open_unet(path), torch.Generator().manual_seed(SEED)
    structure = file.structure
    pooled = structure.vector - SIZES * file.time_features
    return {
        "latent": torch.randn(1, structure.in_channels, SIDE, SIDE, generator=draw),
        "text": torch.randn(1, 77, structure.context, generator=draw),
        "pooled": torch.randn(1, pooled, generator=draw),
    }


def _tried(file: ModelFile, check: Callable[[Path], str]) -> Row:
    try:
        # Half precision is computed as float32 on a CPU.
        needed, free = 2 * file.size + _SPARE, free_memory()
        if free is not None and needed > free:
            words = f"not tried: it takes about {needed / GIB:.1f} GiB of memory, {free / GIB:.1f} are free"
            return Row("note", file.name, words)
        return Row("ok", file.name, check(file.path))
    except ImportError as error:
        return Row("note", file.name, f"not tried: {error}")
    except PassRefusedError:
        raise
    except MemoryError:
        return Row("note", file.name, "not tried to the end: the memory ran out")
    except Exception as error:
        # Libraries raise errors of any kind for what they cannot read; one file must not cost the report.
        return Row(
            "fault",
            file.name,
            str(error) or type(error).__name__,
            "Compare the file's hash with the source; download it again.",
        )


@torch.no_grad()
def _adapter(path: Path) -> str:
    adapter = IFAdapter.load(path)
    config, draw = adapter.config, torch.Generator().manual_seed(SEED)
    phrase = torch.randn(1, _TEXT_LAYERS, _WORDS, config.phrase_width, generator=draw)
    boxes = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    tokens = adapter.instance_tokens(phrase, torch.ones(1, _WORDS), phrase[:, -1, -1], boxes)
    number, width = next(iter(config.layers.items()))
    query = torch.randn(1, SIDE * SIDE, width, generator=draw)
    term = adapter.attention[number](query, tokens, boxes, [1], (SIDE, SIDE))
    return f"tokens {_numbers(tokens)}; term of layer {number} {_numbers(term)}"


@torch.no_grad()
def _reward(path: Path) -> str:
    model = RewardModel.load(path)
    draw = torch.Generator().manual_seed(SEED)
    side = model.config.image_size
    pixels = torch.randn(1, 3, side, side, generator=draw)
    ids = torch.arange(1, 1 + min(_WORDS, model.config.tokens, model.config.vocabulary - 1))[None]
    return f"raw score {model.raw_score(pixels, ids, torch.ones_like(ids)).item():.4f}"


def _numbers(values: Tensor) -> str:
    """Mean and standard deviation; ArithmeticError where a value is not finite."""
    values = values.double()
    mean, deviation = values.mean().item(), values.std().item()
    if not math.isfinite(mean + deviation):
        raise ArithmeticError("it computes values that are not finite")
    return f"mean {mean:+.4f}, deviation {deviation:.4f}"
