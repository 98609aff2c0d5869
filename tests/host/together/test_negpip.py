"""Texts with two rows for each token, one for its key and one for its value: ComfyUI-ppm's CLIP NegPip."""

from __future__ import annotations

import pytest
import torch
from comfyui_probe import evaluate
from host_cases import EFFECT, assert_close, assert_same, encode, noise, sample
from other_packs import load_module
from prompt_entities import entities_of_prompt

from instance_composer.hosts.comfyui.attention.errors import UnexplainedRowsError
from instance_composer.hosts.comfyui.attention.text import NEGPIP
from instance_composer.hosts.comfyui.attention_maps.record import record_attention
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities

LATENTS = noise(1, 16, 16)
EMPTY = {"samples": torch.zeros(1, 4, 16, 16)}
# The mode latent moves by normalised gradients.
ROUNDING = {"local": 2e-5, "latent": 2e-3}
MODES = pytest.mark.parametrize("mode", ["local", "latent"])


@pytest.fixture(params=[True, False], ids=["by the pack", "without its mark"])
def negpip(request, model):
    """A MODEL as the node patches it; another pack with the same idea has no mark."""
    unet = load_module("ComfyUI-ppm", "src/negpip", "unet_negpip")
    bound = model.clone()
    bound.set_model_attn2_patch(unet.sdxl_attn2_negpip)
    if request.param:
        bound.model_options[NEGPIP] = True
    return bound


@pytest.fixture(autouse=True)
def _inference_mode():
    with torch.inference_mode():
        yield


def doubled(conditioning):
    """As the node's CLIP encodes a prompt without negative weights."""
    return [[text.repeat_interleave(2, 1), values] for text, values in conditioning]


def concentrate(model, prompts, layout, mode):
    settings = Concentration(mode=mode, strength=4.0)
    return *apply_concentration(model, prompts[0], entities_of_prompt(), settings, layout), prompts[1]


@MODES
def test_concentration_is_the_same(negpip, model, prompts, layout, mode):
    texts = [doubled(one) for one in prompts]
    assert_same(evaluate(negpip, *texts, LATENTS, 500), evaluate(model, *prompts, LATENTS, 500))
    expected = sample(concentrate(model, prompts, layout, mode), EMPTY, 1)
    assert_close(sample(concentrate(negpip, texts, layout, mode), EMPTY, 1), expected, ROUNDING[mode])
    assert (expected - sample((model, *prompts), EMPTY, 1)).abs().max() > EFFECT / 10


@MODES
def test_texts_of_several_chunks(negpip, model, clip, prompts, layout, mode):
    """The shorter text comes repeated."""
    prompts = prompts[0], encode(clip, "very " * 74 + "blurry photograph")
    texts = [doubled(one) for one in prompts]
    expected = sample(concentrate(model, prompts, layout, mode), EMPTY, 1)
    assert_close(sample(concentrate(negpip, texts, layout, mode), EMPTY, 1), expected, ROUNDING[mode])


@pytest.mark.parametrize("negative", ["blurry", "very " * 74 + "blurry photograph"], ids=["", "longer"])
def test_recorded_maps_are_the_same(negpip, model, clip, prompts, negative):
    prompts = prompts[0], encode(clip, negative)
    entities = PromptEntities("", entities_of_prompt())
    found = []
    for patched, texts in ((model, prompts), (negpip, [doubled(one) for one in prompts])):
        recorded, record = record_attention(patched, entities, "middle and decoder", 0.0, 1.0)
        sample((recorded, *texts), EMPTY, 1)
        found.append(record.maps_of(None, 1).entities)
    assert_close(*found)
    assert found[0].max() > 0.01


def test_an_adapter_is_the_same(negpip, model, clip, adapter, layout, prompts):
    texts = [doubled(one) for one in prompts]
    expected = evaluate(*apply_ifadapter(model, clip, adapter, layout, *prompts), LATENTS, 500)
    assert_same(evaluate(*apply_ifadapter(negpip, clip, adapter, layout, *texts), LATENTS, 500), expected)


@MODES
@pytest.mark.parametrize("kept", [50, 10])
def test_a_pack_that_cuts_texts(model, prompts, layout, mode, kept):
    """As if the prompt were as short, unless words of an entity are cut off."""
    bound = model.clone()
    bound.set_model_attn2_patch(lambda query, key, value, options: (query, key[:, :kept], value[:, :kept]))
    short = [[[text[:, :kept], values] for text, values in one] for one in prompts]
    if kept == 50:
        expected = sample(concentrate(model, short, layout, mode), EMPTY, 1)
        assert_close(sample(concentrate(bound, prompts, layout, mode), EMPTY, 1), expected, ROUNDING[mode])
        return
    with pytest.raises(UnexplainedRowsError, match=r"has 10 keys for a text of 77 tokens.* of token 12"):
        sample(concentrate(bound, prompts, layout, mode), EMPTY, 1)
