"""The LoRA that `train comat` writes, through core's Load LoRA: the noise prediction of the trained UNet."""

from __future__ import annotations

import logging

import folder_paths
import torch
from comfyui_probe import evaluate
from diffusers import UNet2DConditionModel
from host_cases import EFFECT, assert_close, encode, noise
from tiny_sdxl import UNET

import nodes
from instance_composer.models.comat.lora import save_lora
from instance_composer.training.comat.lora import add_lora, lora_layers

TIMESTEP = 500
# As between the hosts without a LoRA: sums in another order; core adds the matrices to the weights.
TOLERANCE = 3e-5


def test_load_lora_gives_the_trained_unets_prediction(model, clip, unet_weights, tmp_path, caplog):
    trained = UNet2DConditionModel(**UNET)
    trained.load_state_dict(unet_weights)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        add_lora(trained, 2)
        for name, parameter in trained.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(parameter, std=0.1)
    save_lora(tmp_path / "comat_lora.safetensors", lora_layers(trained), {"task": "comat"})
    folder_paths.add_model_folder_path("loras", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        patched, _ = nodes.LoraLoader().load_lora(model, clip, "comat_lora.safetensors", 1.0, 1.0)
    assert "not loaded" not in caplog.text

    latents, positive = noise(1, 16, 16), encode(clip, "a shelf with a book")
    found = evaluate(patched, positive, positive, latents, TIMESTEP).positive
    plain = evaluate(model, positive, positive, latents, TIMESTEP).positive
    sizes = torch.tensor([[128, 128, 0, 0, 128, 128]], dtype=torch.float32)
    prompt, extra = positive[0]
    with torch.no_grad():
        wanted = trained(
            latents,
            TIMESTEP,
            encoder_hidden_states=prompt,
            added_cond_kwargs={"text_embeds": extra["pooled_output"], "time_ids": sizes},
        ).sample
    assert_close(found, wanted, TOLERANCE)
    assert (found - plain).abs().max() > EFFECT
