"""Weights of MODELs that may be quantised, as ComfyUI's merge nodes see plain ones.

A quantised MODEL has more entries in its state dict than weights: scales and marks of a format, which cannot
be patched. ComfyUI's own types turn into numbers by themselves; those of the GGUF pack only in its layers.
"""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
from torch import Tensor

from ..attention.errors import ModelMismatchError

# What a parameter of the UNet is called that is a weight; others are scales.
_WEIGHTS = ("weight", "bias")
# Types of GGUF whose numbers are plain ones (gguf.GGMLQuantizationType).
_PLAIN = ("F32", "F16")


def weight_shapes(model: Any, prefix: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights below a prefix, that of the numbers however they are stored."""
    with model.use_ejected():
        return {
            key: tuple(value.shape)
            for key, value in model.model.named_parameters()
            if key.startswith(prefix) and key.rpartition(".")[2] in _WEIGHTS
        }


def weight_patches(model: Any, prefix: str) -> dict[str, list[Any]]:
    """`get_key_patches` of a MODEL for its weights alone: (weight, function to numbers), then its patches."""
    keys = weight_shapes(model, prefix)
    if keys.keys() == model.model_state_dict(prefix).keys():
        return model.get_key_patches(prefix)
    patches: dict[str, list[Any]] = {}
    for key in keys:
        weight, _, convert = comfy.model_patcher.get_key_weight(model.model, key)
        if (backup := model.backup.get(key)) is not None:
            weight = backup.weight
        if (hooked := model.hook_backup.get(key)) is not None:
            weight = hooked[0]
        patches[key] = [(weight, convert or _numbers), *model.patches.get(key, [])]
    return patches


def refuse_gguf(place: str, model: Any, prefix: str) -> None:
    """Raise `ModelMismatchError` for a MODEL whose weights only the GGUF pack turns into numbers."""
    named = (
        (key, gguf_type(value)) for key, value in model.model.named_parameters() if key.startswith(prefix)
    )
    kinds = sorted({kind for _, kind in named if kind is not None})
    if kinds:
        raise ModelMismatchError(
            f"The MODEL at {place} is quantised as GGUF ({', '.join(kinds)}), whose weights are numbers only "
            "inside the layers of its pack. Connect the same model from a .safetensors file in 16 bits or in "
            "fp8 with scales; a GGUF model can be the one that is changed."
        )


def gguf_type(weight: Any) -> str | None:
    """The type of a weight of the GGUF pack, such as Q4_K; None for plain numbers.

    Its tensors are known by what they carry, so that the pack need not be there.
    """
    if not (hasattr(weight, "tensor_type") and hasattr(weight, "tensor_shape")):
        return None
    kind = weight.tensor_type
    name = str(getattr(kind, "name", kind))
    return None if kind is None or name in _PLAIN else name


def _numbers(weight: Tensor, **_: Any) -> Tensor:
    """Plain numbers of a weight in one of ComfyUI's quantised types, any other as it is."""
    # By name: older versions of ComfyUI have no such class.
    return weight.dequantize() if type(weight).__name__ == "QuantizedTensor" else weight
