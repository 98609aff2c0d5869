"""The architecture of a UNet, and the kind of any weight file, inferred from names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ..weights import CheckpointError, listing
from .names import RESNETS

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

LEVELS = 3

# SDXL base (stabilityai/stable-diffusion-xl-base-1.0, unet/config.json): channels of the first level, text
# width, width of pooled text and sizes, transformer blocks on the way down, in the middle, on the way up.
SDXL_WIDTH = 320
SDXL_CONTEXT = 2048
SDXL_DEPTHS = ((0, 0, 2, 2, 10, 10), 10, (10, 10, 10, 2, 2, 2, 0, 0, 0))

# Of each residual block on the way down; a UNet with fewer of them has something else under some numbers.
_BLOCKS_DOWN = tuple(
    f"input_blocks.{1 + level * (RESNETS + 1) + index}.0.out_layers.3.weight"
    for level in range(LEVELS)
    for index in range(RESNETS)
)


@dataclass(frozen=True)
class Structure:
    """Sizes of a UNet of SDXL's plan, which may be smaller than SDXL.

    `depths`: transformer blocks of each residual block on the way down, in the middle, and on the way up.
    """

    in_channels: int
    width: int
    multipliers: tuple[int, ...]
    depths: tuple[tuple[int, ...], int, tuple[int, ...]]
    context: int
    vector: int


def sdxl_structure(file: str, shapes: Shapes) -> Structure:
    """The sizes of an SDXL UNet with original names; `file` is what errors call it.

    Inpainting SDXL (more input channels) and smaller models of the same plan are fine. Raises
    `CheckpointError` that says what was found for anything else.
    """
    found = describe(shapes)
    if found is not None:
        raise CheckpointError(
            f"{file} holds {found}. Needed is the UNet of SDXL or of a model trained from it, such as "
            "IterComp: a diffusers folder with unet/, or one file."
        )
    structure = Structure(
        in_channels=shapes["input_blocks.0.0.weight"][1],
        width=shapes["input_blocks.0.0.weight"][0],
        multipliers=_multipliers(shapes),
        depths=_depths(shapes),
        context=_context(shapes) or 0,
        vector=shapes["label_emb.0.0.weight"][1],
    )
    if structure.width == SDXL_WIDTH and structure.depths != SDXL_DEPTHS:
        raise CheckpointError(
            f"{file} holds a distilled or altered SDXL: its transformer depths are {structure.depths[0]}, "
            f"{structure.depths[1]}, {structure.depths[2]}, SDXL's are {SDXL_DEPTHS[0]}, {SDXL_DEPTHS[1]}, "
            f"{SDXL_DEPTHS[2]}. Needed is a full SDXL UNet."
        )
    return structure


def describe(shapes: Shapes) -> str | None:
    """The kind of model that weights with these names are, in words; None for an SDXL UNet."""
    for words, fits in _KINDS:
        if fits(shapes):
            return words
    if "input_blocks.0.0.weight" not in shapes:
        return f"nothing this pack knows: {listing(sorted(shapes), most=5)}"
    return _describe_unet(shapes)


def _describe_unet(shapes: Shapes) -> str | None:
    context = _context(shapes)
    if context is None:
        return "a UNet without text (no cross-attention)"
    levels = 1 + sum(bool(re.fullmatch(r"input_blocks\.\d+\.0\.op\.weight", name)) for name in shapes)
    if "label_emb.0.0.weight" not in shapes or levels != LEVELS:
        known = {768: "the UNet of SD 1.x", 1024: "the UNet of SD 2.x", 1280: "the refiner of SDXL"}
        return (
            f"{known.get(context, 'a UNet of another plan than SDXL')} ({levels} levels, text of {context})"
        )
    needed = ("middle_block.1.proj_in.weight", "out.2.weight", *_BLOCKS_DOWN)
    absent = [name for name in needed if name not in shapes]
    if absent:
        return f"part of an SDXL UNet or a distilled one; it lacks {listing(absent)}"
    if shapes["input_blocks.0.0.weight"][0] == SDXL_WIDTH and context != SDXL_CONTEXT:
        return f"a UNet that reads text of {context}, not of {SDXL_CONTEXT} as SDXL does"
    return None


def _holds(*parts: str) -> Callable[[Iterable[str]], bool]:
    return lambda names: any(part in name for name in names for part in parts)


def _begins(*parts: str) -> Callable[[Iterable[str]], bool]:
    return lambda names: any(name.startswith(parts) for name in names)


# Kinds of models that are no UNet, by names of weights. The first that fits counts: a LoRA's names contain
# those of the model that it is for.
_KINDS: tuple[tuple[str, Callable[[Iterable[str]], bool]], ...] = (
    (
        "a LoRA, which is loaded with Load LoRA",
        _holds(".lora_", "_lora.", ".lora.", ".hada_w1", ".lokr_w", ".diff_b"),
    ),
    (
        "an IFAdapter, which is loaded with Load IFAdapter",
        _begins("text_proj_model.", "adapter_modules.", "pos_net."),
    ),
    ("an IP-Adapter", _begins("image_proj.", "ip_adapter.")),
    ("a ControlNet", _holds("controlnet_", "input_hint_block.", "zero_convs.")),
    ("Flux", _begins("double_blocks.", "single_blocks.", "single_transformer_blocks.")),
    ("SD 3", _begins("joint_blocks.", "transformer_blocks.0.attn.add_q_proj.")),
    ("an autoencoder (VAE)", _begins("decoder.", "first_stage_model.decoder.")),
    ("a text encoder", _begins("text_model.", "text_encoders.")),
)


def _context(shapes: Shapes) -> int | None:
    """Width of the text features."""
    return next((shape[1] for name, shape in shapes.items() if name.endswith(".attn2.to_k.weight")), None)


def _multipliers(shapes: Shapes) -> tuple[int, ...]:
    return tuple(shapes[name][0] // shapes["input_blocks.0.0.weight"][0] for name in _BLOCKS_DOWN[::RESNETS])


def _depths(shapes: Shapes) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    def depth(block: str) -> int:
        pattern = re.compile(rf"{re.escape(block)}\.1\.transformer_blocks\.(\d+)\.attn2\.to_q\.weight")
        return sum(pattern.fullmatch(name) is not None for name in shapes)

    blocks = [level * (RESNETS + 1) + index for level in range(LEVELS) for index in range(RESNETS)]
    down = tuple(depth(f"input_blocks.{block + 1}") for block in blocks)
    up = tuple(depth(f"output_blocks.{block}") for block in range(LEVELS * (RESNETS + 1)))
    return down, depth("middle_block"), up
