"""Quantised weights: which tensors of a file belong together, and the numbers they stand for.

A quantised weight lies in 8 bits or fewer beside tensors that tell how to read it. The spellings of the
formats are those ComfyUI 0.33 reads (comfy/utils.py convert_old_quants, comfy/ops.py, comfy/quant_ops.py):

- `scale_weight`, with one `scaled_fp8` for the model
- `weight_scale`
- `weight_scale` with `comfy_quant`, JSON as bytes that names the format
- the same JSON for all layers in the file's metadata, under `_quantization_metadata`
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .errors import CheckpointError, listing

# Key of a `.safetensors` file's metadata that names the formats of layers.
METADATA = "_quantization_metadata"

_FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
# Formats by the names of ComfyUI, and the types their weights may lie in.
_FORMATS = {"float8_e4m3fn": _FP8, "float8_e5m2": _FP8, "int8_tensorwise": (torch.int8,)}

_SCALES = (".scale_weight", ".weight_scale")
# For the multiplication in 8 bits alone: a weight is the same number without them.
_INPUT_SCALES = (".scale_input", ".input_scale")
_MARK = "scaled_fp8"
_LAYER_MARK = ".comfy_quant"
# Which attention kernel the file's author prefers in a layer (ComfyUI 0.40): no weight either.
_PREFERENCE = "comfy_attention.config"

# Formats that are not read, by the ends of names that only they have.
_FOREIGN = (
    ("bitsandbytes (NF4, FP4 or LLM.int8)", (".absmax", ".quant_map", ".SCB", "__nf4", "__fp4")),
    ("quanto", (".weight._data", ".weight._scale")),
    ("SVDQuant (Nunchaku)", (".wscales", ".smooth_factor")),
    ("GPTQ or AWQ", (".qweight", ".qzeros")),
    ("HQQ", (".W_q",)),
    ("compressed-tensors with packed weights", (".weight_packed", ".weight_zero_point")),
    ("fp8 with scales by blocks of 128", (".weight_scale_inv",)),
    ("NVFP4", (".weight_scale_2",)),
    ("W4A8", (".weight_s_rel", ".weight_s_channel")),
    ("fp8 with scaled inputs (SmoothQuant)", (".pre_quant_scale",)),
)
_READ = "Read are fp8 with scales and int8 with scales (int8_tensorwise)"
_ADVICE = (
    f"{_READ}; take the model in one of them or in 16 bits, or load it with ComfyUI's own loader where that "
    "knows the format."
)


class Stored(Protocol):
    """What is known of a tensor before it is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in the file."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Its type in the file."""
        ...


@dataclass(frozen=True)
class Quantisation:
    """How a weight is stored: format, name of the tensor with its scales, size of rotated groups or 0."""

    format: str
    scale: str
    rotated: int = 0


@dataclass(frozen=True)
class Found:
    """The quantised weights of a file by name, and the names of tensors that only tell how to read them."""

    weights: Mapping[str, Quantisation]
    companions: frozenset[str]

    def summary(self) -> str:
        """In words, with what is not used of it; empty for a file without quantised weights."""
        parts = []
        if self.weights:
            formats = sorted({one.format for one in self.weights.values()})
            parts.append(
                f"{len(self.weights)} weights are quantised ({', '.join(formats)}) and were restored"
            )
        inputs = sum(name.endswith(_INPUT_SCALES) for name in self.companions)
        if inputs:
            parts.append(
                f"{inputs} scales of inputs are not used: they are for multiplying in 8 bits, and weights "
                "are the same without them"
            )
        if any(name.endswith(_PREFERENCE) for name in self.companions):
            parts.append("its preferred attention kernels are not used, which changes speed alone")
        return "; ".join(parts)


def find_quantised(
    file: str,
    stored: Mapping[str, Stored],
    read: Callable[[str], Tensor],
    told: Mapping[str, Any] | None = None,
) -> Found:
    """The quantised weights among the tensors of a file; `told` are the `layers_told` of its metadata.

    `read` is called for tensors of a few bytes. Raises `CheckpointError` that names a format which is not
    read, or what does not fit together.
    """
    marks = {name for name in stored if name.endswith(_LAYER_MARK)}
    told_of = {name.removesuffix(_LAYER_MARK): _layer_mark(file, name, read(name)) for name in marks}
    told_of = _known_layers(told or {}, stored) | told_of
    _refuse_formats(file, told_of)
    _refuse_foreign(file, stored)
    scales: dict[str, str] = {}
    for name in stored:
        end = next((one for one in _SCALES if name.endswith(one)), None)
        if end is not None and scales.setdefault(name.removesuffix(end), name) != name:
            raise CheckpointError(
                f"{file} has two scales for {name.removesuffix(end)}.weight; it is damaged."
            )
    weights = {}
    for layer in dict.fromkeys([*scales, *told_of]):
        found = _quantisation(file, layer, told_of.get(layer), scales.get(layer), stored, read)
        if found is not None:
            weights[f"{layer}.weight"] = found
    companions = {name for name in stored if _is_companion(name)} | set(scales.values())
    _refuse_integers(file, {name: one for name, one in stored.items() if name not in weights})
    return Found(weights, frozenset(companions))


def restore(value: Tensor, scale: Tensor, how: Quantisation) -> Tensor:
    """The weight (float32) that a stored tensor and its scales stand for.

    Scales are one for all, one a row, or one a block of equal size. Raises `CheckpointError` for those that
    are no finite numbers.
    """
    scale = scale.to(value.device, torch.float32)
    if not bool(torch.isfinite(scale).all()):
        raise CheckpointError(f"{how.scale} has entries that are no finite numbers; the file is damaged.")
    restored = value.to(torch.float32) * _spread(scale, tuple(value.shape))
    return _rotated_back(restored, how.rotated) if how.rotated else restored


def restored_tensors(file: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in memory with their quantised weights restored and without what tells how to read them."""
    found = find_quantised(file, tensors, tensors.__getitem__)
    return {
        name: restore(value, tensors[found.weights[name].scale], found.weights[name])
        if name in found.weights
        else value
        for name, value in tensors.items()
        if name not in found.companions
    }


def _is_companion(name: str) -> bool:
    ends = (*_INPUT_SCALES, _LAYER_MARK, f".{_PREFERENCE}")
    return name.endswith(ends) or name in (_MARK, _PREFERENCE) or name.endswith(f".{_MARK}")


def _refuse_foreign(file: str, names: Iterable[str]) -> None:
    for words, ends in _FOREIGN:
        found = [name for name in names if name.endswith(ends)]
        if found:
            raise CheckpointError(
                f"{file} is quantised as {words}, which is not read here: {listing(found, most=3)}. {_ADVICE}"
            )


def _layer_mark(file: str, name: str, value: Tensor) -> dict[str, Any]:
    try:
        said = json.loads(bytes(value.flatten().to(torch.uint8).tolist()))
    except (ValueError, TypeError, RuntimeError):
        said = None
    if not isinstance(said, dict):
        raise CheckpointError(f"{file} has no JSON object under {name}, which should name a format.")
    return said


def layers_told(file: str, metadata: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What metadata under `METADATA` says of each layer; `CheckpointError` if that is something else."""
    layers = metadata.get("layers", {})
    if not isinstance(layers, dict) or not all(isinstance(said, dict) for said in layers.values()):
        raise CheckpointError(f"{file} says nothing that can be read under {METADATA} in its metadata.")
    return layers


def _known_layers(told: Mapping[str, dict[str, Any]], names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The layers that are in the file, by full name."""
    known = set(names)
    found: dict[str, dict[str, Any]] = {}
    for layer, said in told.items():
        full = next((f"{start}{layer}" for start in _STARTS if f"{start}{layer}.weight" in known), None)
        if full is not None:
            found[full] = said
    return found


# Prefixes that a whole checkpoint puts before the names of its UNet.
_STARTS = ("", "model.diffusion_model.", "diffusion_model.")


def _refuse_formats(file: str, told: Mapping[str, Mapping[str, Any]]) -> None:
    others = {layer: said.get("format") for layer, said in told.items() if said.get("format") not in _FORMATS}
    if others:
        names = sorted({str(one)[:40] for one in others.values()})
        raise CheckpointError(
            f"{file} is quantised as {', '.join(names)} in {len(others)} layers, which is not read here: "
            f"{listing(others, most=3)}. {_ADVICE}"
        )


def _quantisation(
    file: str,
    layer: str,
    told: Mapping[str, Any] | None,
    scale: str | None,
    stored: Mapping[str, Stored],
    read: Callable[[str], Tensor],
) -> Quantisation | None:
    """How the weight of a layer is stored; None for plain numbers whose scale is 1."""
    name = f"{layer}.weight"
    if name not in stored:
        raise CheckpointError(
            f"{file} has {scale or layer + _LAYER_MARK} without {name}; it is damaged or only part of a "
            "model."
        )
    if scale is None:
        raise CheckpointError(f"{file} lacks the scale of {name}, {layer}.weight_scale; it is damaged.")
    dtype, shape = stored[name].dtype, tuple(stored[name].shape)
    if told is None and dtype not in (*_FP8, torch.int8):
        if bool((read(scale).float() == 1).all()):
            return None
        raise CheckpointError(
            f"{file} has a scale for {name}, which lies in {_short(dtype)}: whether it is still to be "
            "multiplied is not known. Take the file its authors published."
        )
    kind = told["format"] if told is not None else _short(dtype)
    if told is not None and dtype not in _FORMATS[kind]:
        raise CheckpointError(
            f"{file} says that {name} is {kind}, but it lies in {_short(dtype)}. Take the file its authors "
            "published."
        )
    size = tuple(stored[scale].shape)
    if not stored[scale].dtype.is_floating_point or not _fits(size, shape):
        raise CheckpointError(
            f"The scale {scale} of {file} is {_short(stored[scale].dtype)} {size}, and {name} is {shape}: "
            "needed is one number for all, one for each row, or one for each block of equal size."
        )
    return Quantisation(kind, scale, _rotation(file, name, told or {}, shape))


def _fits(scale: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    if torch.Size(scale).numel() == 1 or _one_a_row(scale, weight):
        return True
    blocks = len(scale) == len(weight) == 2 and 0 not in scale
    return blocks and all(size % part == 0 for size, part in zip(weight, scale, strict=True))


def _one_a_row(scale: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    return bool(weight) and scale in (weight[:1], (weight[0], *[1] * (len(weight) - 1)))


def _spread(scale: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Scales in a shape that goes with a weight's."""
    if scale.numel() == 1:
        return scale.reshape(())
    if _one_a_row(tuple(scale.shape), shape):
        return scale.reshape(-1, *[1] * (len(shape) - 1))
    for side in (0, 1):
        scale = scale.repeat_interleave(shape[side] // scale.shape[side], side)
    return scale


def _rotation(file: str, name: str, told: Mapping[str, Any], shape: tuple[int, ...]) -> int:
    """Size of the groups of inputs that were rotated before rounding (ConvRot), 0 for none."""
    settings = told.get("params") if isinstance(told.get("params"), dict) else {}
    said = {**(settings or {}), **told}
    if not said.get("convrot", False):
        return 0
    size = said.get("convrot_groupsize", 256)
    power = isinstance(size, int) and re.fullmatch("10*", f"{size:b}") and (size.bit_length() - 1) % 2 == 0
    if not power or size < 4 or len(shape) != 2 or shape[1] % size:
        raise CheckpointError(
            f"{file} says that {name} {shape} is rotated in groups of {size!r}: they have to be a power of 4 "
            "that divides its columns. The file is damaged."
        )
    return int(size)


def _rotated_back(weight: Tensor, size: int) -> Tensor:
    """Undo ConvRot: groups of inputs times the regular Hadamard matrix, which is its own inverse."""
    four = torch.tensor([[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]], dtype=weight.dtype)
    matrix = four
    while len(matrix) < size:
        matrix = torch.kron(matrix, four)
    matrix = matrix.to(weight.device) / size**0.5
    return (weight.reshape(len(weight), -1, size) @ matrix).reshape(weight.shape)


def _refuse_integers(file: str, stored: Mapping[str, Stored]) -> None:
    whole = [name for name, one in stored.items() if name.endswith(".weight") and one.dtype in _INTEGERS]
    if whole:
        kinds = sorted({_short(stored[name].dtype) for name in whole})
        raise CheckpointError(
            f"{file} has weights in whole numbers ({', '.join(kinds)}) without scales: "
            f"{listing(whole, most=3)}. It is quantised in a way that is not known here. {_ADVICE}"
        )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
