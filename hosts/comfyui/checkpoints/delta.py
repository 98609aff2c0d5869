"""The difference of two SDXL UNets, on a third one as weight patches or in a file as a LoRA.

A patch refers to the weights of the two models, as those of ComfyUI's own merge nodes do: nothing is
computed or copied before a weight is patched, and any number of strengths shares the same two models.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.model_base
import comfy.model_management
import comfy.utils
import folder_paths
import torch
from torch import Tensor

from ....models.itercomp import (
    ExtractionSettings,
    LayerError,
    error_table,
    extract_layer,
    save_lora,
    summary,
)
from ....models.sdxl.names import GROUPS, in_group
from ....models.weights import listing
from ..attention.errors import ModelMismatchError
from .quantised import refuse_gguf, weight_patches, weight_shapes

PREFIX = "diffusion_model."
FIRST_CONVOLUTION = f"{PREFIX}input_blocks.0.0.weight"
STRENGTHS = (-2.0, 2.0)
FILE_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def apply_delta(model: Any, tuned: Any, base: Any, strength: float = 1.0, blocks: str = "all") -> Any:
    """A clone of MODEL with strength x (tuned - base) added to the weights of a group of blocks.

    LoRAs and other patches of all three count and stay. Strength 0 gives the clone without a patch. An
    inpainting MODEL gets the delta on the latent's channels, a quantised one is patched as by LoRAs. Raises
    `ModelMismatchError` if the three do not have the same weights or the delta is of GGUF models, ValueError
    for a strength or a group that is not offered.
    """
    if not STRENGTHS[0] <= strength <= STRENGTHS[1]:
        raise ValueError(f"strength is {strength}; it goes from {STRENGTHS[0]:g} to {STRENGTHS[1]:g}.")
    if blocks not in GROUPS:
        raise ValueError(f"blocks is {blocks!r}; it is one of {', '.join(GROUPS)}.")
    _check_models(model=model, itercomp=tuned, base=base)
    patched = model.clone()
    if strength == 0:
        return patched
    # The patch that ModelMergeSubtract and ModelMergeAdd would write, so that numbers are the same as theirs.
    minuend, subtrahend = weight_patches(tuned, PREFIX), weight_patches(base, PREFIX)
    first = minuend[FIRST_CONVOLUTION][0][0].shape[1]
    patches = {
        _place(key, model, first): [*minuend[key], (-strength, subtrahend[key], strength, None, None)]
        for key in minuend
        if in_group(key.removeprefix(PREFIX), blocks)
    }
    patched.add_patches(patches, 1.0, 1.0)
    return patched


def extract_delta(
    tuned: Any, base: Any, settings: ExtractionSettings, device: torch.device | None = None
) -> tuple[dict[str, Tensor], list[LayerError]]:
    """The entries of a LoRA file for tuned - base, and what each of them misses.

    `device` None is the one ComfyUI computes on. Raises `ModelMismatchError` as `apply_delta`.
    """
    _check_models(itercomp=tuned, base=base)
    device = device or comfy.model_management.get_torch_device()
    minuend, subtrahend = weight_patches(tuned, PREFIX), weight_patches(base, PREFIX)
    bar, state, rows = comfy.utils.ProgressBar(len(minuend)), {}, []
    for key in minuend:
        comfy.model_management.throw_exception_if_processing_interrupted()
        delta = _weight(key, minuend, device) - _weight(key, subtrahend, device)
        entries, row = extract_layer(key.removeprefix(PREFIX), delta, settings)
        state |= entries
        rows.append(row)
        bar.update(1)
    if not state:
        raise ModelMismatchError(
            "The two models have the same weights; there is nothing to extract. Connect IterComp to itercomp "
            "and the SDXL it was tuned from to base."
        )
    return state, rows


def extract_lora(
    tuned: Any,
    base: Any,
    *,
    rank: int,
    energy: float,
    method: str,
    vectors: bool,
    precision: str,
    on_cpu: bool,
    prefix: str,
) -> str:
    """Write tuned - base as a LoRA below ComfyUI's output folder, beside it the errors as `.csv`.

    Returns what was written and its errors in a few lines. Raises as `extract_delta`, and where the prefix
    leads out of the output folder.
    """
    settings = ExtractionSettings(rank, energy, method, vectors, FILE_DTYPES[precision])
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        prefix, folder_paths.get_output_directory()
    )
    state, rows = extract_delta(tuned, base, settings, torch.device("cpu") if on_cpu else None)
    file = Path(folder) / f"{name}_{counter:05}_.safetensors"
    save_lora(file, state, settings)
    file.with_suffix(".csv").write_text(error_table(rows), encoding="utf-8")
    size = file.stat().st_size / 1e6
    return f"{Path(subfolder, file.name).as_posix()}: {size:,.1f} MB\n{summary(rows)}"


def _weight(key: str, patches: Mapping[str, list[Any]], device: torch.device) -> Tensor:
    """A weight in float32 with its patches."""
    (weight, convert), *further = patches[key]
    weight = comfy.model_management.cast_to_device(weight, device, torch.float32, copy=True)
    return comfy.lora.calculate_weight(further, convert(weight, inplace=True), key)


def _place(key: str, model: Any, channels: int) -> Any:
    """The patched part of a weight: all of it, but for the first convolution of a model with more inputs."""
    more = key == FIRST_CONVOLUTION and weight_shapes(model, PREFIX)[key][1] > channels
    return (key, (1, 0, channels)) if more else key


def _check_models(**models: Any) -> None:
    for name, one in models.items():
        if not isinstance(one.model, comfy.model_base.SDXL):
            kind = type(one.model.model_config).__name__
            raise ModelMismatchError(
                f"The MODEL at {name} is {kind}. The delta of IterComp is between SDXL models and fits SDXL "
                "alone: base, checkpoints trained from it, inpainting SDXL (not the refiner)."
            )
        if name != "model":
            refuse_gguf(name, one, PREFIX)
    shapes = {name: weight_shapes(one, PREFIX) for name, one in models.items()}
    for name, other in (("itercomp", "base"), ("model", "itercomp")):
        if name not in shapes:
            continue
        differing = [
            key.removeprefix(PREFIX)
            for key in sorted(shapes[name].keys() | shapes[other].keys())
            if not _fits(key, shapes[name].get(key), shapes[other].get(key), more_inputs=name == "model")
        ]
        if differing:
            raise ModelMismatchError(
                f"The models at {name} and {other} are not of the same plan: {len(differing)} weights have "
                f"other shapes or are in one of them alone: {listing(differing, most=5)}. Connect full SDXL "
                "models; a distilled one (SSD-1B, Vega, KOALA) has fewer weights."
            )


def _fits(
    key: str, target: tuple[int, ...] | None, source: tuple[int, ...] | None, more_inputs: bool
) -> bool:
    """Whether a delta of one shape goes onto a weight; `more_inputs`: which may have more input channels."""
    if target is None or source is None:
        return False
    if more_inputs and key == FIRST_CONVOLUTION:
        return target[1] >= source[1] and target[::2] == source[::2]
    return target == source
