"""One evaluation of a MODEL through ComfyUI's own guider, seen from inside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import comfy.sample
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
    sampling = model.get_model_object("model_sampling")
    sigma = sampling.sigmas[timestep]
    noisy = latents * (sigma**2 + 1).sqrt()
    seen: list[list[Tensor]] = []
    calls: list[list[int]] = []

    def keep(args: dict[str, Any]) -> Any:
        seen.append(args["conds_out"])
        return args["conds_out"]

    def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(list(args[5]["cond_or_uncond"]))
        return executor(*args, **kwargs)

    def once(denoiser: Any, x: Tensor, sigmas: Tensor, extra_args: Any, **_: Any) -> Tensor:
        return denoiser(noisy, sigmas[:1].expand(len(x)), **extra_args)

    model = model.clone()
    model.set_model_sampler_pre_cfg_function(keep)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "tests", count)
    comfy.sample.sample_custom(
        model,
        torch.zeros_like(latents),
        cfg,
        comfy.samplers.KSAMPLER(once),
        torch.stack((sigma, torch.zeros(()))),
        positive,
        negative,
        torch.zeros_like(latents),
        disable_pbar=True,
    )
    positive_noise, negative_noise = ((noisy - denoised) / sigma for denoised in seen[0])
    # At CFG 1 core hands out zeros in place of the negative it did not evaluate.
    return Evaluation(positive_noise, None if cfg == 1.0 else negative_noise, calls)
