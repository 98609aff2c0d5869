"""Layers that prefer an attention of their own, as checkpoints can ask for since ComfyUI 0.40."""

from __future__ import annotations

import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfyui_probe import evaluate
from host_cases import EFFECT, assert_same, noise
from torch import nn

from instance_composer.hosts.comfyui.attention.unet.layers import attention_layers
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter

LATENTS = noise(2, 12, 16)


def halved(query, key, value, heads, **kwargs):
    """An attention that nothing else computes."""
    kwargs.pop("_inside_attn_wrapper", None)
    return 0.5 * attention_pytorch(query, key, value, heads, **kwargs)


def test_an_adapter_without_effect_leaves_preferring_layers_alone(
    model, clip, adapter, layout, prompts, monkeypatch
):
    """Gates at zero add nothing, whatever each layer computes with."""
    layers = [layer for _, layer in attention_layers(model.get_model_object("diffusion_model")).values()]
    if not all(isinstance(getattr(layer, "comfy_attention", None), nn.Module) for layer in layers):
        pytest.skip("layers of this ComfyUI prefer no attention; those of 0.40 and newer do")
    ordinary = evaluate(model, *prompts, LATENTS, 500)
    for layer in layers:
        monkeypatch.setattr(layer.comfy_attention, "function", halved)
    plain = evaluate(model, *prompts, LATENTS, 500)
    assert (plain.positive - ordinary.positive).abs().max() > EFFECT
    for attention in adapter.model.attention.values():
        monkeypatch.setattr(attention.alpha, "data", torch.zeros_like(attention.alpha))
    found = evaluate(*apply_ifadapter(model, clip, adapter, layout, *prompts), LATENTS, 500)
    assert_same(found, plain, tolerance=0)
