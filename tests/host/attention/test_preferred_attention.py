"""A layer that prefers an attention of its own, as checkpoints can ask for since ComfyUI 0.40."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch, optimized_attention
from comfyui_probe import evaluate
from host_cases import EFFECT, assert_same, noise
from torch import nn

from instance_composer.hosts.comfyui.attention.unet import patch
from instance_composer.hosts.comfyui.attention.unet.binder import UNetBinder
from instance_composer.hosts.comfyui.attention.unet.layers import attention_layers
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter

LATENTS = noise(2, 12, 16)


def halved(query, key, value, heads, **kwargs):
    """An attention that nothing else computes."""
    kwargs.pop("_inside_attn_wrapper", None)
    return 0.5 * attention_pytorch(query, key, value, heads, **kwargs)


def as_later_versions_call(attention):
    """ComfyUI 0.40's treatment of the keyword: the layer's own function goes before the chosen one."""

    def call(*args, preferred_attention=None, **kwargs):
        function = getattr(preferred_attention, "function", None)
        return (function or attention)(*args, **kwargs)

    return call


class Preference(nn.Module):
    """The module in which such a layer keeps its choice."""

    function = staticmethod(halved)


@contextmanager
def preferring(layer):
    """The layer with a preference in place of what its ComfyUI gave it."""
    own = getattr(layer, "comfy_attention", None)
    layer.comfy_attention = Preference()
    try:
        yield
    finally:
        del layer.comfy_attention
        if own is not None:
            layer.comfy_attention = own


class Reader:
    """A group that looks at its layers and adds nothing."""

    def __init__(self, *blocks):
        self.blocks = blocks

    def act(self, call):
        self.seen = call.plain(1)


@pytest.fixture
def unet(model):
    return model.get_model_object("diffusion_model")


@pytest.fixture
def blocks(unet):
    return [block for block, _ in attention_layers(unet).values()]


def attend(unet, block, base=None):
    """(what the patch of a layer gives, what a group saw of its plain attention, plain attention)."""
    group = Reader(block)
    options = {"patches_replace": {"attn2": {block: base} if base else {}}}
    made = UNetBinder().patched(options, [group], (1, 0), 1, unet)["patches_replace"]["attn2"][block]
    inputs = [noise(2, 4, 4, seed).flatten(2) for seed in (1, 2, 3)]
    given = {"n_heads": 4, "activations_shape": [2, 4, 2, 2], "cond_or_uncond": [1, 0]}
    return made(*inputs, given), group.seen, optimized_attention(*inputs, 4)


def test_a_layer_that_terms_read_keeps_its_own_attention(unet, blocks, monkeypatch):
    monkeypatch.setattr(patch, "optimized_attention", as_later_versions_call(optimized_attention))
    layers = dict(attention_layers(unet).values())
    for block, other in pairwise(blocks):
        with preferring(layers[block]):
            found, seen, plain = attend(unet, block)
            torch.testing.assert_close(found, 0.5 * plain)
            assert torch.equal(seen, found[1:])
            found, seen, plain = attend(unet, other)
            assert torch.equal(found, plain)


def test_beside_another_pack_plain_attention_is_the_layers_own(unet, blocks, monkeypatch):
    monkeypatch.setattr(patch, "optimized_attention", as_later_versions_call(optimized_attention))
    layer = dict(attention_layers(unet).values())[blocks[0]]
    with preferring(layer):
        found, seen, plain = attend(unet, blocks[0], base=lambda query, *_: query)
    assert not torch.equal(found, plain)
    torch.testing.assert_close(seen, 0.5 * plain[1:])


def test_an_adapter_without_effect_leaves_preferring_layers_alone(
    model, unet, clip, adapter, layout, prompts, monkeypatch
):
    """Where this ComfyUI has such layers: gates at zero add nothing, whatever each layer computes with."""
    layers = dict(attention_layers(unet).values())
    if not all(isinstance(getattr(layer, "comfy_attention", None), nn.Module) for layer in layers.values()):
        pytest.skip("layers of this ComfyUI prefer no attention; 0.40 and newer do")
    ordinary = evaluate(model, *prompts, LATENTS, 500)
    for layer in layers.values():
        monkeypatch.setattr(layer.comfy_attention, "function", halved)
    plain = evaluate(model, *prompts, LATENTS, 500)
    assert (plain.positive - ordinary.positive).abs().max() > EFFECT
    for attention in adapter.model.attention.values():
        monkeypatch.setattr(attention.alpha, "data", torch.zeros_like(attention.alpha))
    found = evaluate(*apply_ifadapter(model, clip, adapter, layout, *prompts), LATENTS, 500)
    assert_same(found, plain, tolerance=0)
