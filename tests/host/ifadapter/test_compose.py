"""Compose Layout against the nodes that it stands for."""

from __future__ import annotations

from dataclasses import replace

import torch
from comfyui_probe import evaluate
from host_cases import assert_same, encode, noise

import nodes
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.comfyui.ifadapter.compose import compose
from instance_composer.models.entities.naming import join_captions

LATENTS = noise(1, 24, 24)


def with_texts(layout, prompt, negative):
    return replace(layout, prompt=prompt, negative=negative)


def zeroed(conditioning):
    return nodes.ConditioningZeroOut().zero_out(conditioning)[0]


def test_it_does_what_the_nodes_do_that_it_stands_for(model, clip, adapter, layout):
    layout = with_texts(layout, "a quiet street", "")
    prompt = encode(clip, join_captions(layout))
    assert join_captions(layout) != layout.prompt
    expected = apply_ifadapter(model, clip, adapter, layout, prompt, zeroed(prompt), 0.7, 0.1, 0.8)
    *found, latent = compose(model, clip, adapter, layout, strength=0.7, start=0.1, end=0.8, batch_size=3)
    assert_same(evaluate(*found, LATENTS, 500), evaluate(*expected, LATENTS, 500), tolerance=0)
    canvas = layout.canvas
    empty = nodes.EmptyLatentImage().generate(canvas.width, canvas.height, 3)[0]["samples"]
    assert torch.equal(latent["samples"].float(), empty.float())


def test_the_layouts_negative_and_another_prompt_are_used(model, clip, adapter, layout):
    layout = with_texts(layout, "a quiet street", "blurry")
    expected = apply_ifadapter(
        model, clip, adapter, layout, encode(clip, "a harbour"), encode(clip, "blurry")
    )
    *found, _ = compose(model, clip, adapter, layout, "a harbour")
    assert_same(evaluate(*found, LATENTS, 500), evaluate(*expected, LATENTS, 500), tolerance=0)
