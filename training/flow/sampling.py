"""Sampling of a small Flux with diffusers alone: Euler's steps along the predicted velocity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .frozen_texts import Texts

# Cells of the latent on a side of a token, as Flux has them.
PATCH = 2


def predict_velocity(transformer: Any, latents: Tensor, times: Tensor, texts: Texts) -> Tensor:
    """The velocity of latents (B, C, h, w) at times (B,), 1 being noise; padding of texts is not seen."""
    height, width = latents.shape[-2] // PATCH, latents.shape[-1] // PATCH
    tokens, places = _patches(latents), _places(height, width, latents.device)
    mask = None
    if not bool(texts.mask.all()):
        seen = torch.nn.functional.pad(texts.mask, (0, tokens.shape[1]), value=True)
        mask = {"attention_mask": seen[:, None, None, :]}
    predicted = transformer(
        hidden_states=tokens,
        encoder_hidden_states=texts.states,
        pooled_projections=texts.pooled,
        timestep=times,
        img_ids=places,
        txt_ids=torch.zeros(texts.states.shape[1], 3, device=latents.device),
        joint_attention_kwargs=mask,
        return_dict=False,
    )[0]
    return _picture(predicted, height, width)


@torch.no_grad()
def sample_latents(
    transformer: Any,
    scheduler: Any,
    noise: Tensor,
    positive: Texts,
    negative: Texts,
    *,
    steps: int,
    guidance: float,
) -> Tensor:
    """Latents (B, C, h, w) drawn from noise, guided away from `negative` (of one text, or of B).

    `scheduler` is diffusers' FlowMatchEulerDiscreteScheduler.
    """
    scheduler.set_timesteps(steps, device=noise.device)
    latents = noise
    count = len(noise)
    away = Texts(*(part.expand(count, *part.shape[1:]) for part in negative))
    for time in scheduler.timesteps:
        times = (time / scheduler.config["num_train_timesteps"]).expand(count)
        wanted = predict_velocity(transformer, latents, times, positive)
        other = predict_velocity(transformer, latents, times, away)
        velocity = other + guidance * (wanted - other)
        latents = scheduler.step(velocity, time, latents, return_dict=False)[0]
    return latents


def _patches(latents: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w / 4, 4 C), a token for each square of latents, as Flux has them."""
    count, channels, height, width = latents.shape
    parts = latents.view(count, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _picture(tokens: Tensor, height: int, width: int) -> Tensor:
    """The reverse, of `height` × `width` tokens."""
    parts = tokens.unflatten(1, (height, width)).unflatten(3, (-1, PATCH, PATCH))
    return parts.permute(0, 3, 1, 4, 2, 5).flatten(2, 3).flatten(3, 4)


def _places(height: int, width: int, device: torch.device) -> Tensor:
    """Row and column of every token (T, 3), behind a zero."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack((torch.zeros_like(rows), rows, columns), dim=-1)
    return places.flatten(0, 1).float().to(device)
