"""The mode latent beside nodes that write into features, bring weights of their own, or skip the model."""

from __future__ import annotations

import logging
import re

import comfy.controlnet
import comfy.ops
import pytest
import torch
from comfy.cldm.cldm import ControlNet
from comfy.ldm.modules.diffusionmodules import openaimodel
from comfyui_probe import evaluate
from host_cases import assert_close, noise, sample
from prompt_entities import entities_of_prompt
from tiny_comfyui import CPU, random_like, tiny_unet_config
from tiny_sdxl import UNET

import nodes
from instance_composer.hosts.comfyui.concentration import differentiable_unet
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.concentration.differentiable_unet import (
    LatentGuidanceError,
    _InferenceTensorsAsNormal,
)
from instance_composer.hosts.comfyui.concentration.kept_as_saved import KeptAsSaved
from instance_composer.models.concentration.energy import LATENT_STEP as STEP

LATENTS = noise(2, 16, 16)
LATENT = Concentration(mode="latent", strength=2.0)
# The same operations on the same numbers; the gradient is normalised, so rounding shows relative to one.
GRADIENT = 1e-4


@pytest.fixture(params=["all is kept", "checkpoints"])
def memory(request, monkeypatch):
    """Whether activations are kept for the backward pass, or most of them computed again."""
    if request.param == "checkpoints":
        monkeypatch.setattr(differentiable_unet, "ALL_PER_CELL", 1 << 60)


@pytest.fixture(scope="module")
def controlled(prompts):
    """The prompts with a ControlNet whose weights are tensors of inference mode."""
    config = {key: value for key, value in tiny_unet_config(UNET).items() if key != "out_channels"}
    config.pop("transformer_depth_output")
    with torch.inference_mode():
        net = ControlNet(**config, hint_channels=3, operations=comfy.ops.manual_cast)
        net.load_state_dict(random_like(net.state_dict(), seed=11))
        control = comfy.controlnet.ControlNet(net.eval(), load_device=CPU, manual_cast_dtype=None)
        picture = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(3))
        return nodes.ControlNetApplyAdvanced().apply_controlnet(*prompts, control, picture, 0.5, 0.0, 1.0)


def guided(model, prompts, layout, settings=LATENT):
    return *apply_concentration(model, prompts[0], entities_of_prompt(), settings, layout), prompts[1]


def moved(model, prompts, layout):
    """How far the prediction moves."""
    found = evaluate(*guided(model, prompts, layout), LATENTS, 500)
    return found.positive - evaluate(model, *prompts, LATENTS, 500).positive


def out_of_place(control):
    """`apply_control` of ComfyUI that writes into nothing."""

    def add(h, given, name):
        if given is not None and given.get(name):
            found = given[name].pop()
            return h if found is None else h + found
        return h

    return add


@pytest.mark.usefixtures("memory")
def test_with_a_control_net(loaded, prompts, controlled, layout, monkeypatch):
    found = moved(loaded, controlled, layout)
    monkeypatch.setattr(openaimodel, "apply_control", out_of_place(openaimodel.apply_control))
    assert_close(found, moved(loaded, controlled, layout), GRADIENT * STEP)
    assert found.abs().max() > STEP
    assert (found - moved(loaded, prompts, layout)).abs().max() > STEP / 10


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("half", [0, 1], ids=["first", "second"])
def test_with_features_scaled_where_they_are(loaded, prompts, layout, half):
    """As FreeU scales them, by their mean; the second half begins elsewhere than what is kept."""

    def scaled(h):
        return h * (1.5 + h.mean(1, keepdim=True))

    def written(h, skipped, options):
        middle = h.shape[1] // 2
        part = slice(middle) if half == 0 else slice(middle, None)
        h[:, part] = scaled(h)[:, part]
        return h, skipped

    def made_anew(h, skipped, options):
        parts, anew = (list(one.split(h.shape[1] // 2, 1)) for one in (h, scaled(h)))
        parts[half] = anew[half]
        return torch.cat(parts, 1), skipped

    models = []
    for patch in (written, made_anew):
        models.append(loaded.clone())
        models[-1].set_model_output_block_patch(patch)
    found, expected = (moved(model, prompts, layout) for model in models)
    assert_close(found, expected, GRADIENT * STEP)
    assert found.abs().max() > STEP


def test_what_is_kept_outlasts_every_write():
    kept = KeptAsSaved()
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        kept,
        torch.autograd.graph.saved_tensors_hooks(kept.save, kept.saved),
    ):
        leaf = torch.arange(1.0, 7.0, requires_grad=True)
        x = leaf * 1.0
        total = (x**2).sum()
        x[3:] *= 2
        total = total + (x**2).sum()
        x.zero_()
        (gradient,) = torch.autograd.grad(total + x.sum(), leaf)
        assert_close(gradient, 2 * leaf * torch.tensor([2.0] * 3 + [5.0] * 3), 0)


def test_a_control_nets_weights_are_not_kept(loaded, controlled, layout, monkeypatch):
    copied, lasting = [], _InferenceTensorsAsNormal._lasting

    def count(self, value):
        found = lasting(self, value)
        copied.extend([value.shape] if found is not value else [])
        return found

    monkeypatch.setattr(_InferenceTensorsAsNormal, "_lasting", count)
    evaluate(*guided(loaded, controlled, layout), LATENTS, 500)
    assert not copied


def test_layers_that_do_not_run_are_told_in_words(loaded, prompts, layout):
    """A cache that skips a block for itself: an energy of the others would be another one."""
    skipping = loaded.clone()
    block = "diffusion_model.middle_block.1.transformer_blocks.0.forward"
    skipping.add_object_patch(block, lambda x, *args, **kwargs: x)
    with pytest.raises(LatentGuidanceError, match=r"reads the attention of \d+ layers .* skips blocks"):
        evaluate(*guided(skipping, prompts, layout), LATENTS, 500)


STEPS = 12
EMPTY = {"samples": torch.zeros(1, 4, 16, 16)}


@pytest.mark.parametrize("order", ["before", "behind"])
def test_easy_cache_skips_what_it_skips_without(loaded, prompts, layout, order, caplog):
    """It is around the diffusion model as we are, and would keep or answer the run that guides."""
    cache = pytest.importorskip("comfy_extras.nodes_easycache").EasyCacheNode
    settings = Concentration(mode="latent", layers="coarse", end=0.9)
    caplog.set_level(logging.INFO)

    def cached(model):
        return cache.execute(model, 2.0, 0.15, 0.95, False).result[0]

    def drawn(model, positive, negative):
        caplog.clear()
        found = sample((model, positive, negative), EMPTY, steps=STEPS)
        return found, re.findall(r"EasyCache - skipped (\d+)/", caplog.text)

    plain, _ = drawn(loaded, *prompts)
    easy, skipped = drawn(cached(loaded), *prompts)
    alone, _ = drawn(*guided(loaded, prompts, layout, settings))
    if order == "before":
        trio = guided(cached(loaded), prompts, layout, settings)
    else:
        model, *both = guided(loaded, prompts, layout, settings)
        trio = (cached(model), *both)
    found, skipped_too = drawn(*trio)
    assert int(skipped[0]) > 0
    assert skipped_too == skipped
    effect = (alone - plain).norm()
    assert 0 < (found - easy).norm() < 3 * effect
