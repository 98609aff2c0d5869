"""One evaluation of a MODEL through ComfyUI's own guider, seen from inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor


@dataclass
class Evaluation:
    """Noise predictions; the negative's is None at CFG 1. `calls` are the batches the UNet saw."""

    positive: Tensor
    negative: Tensor | None
    calls: list[list[int]] = field(default_factory=list)


def evaluate(
    model: Any, positive: Any, negative: Any, latents: Tensor, timestep: int, cfg: float = 7.5
) -> Evaluation:
    """The noise predicted for latents (B, 4, h, w) as they are, at one timestep of 1000."""

    def guider(bound: Any) -> Any:
        made = comfy.samplers.CFGGuider(bound)
        made.set_conds(positive, negative)
        made.set_cfg(cfg)
        return made

    predictions, calls = evaluate_guider(guider, model, latents, timestep)
    # At CFG 1 core hands out zeros in place of the negative it did not evaluate.
    return Evaluation(predictions[0], None if cfg == 1.0 else predictions[1], calls)


def evaluate_guider(
    make_guider: Callable[[Any], Any], model: Any, latents: Tensor, timestep: int
) -> tuple[list[Tensor], list[list[int]]]:
    """Noise predictions in the order in which a guider asks for its conditionings, and the UNet's batches."""
    sigma = model.get_model_object("model_sampling").sigmas[timestep]
    noisy = latents * (sigma**2 + 1).sqrt()
    predictions: list[Tensor] = []
    calls: list[list[int]] = []

    def keep(executor: Any, *args: Any, **kwargs: Any) -> Any:
        denoised = executor(*args, **kwargs)
        predictions.extend((noisy - one) / sigma for one in denoised)
        return denoised

    def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(list(args[5]["cond_or_uncond"]))
        return executor(*args, **kwargs)

    def once(denoiser: Any, x: Tensor, sigmas: Tensor, extra_args: Any, **_: Any) -> Tensor:
        return denoiser(noisy, sigmas[:1].expand(len(x)), **extra_args)

    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "tests", keep)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "tests", count)
    make_guider(model).sample(
        torch.zeros_like(latents),
        torch.zeros_like(latents),
        comfy.samplers.KSAMPLER(once),
        torch.stack((sigma, torch.zeros(()))),
        disable_pbar=True,
        seed=0,
    )
    return predictions, calls
