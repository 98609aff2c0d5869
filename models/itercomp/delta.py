"""The difference of two UNet files, tensor by tensor, so that memory holds one tensor of each."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..sdxl.files import UNetFile
from ..sdxl.names import in_group
from ..weights import CheckpointError, listing

FIRST_CONVOLUTION = "input_blocks.0.0.weight"


def deltas(tuned: UNetFile, base: UNetFile) -> Iterator[tuple[str, Tensor]]:
    """(original name, tuned - base in float32) of every weight. Raises `CheckpointError` as `check_plan`."""
    check_plan(tuned, base)
    for name, value in tuned.weights.stream():
        yield name, value.float() - base.weights.read(name).float()


def with_delta(
    model: UNetFile, tuned: UNetFile, base: UNetFile, strength: float = 1.0, blocks: str = "all"
) -> Iterator[tuple[str, Tensor]]:
    """(original name, model + strength x (tuned - base)) of every weight of the model, in its own dtype.

    Only the weights of a group of blocks change. A model with more inputs (inpainting) gets the delta on the
    latent's channels. The order of roundings is that of ComfyUI's merge nodes. Raises `CheckpointError` as
    `check_plan`.
    """
    check_plan(tuned, base)
    check_plan(model, tuned, more_inputs=True)
    for name, value in model.weights.stream():
        if strength == 0 or not in_group(name, blocks):
            yield name, value
            continue
        delta = tuned.weights.read(name).float() * strength - strength * base.weights.read(name).float()
        changed = value.float().clone()
        part = changed.narrow(1, 0, delta.shape[1]) if name == FIRST_CONVOLUTION else changed
        part += delta
        yield name, changed.to(value.dtype)


def check_plan(one: UNetFile, other: UNetFile, more_inputs: bool = False) -> None:
    """Raise `CheckpointError` unless both have the same weights, `one` perhaps with more inputs."""
    first, second = one.weights.shapes, other.weights.shapes
    if more_inputs and first[FIRST_CONVOLUTION][1] > second[FIRST_CONVOLUTION][1]:
        first[FIRST_CONVOLUTION] = second[FIRST_CONVOLUTION]
    differing = [name for name in sorted(first.keys() | second.keys()) if first.get(name) != second.get(name)]
    if differing:
        raise CheckpointError(
            f"{one.name} and {other.name} are not of the same plan: {len(differing)} weights have other "
            f"shapes or are in one of them alone: {listing(differing, most=5)}."
        )
