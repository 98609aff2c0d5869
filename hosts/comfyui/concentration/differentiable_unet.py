"""UNet made differentiable (autograd) inside ComfyUI's inference mode, within the memory there is.

ComfyUI samples in inference mode, where nothing can be differentiated, and its weights are tensors of that
mode, which autograd refuses to keep. So the UNet runs outside that mode, with every such tensor replaced by a
normal one over the same memory; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import BasicTransformerBlock, attention_pytorch
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from ..attention.layer_call import Block
from ..attention.unet.layers import transformer_block
from .kept_as_saved import KeptAsSaved
from .local import NODE

# Activations kept for the backward pass, as numbers for each cell of the latent, of an SDXL UNet of width
# 320: all of them (5.0 GiB in 16 bits at 1024 px), or with gradient checkpoints the inputs of all blocks and
# the inside of one.
ALL_PER_CELL = 165_000
KEPT_PER_CELL = 26_000
SDXL_WIDTH = 320
MEBIBYTE = 1 << 20
_WAY_OUT = "Sample fewer or smaller pictures at once, choose the coarse layers, or choose the mode local."
# Place in transformer_options of an attention that takes the place of ComfyUI's in every layer.
OVERRIDE = "optimized_attention_override"
# Functions that take weights. An offloaded weight lies in a buffer that the next layer overwrites, while the
# backward pass still needs it.
WEIGHTED = (F.linear, F.conv2d, F.group_norm, F.layer_norm)


class LatentGuidanceError(ValueError):
    """A MODEL or machine on which the latent cannot be guided."""


class _InferenceTensorsAsNormal(TorchFunctionMode):
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
        if func in WEIGHTED and _is_followed(arguments, named):
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


def _is_followed(arguments: Sequence[Any], named: dict[str, Any]) -> bool:
    """Whether an operation keeps its weights for the backward pass: that of a ControlNet's hint does not."""
    given = (*arguments, *named.values())
    return torch.is_grad_enabled() and any(isinstance(one, Tensor) and one.requires_grad for one in given)


@contextmanager
def differentiable(unet: nn.Module, layers: Sequence[Block], checkpoints: bool) -> Iterator[None]:
    """Inside the `with` block the UNet can be differentiated, up to the last of these layers that runs.

    With `checkpoints` its blocks keep their inputs alone for the backward pass.
    """
    resident = frozenset(parameter.untyped_storage().data_ptr() for parameter in unet.parameters())
    normal, kept = partial(_InferenceTensorsAsNormal, resident), KeptAsSaved()
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        normal(),
        kept,
        torch.autograd.graph.saved_tensors_hooks(kept.save, kept.saved),
        _checkpointed(unet, layers, normal) if checkpoints else nullcontext(),
    ):
        yield


@contextmanager
def _checkpointed(
    unet: nn.Module, layers: Sequence[Block], weights: Callable[[], _InferenceTensorsAsNormal]
) -> Iterator[None]:
    """Every block but the last captured one is computed again in the backward pass instead of kept."""
    last = _last_block(unet, layers)
    blocks = [
        module
        for module in unet.modules()
        if isinstance(module, BasicTransformerBlock | ResBlock) and module is not last
    ]
    # Other packs put a forward of their own on a block (object patches), which has to be there afterwards.
    found = [vars(block).get("forward") for block in blocks]
    for block in blocks:
        block.forward = _computed_again(block, block.forward, weights)
    try:
        yield
    finally:
        for block, forward in zip(blocks, found, strict=True):
            del block.forward
            if forward is not None:
                block.forward = forward


def _computed_again(
    block: Any, forward: Callable[..., Tensor], weights: Callable[[], _InferenceTensorsAsNormal]
) -> Callable[..., Tensor]:
    def run(*args: Any, **kwargs: Any) -> Any:
        # Hooks (LoRAs for instances) are gone by the backward pass, which would compute another block.
        if any(part._forward_hooks or part._forward_pre_hooks for part in block.modules()):
            return forward(*args, **kwargs)
        # ComfyUI writes the number of the running block into the options; by the backward pass they name
        # another block, so each block is computed again with a copy of its own.
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
    """transformer_options with an attention that has a gradient in every layer; some backends have none.

    It is torch's own. Where another node has put an attention of its own there, what comes out is that one's
    as without us, and its gradient is that of torch's at the same queries, keys and values.
    """
    installed = options.get(OVERRIDE)
    return {**options, OVERRIDE: _exact if installed is None else partial(_with_gradient, installed)}


def _exact(_: Any, *args: Any, **kwargs: Any) -> Tensor:
    return attention_pytorch(*args, **kwargs)


def _with_gradient(
    installed: Callable[..., Tensor],
    chosen: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    def as_installed(*inputs: Tensor) -> Tensor:
        return installed(chosen, *inputs, *args, **kwargs)

    def exact(*inputs: Tensor) -> Tensor:
        return attention_pytorch(*inputs, *args, **kwargs)

    return _WithGradient.apply(query, key, value, as_installed, exact)


class _WithGradient(torch.autograd.Function):
    """One function of query, key and value with the gradient of another."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        function: Callable[..., Tensor],
        differentiable: Callable[..., Tensor],
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.differentiable = differentiable
        return function(query, key, value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        leaves = [
            one.detach().requires_grad_(needed)
            for one, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
        ]
        with torch.enable_grad():
            out = ctx.differentiable(*leaves)
        asked = [one for one in leaves if one.requires_grad]
        found = iter(torch.autograd.grad(out, asked, gradients[0]))
        return (*(next(found) if one.requires_grad else None for one in leaves), None, None)


def _last_block(unet: Any, layers: Sequence[Block]) -> nn.Module:
    """The transformer block of the captured layer that runs last."""
    order = ("input", "middle", "output")
    return transformer_block(unet, max(layers, key=lambda block: (order.index(block[0]), *block[1:])))


def check_device(device: torch.device) -> None:
    """LatentGuidanceError for a kind of device on which operations of the gradient are missing."""
    if device.type == "mps":
        raise LatentGuidanceError(
            f"The mode latent of {NODE} cannot be used on Apple's GPUs (MPS): torch has no gradient of group "
            "normalisation there. Choose the mode local, which needs no gradient, or start ComfyUI with "
            "--cpu."
        )


def check_model(model: Any) -> None:
    """LatentGuidanceError for a ComfyUI model whose UNet cannot be differentiated: paged, or quantised."""
    is_dynamic = getattr(model.current_patcher, "is_dynamic", bool)
    if is_dynamic():
        raise LatentGuidanceError(
            f"The mode latent of {NODE} cannot be used while ComfyUI pages weights (dynamic VRAM). Start "
            "ComfyUI with --disable-dynamic-vram, or choose the mode local, which needs no gradient."
        )
    for name, parameter in model.diffusion_model.named_parameters():
        plain = type(parameter.data) in (Tensor, nn.Parameter) and parameter.is_floating_point()
        if not plain:
            raise LatentGuidanceError(
                f"The weights of this MODEL are quantised ({name} is {type(parameter.data).__name__}, "
                f"{parameter.dtype}) and cannot be differentiated through. Load it in 16 bits, or choose the "
                "mode local, which needs no gradient."
            )


def computing_dtype(model: Any) -> torch.dtype:
    """The type a ComfyUI model computes in; weights of another one are cast for each operation."""
    return model.manual_cast_dtype or model.diffusion_model.dtype


def _is_resident(model: Any, device: torch.device) -> bool:
    """Whether no weight has to be brought in, or cast, for its operation; such copies are kept."""
    dtype = computing_dtype(model)
    return all(w.device == device and w.dtype == dtype for w in model.diffusion_model.parameters())


def needs_checkpoints(model: Any, latent: Tensor, free: int) -> bool:
    """True if a gradient fits this many free bytes with gradient checkpoints alone."""
    return _needed(model, latent, ALL_PER_CELL) > free or not _is_resident(model, latent.device)


def check_memory(model: Any, latent: Tensor, free: int) -> None:
    """LatentGuidanceError if this many bytes will not do."""
    if _needed(model, latent, KEPT_PER_CELL) > free:
        raise LatentGuidanceError(memory_message(model, latent, free))


def _needed(model: Any, latent: Tensor, per_cell: int) -> int:
    """Bytes that a gradient takes beyond the weights, an estimate."""
    cells = latent.shape[0] * latent.shape[-2] * latent.shape[-1]
    size = computing_dtype(model).itemsize
    return int(cells * per_cell * size * model.diffusion_model.model_channels / SDXL_WIDTH)


def memory_message(model: Any, latent: Tensor, free: int) -> str:
    """A sentence that says how much memory a gradient needs, and what to do."""
    return (
        f"The mode latent of {NODE} needs about {_needs(model, latent)}, and {free / MEBIBYTE:.0f} MiB are "
        f"free. {_WAY_OUT}"
    )


def ran_out_message(model: Any, latent: Tensor, free: int) -> str:
    """The same where memory ran out although so many bytes were free, which the estimate took for enough."""
    return (
        f"Memory ran out in the mode latent of {NODE}. By its estimate it needs about "
        f"{_needs(model, latent)}, and {free / MEBIBYTE:.0f} MiB were free; what other nodes put on the "
        f"MODEL or the prompt is not in the estimate. {_WAY_OUT}"
    )


def _needs(model: Any, latent: Tensor) -> str:
    batch, _, height, width = latent.shape
    needed = _needed(model, latent, KEPT_PER_CELL)
    return f"{needed / MEBIBYTE:.0f} MiB for {batch} picture(s) of {8 * width} x {8 * height} pixels"
