"""Layouts together with what else people put on a MODEL: LoRAs, ControlNet, inpainting, deep shrink."""

from __future__ import annotations

import comfy.controlnet
import comfy.ops
import comfy.sd
import comfy_extras.nodes_model_downscale
import node_helpers
import pytest
import torch
from comfy.cldm.cldm import ControlNet
from comfyui_probe import evaluate
from host_cases import EFFECT, assert_close, assert_same, instance_tokens, noise, sample
from reference_patch import with_reference
from tiny_comfyui import CPU, TEXT_WIDTH, random_like, tiny_model, tiny_unet_config
from tiny_sdxl import UNET

import nodes
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter

LATENTS = noise(1, 24, 24)


def test_inpainting_model(unet_weights, clip, adapter, layout, prompts):
    weights = dict(unet_weights)
    weights["conv_in.weight"] = torch.nn.functional.pad(
        weights["conv_in.weight"], (0, 0, 0, 0, 0, 5), value=0.05
    )
    inpainting = tiny_model({**UNET, "in_channels": 9}, weights)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8:] = 1.0
    picture = noise(1, 16, 16)
    values = {"concat_latent_image": picture, "concat_mask": mask}
    prompts = [node_helpers.conditioning_set_values(prompt, values) for prompt in prompts]
    trio = apply_ifadapter(inpainting, clip, adapter, layout, *prompts)
    latent = {"samples": picture, "noise_mask": mask}
    placed, plain = sample(trio, latent), sample((inpainting, *prompts), latent)
    assert (placed - plain)[..., 8:].abs().max() > EFFECT
    assert_close(placed[..., :8], picture[..., :8], tolerance=1e-4)


def test_kohya_deep_shrink(model, clip, adapter, layout, prompts):
    shrink = comfy_extras.nodes_model_downscale.PatchModelAddDownscale.execute
    shrunk = shrink(model, 3, 2.0, 0.0, 1.0, True, "bicubic", "bicubic").result[0]
    conditional, unconditional = instance_tokens(clip, adapter, layout)
    reference = with_reference(shrunk, adapter.model, {0: [conditional], 1: [unconditional]})
    found = evaluate(*apply_ifadapter(shrunk, clip, adapter, layout, *prompts), LATENTS, 500)
    assert_same(found, evaluate(reference, *prompts, LATENTS, 500))
    unshrunk = evaluate(*apply_ifadapter(model, clip, adapter, layout, *prompts), LATENTS, 500)
    assert (found.positive - unshrunk.positive).abs().max() > EFFECT


LORA_SIZES = {
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_q": 64,
    "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": TEXT_WIDTH,
    "lora_te2_text_model_encoder_layers_0_self_attn_q_proj": TEXT_WIDTH,
}


def lora():
    """A LoRA over one attention of the UNet and one of each encoder, in kohya's names."""
    generator = torch.Generator().manual_seed(5)
    state = {}
    for key, width in LORA_SIZES.items():
        state[f"{key}.lora_up.weight"] = torch.randn(width, 2, generator=generator)
        state[f"{key}.lora_down.weight"] = torch.randn(2, width, generator=generator)
    return state


def test_loras_on_model_and_clip_in_either_order(model, clip, adapter, layout, prompts, applied):
    patched, patched_clip = comfy.sd.load_lora_for_models(model, clip, lora(), 1.0, 1.0)
    assert len(patched.patches) == 1
    assert len(patched_clip.patcher.patches) == 2
    before = evaluate(*apply_ifadapter(patched, clip, adapter, layout, *prompts), LATENTS, 500)
    after_model, _ = comfy.sd.load_lora_for_models(applied[0], None, lora(), 1.0, 0.0)
    after = evaluate(after_model, *applied[1:], LATENTS, 500)
    assert_same(after, before, tolerance=0)
    plain = evaluate(*applied, LATENTS, 500)
    assert (before.positive - plain.positive).abs().max() > 1e-3

    # The captions go through the patched encoders: the same as through encoders that have the LoRA merged.
    conditional, unconditional = instance_tokens(patched_clip, adapter, layout)
    reference = with_reference(model, adapter.model, {0: [conditional], 1: [unconditional]})
    with_clip = evaluate(*apply_ifadapter(model, patched_clip, adapter, layout, *prompts), LATENTS, 500)
    assert_same(with_clip, evaluate(reference, *prompts, LATENTS, 500))
    assert (with_clip.positive - plain.positive).abs().max() > 1e-3
    assert_same(evaluate(*apply_ifadapter(model, clip, adapter, layout, *prompts), LATENTS, 500), plain)


@pytest.fixture(scope="module")
def control_net():
    config = {key: value for key, value in tiny_unet_config(UNET).items() if key != "out_channels"}
    config.pop("transformer_depth_output")
    net = ControlNet(**config, hint_channels=3, operations=comfy.ops.manual_cast)
    net.load_state_dict(random_like(net.state_dict(), seed=11))
    return comfy.controlnet.ControlNet(net.eval(), load_device=CPU, manual_cast_dtype=None)


@pytest.mark.parametrize("applied_first", [True, False])
def test_control_net(model, clip, adapter, layout, prompts, applied, control_net, applied_first):
    picture = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(3))

    def controlled(positive, negative):
        return nodes.ControlNetApplyAdvanced().apply_controlnet(
            positive, negative, control_net, picture, 0.5, 0.0, 1.0
        )

    if applied_first:
        trio = (applied[0], *controlled(*applied[1:]))
    else:
        trio = apply_ifadapter(model, clip, adapter, layout, *controlled(*prompts))
    latents = noise(1, 16, 16)
    conditional, unconditional = instance_tokens(clip, adapter, layout)
    reference = with_reference(model, adapter.model, {0: [conditional], 1: [unconditional]})
    found = evaluate(*trio, latents, 500)
    assert found.calls == [[1, 0]]
    assert_same(found, evaluate(reference, *controlled(*prompts), latents, 500), tolerance=1e-4)
    uncontrolled = evaluate(*applied, latents, 500)
    assert (found.positive - uncontrolled.positive).abs().max() > EFFECT
