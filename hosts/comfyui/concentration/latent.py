"""Following an energy of the attention maps to the latent, inside ComfyUI's inference mode.

ComfyUI samples in inference mode, where nothing can be differentiated, and its weights are tensors of that
mode, which autograd refuses to keep. So a guided step runs the UNet once more outside that mode, with every
such tensor replaced by a normal one over the same memory; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import comfy.model_management
import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import BasicTransformerBlock, attention_pytorch
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from ....models.attention.probabilities import token_probabilities
from ....models.concentration import Targets
from ....models.concentration.energy import (
    LATENT_STEP,
    Energy,
    Objective,
    unit_step,
)
from ....models.regions import Rectangle
from ..attention.terms import Kept, Text
from ..attention.unet.layers import Block
from ..attention.unet.patch import LayerCall
from ..attention.window import Sampling, Window
from .local import NODE, acting_entities, cropped

# Numbers kept for the backward pass for each cell of the latent, for an SDXL UNet of width 320: everything
# (5.0 GiB in 16 bits at 1024 px), or with checkpoints what goes into each block and the inside of one.
ALL_PER_CELL = 165_000
KEPT_PER_CELL = 26_000
SDXL_WIDTH = 320
MEBIBYTE = 1 << 20
# What takes weights; those that are not resident may be gone by the time of the backward pass.
WEIGHTED = (F.linear, F.conv2d, F.group_norm, F.layer_norm)


class LatentGuidanceError(ValueError):
    """A MODEL or machine on which the latent cannot be guided."""


class _AllCapturedError(Exception):
    """The layers that are left have nothing to do with the energy."""


@dataclass(frozen=True, eq=False)
class LatentTerm:
    """Entities of one conditioning whose energy moves the latent."""

    targets: Targets
    make_objective: Callable[[Targets], Objective]
    strength: float
    layers: tuple[Block, ...]
    window: Window
    node: str = NODE

    def on_zeros(self) -> LatentTerm:
        return self

    def at(self, sigma: float, sampling: Sampling, text: Text) -> LatentStep | None:
        active = acting_entities(self.targets, self.window, sigma, sampling, text)
        if active is None:
            return None
        return LatentStep(self, self.targets, active, text.length)


@dataclass
class Captured:
    """Maps (B, h, w, T) of one conditioning, one for each layer; closed once the backward pass begins."""

    maps: list[Tensor] = field(default_factory=list)
    objective: Objective | None = None
    closed: bool = False


@dataclass(frozen=True, eq=False)
class LatentStep:
    """A term at one sampling step, with what the UNet call captures for it."""

    term: LatentTerm
    targets: Targets
    active: tuple[bool, ...]
    text: int
    captured: list[Captured] = field(default_factory=list)

    @property
    def kind(self) -> Hashable:
        return self

    def crop(self, rectangle: Rectangle, kept: Kept) -> LatentStep:
        # What it captures goes where the whole picture's goes.
        return replace(self, targets=cropped(self.targets, rectangle, kept))

    def group(
        self, members: Sequence[tuple[int, LatentStep]], device: torch.device, kept: Kept
    ) -> CaptureGroup:
        captured = Captured(objective=self.term.make_objective(self.targets))
        self.captured.append(captured)
        return CaptureGroup(self, tuple(index for index, _ in members), captured)


@dataclass(frozen=True, eq=False)
class CaptureGroup:
    """Reads the maps of one conditioning in one UNet call."""

    step: LatentStep
    chunks: tuple[int, ...]
    captured: Captured

    @property
    def blocks(self) -> Collection[Block]:
        return self.step.term.layers

    def act(self, call: LayerCall) -> None:
        (chunk,) = self.chunks
        query, key, _ = call.inputs(chunk)
        key = key[:, : self.step.text]
        found = token_probabilities(query, key, call.heads, range(self.step.text))
        found = found.mean(1).unflatten(1, call.grid)
        if self.captured.closed:
            return  # a checkpoint runs the layer again
        self.captured.maps.append(found)
        if len(self.captured.maps) == len(self.blocks):
            raise _AllCapturedError


def until_captured(executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A UNet call that ends with the last captured layer; what it gives has no meaning then."""
    try:
        return executor(*args, **kwargs)
    except _AllCapturedError:
        return torch.zeros_like(args[0])


def move_denoised(
    run: Callable[[Tensor, LatentStep], Any],
    model: Any,
    steps: Sequence[LatentStep],
    latent: Tensor,
    sigmas: Tensor,
) -> Tensor:
    """What guidance adds to the denoised latent (B, C, h, w), whatever conditioning it was predicted with.

    `run` evaluates the UNet on a latent for the conditioning of a step. The predicted noise moves by
    LATENT_STEP times strength along the normalised gradient of each energy: classifier guidance (Dhariwal
    and Nichol, arXiv 2105.05233, algorithm 2) with the energy for a classifier's logarithm.
    """
    unet = model.diffusion_model
    _check_model(model, unet)
    free = comfy.model_management.get_free_memory(latent.device)
    check_memory(unet, latent, free)
    checkpoints = _needed(unet, latent, ALL_PER_CELL) > free or not _is_resident(unet, latent.device)
    moved = torch.zeros_like(latent)
    try:
        for step in steps:
            moved += (
                LATENT_STEP
                * step.term.strength
                * _unit_step(lambda x, step=step: run(x, step), unet, step, latent, checkpoints)
            )
    except torch.cuda.OutOfMemoryError as error:
        raise LatentGuidanceError(_told_memory(unet, latent, free)) from error
    return moved * sigmas.reshape(-1, 1, 1, 1)


def _unit_step(
    run: Callable[[Tensor], Any], unet: nn.Module, step: LatentStep, latent: Tensor, checkpoints: bool
) -> Tensor:
    step.captured.clear()
    layers = step.term.layers
    with (
        _differentiable(unet) as weights,
        _checkpointed(unet, layers, weights) if checkpoints else nullcontext(),
    ):
        leaf = latent.clone().requires_grad_()
        run(leaf)
        energies = [_energies(step, captured) for captured in step.captured]
        for captured in step.captured:
            captured.closed = True
        total = torch.stack([row.value for rows in energies for row in rows]).sum()
        if not total.requires_grad:
            raise LatentGuidanceError(
                "The attention of this MODEL cannot be differentiated: its weights are quantised, or another "
                f"node pack computes it. Choose the mode local of {NODE}, which needs no gradient."
            )
        (gradient,) = torch.autograd.grad(total, leaf)
        rows = zip(*energies, strict=True)
        distance = torch.stack([torch.stack([part.distance for part in row]).mean() for row in rows])
        return unit_step(gradient, distance)


def _energies(step: LatentStep, captured: Captured) -> list[Energy]:
    """The energy of every picture of the batch."""
    assert captured.objective is not None
    rows = range(len(captured.maps[0]))
    return [captured.objective([one[row : row + 1] for one in captured.maps], step.active) for row in rows]


class _OverSameMemory(TorchFunctionMode):
    """Gives torch normal tensors in place of those of inference mode, over the same memory.

    A weight that was brought here for one operation is kept as a copy: its buffer may serve the next one.
    """

    def __init__(self, resident: frozenset[int]) -> None:
        super().__init__()
        self.resident = resident

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        arguments = [self._normal(one) for one in args]
        named = {name: self._normal(one) for name, one in (kwargs or {}).items()}
        if func in WEIGHTED:
            arguments[1:] = [self._lasting(one) for one in arguments[1:]]
            named = {name: self._lasting(one) for name, one in named.items()}
        return func(*arguments, **named)

    def _normal(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_inference():
            made = torch.empty(0, dtype=value.dtype, device=value.device)
            return made.set_(value.untyped_storage(), value.storage_offset(), value.size(), value.stride())
        if type(value) in (list, tuple):
            return type(value)(self._normal(one) for one in value)
        return value

    def _lasting(self, value: Any) -> Any:
        temporary = (
            isinstance(value, Tensor)
            and not value.requires_grad
            and value.untyped_storage().data_ptr() not in self.resident
        )
        return value.clone() if temporary else value


@contextmanager
def _differentiable(unet: nn.Module) -> Iterator[Callable[[], _OverSameMemory]]:
    resident = frozenset(parameter.untyped_storage().data_ptr() for parameter in unet.parameters())
    with torch.inference_mode(False), torch.enable_grad(), _OverSameMemory(resident):
        yield partial(_OverSameMemory, resident)


@contextmanager
def _checkpointed(
    unet: nn.Module, layers: Sequence[Block], weights: Callable[[], _OverSameMemory]
) -> Iterator[None]:
    """Every block but the last captured one is computed again in the backward pass instead of kept."""
    last = _last_block(unet, layers)
    blocks = [
        module
        for module in unet.modules()
        if isinstance(module, BasicTransformerBlock | ResBlock) and module is not last
    ]
    for block in blocks:
        block.forward = _computed_again(block.forward, weights)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _computed_again(
    forward: Callable[..., Tensor], weights: Callable[[], _OverSameMemory]
) -> Callable[..., Tensor]:
    def run(*args: Any, **kwargs: Any) -> Any:
        # The options say which block is running and go on to say it of the next ones.
        kwargs = {name: dict(one) if isinstance(one, dict) else one for name, one in kwargs.items()}
        return checkpoint(
            forward,
            *args,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), weights()),
            **kwargs,
        )

    return run


def differentiable_options(options: dict[str, Any]) -> dict[str, Any]:
    """transformer_options with torch's own attention in every layer; some backends have no gradient."""

    def attend(_: Any, *args: Any, **kwargs: Any) -> Tensor:
        return attention_pytorch(*args, **kwargs)

    return {**options, "optimized_attention_override": attend}


def _last_block(unet: Any, layers: Sequence[Block]) -> nn.Module:
    """The transformer block of the captured layer that runs last."""
    order = ("input", "middle", "output")
    name, index, number = max(layers, key=lambda block: (order.index(block[0]), *block[1:]))
    stage = [unet.middle_block] if name == "middle" else getattr(unet, f"{name}_blocks")
    blocks = [m for m in stage[index].modules() if isinstance(m, BasicTransformerBlock)]
    return blocks[number]


def _check_model(model: Any, unet: nn.Module) -> None:
    is_dynamic = getattr(model.current_patcher, "is_dynamic", bool)
    if is_dynamic():
        raise LatentGuidanceError(
            f"The mode latent of {NODE} cannot be used while ComfyUI pages weights (dynamic VRAM). Start "
            "ComfyUI with --disable-dynamic-vram, or choose the mode local, which needs no gradient."
        )
    for name, parameter in unet.named_parameters():
        plain = type(parameter.data) in (Tensor, nn.Parameter) and parameter.is_floating_point()
        if not plain:
            raise LatentGuidanceError(
                f"The weights of this MODEL are quantised ({name} is {type(parameter.data).__name__}, "
                f"{parameter.dtype}) and cannot be differentiated through. Load it in 16 bits, or choose the "
                "mode local, which needs no gradient."
            )


def _is_resident(unet: Any, device: torch.device) -> bool:
    """Whether no weight has to be brought in, or cast, for its operation; such copies are kept."""
    return all(weight.device == device and weight.dtype == unet.dtype for weight in unet.parameters())


def check_memory(unet: Any, latent: Tensor, free: int) -> None:
    """LatentGuidanceError if this many bytes will not do."""
    if _needed(unet, latent, KEPT_PER_CELL) > free:
        raise LatentGuidanceError(_told_memory(unet, latent, free))


def _needed(unet: Any, latent: Tensor, per_cell: int) -> int:
    """Bytes that a gradient takes beyond the weights, an estimate."""
    cells = latent.shape[0] * latent.shape[-2] * latent.shape[-1]
    size = torch.tensor([], dtype=unet.dtype).element_size()
    return int(cells * per_cell * size * unet.model_channels / SDXL_WIDTH)


def _told_memory(unet: Any, latent: Tensor, free: int) -> str:
    batch, _, height, width = latent.shape
    needed = _needed(unet, latent, KEPT_PER_CELL)
    return (
        f"The mode latent of {NODE} needs about {needed / MEBIBYTE:.0f} MiB for {batch} picture(s) of "
        f"{8 * width} x {8 * height} pixels, and {free / MEBIBYTE:.0f} MiB are free. Sample fewer or "
        "smaller pictures at once, choose the coarse layers, or choose the mode local."
    )
