"""Latents of the demo's autoencoder."""

from __future__ import annotations

import torch
from tiny_sdxl import tiny_vae

from instance_composer.training.data.pictures import decode, posterior
from instance_composer.training.demo_model.autoencoder import normalize_latents


def test_normalized_latents_have_unit_spread_and_the_same_pictures():
    torch.manual_seed(0)
    autoencoder = tiny_vae().requires_grad_(False)
    pictures = torch.rand(4, 3, 64, 64) * 2 - 1
    before = posterior(autoencoder, pictures)
    picture = decode(autoencoder, before.mode())
    normalize_latents(autoencoder, pictures)
    after = posterior(autoencoder, pictures)
    scaled = after.mode() * autoencoder.config["scaling_factor"]
    torch.testing.assert_close(scaled.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(decode(autoencoder, after.mode()), picture, atol=1e-4, rtol=1e-3)
    # Noise relative to the spread of the means stays as it was.
    ratio = (after.std.mean(dim=(0, 2, 3)) / after.mean.std(dim=(0, 2, 3))) / (
        before.std.mean(dim=(0, 2, 3)) / before.mean.std(dim=(0, 2, 3))
    )
    torch.testing.assert_close(ratio, torch.ones(4), atol=1e-3, rtol=0)
