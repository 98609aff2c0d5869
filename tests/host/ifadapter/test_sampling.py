"""Whole sampling runs with the nodes people use: samplers, schedules, patches, interruption."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management
import comfy.sample
import comfy_extras.nodes_model_advanced
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfyui_probe import evaluate
from host_cases import EFFECT, assert_close, assert_same, noise, sample

import nodes
from instance_composer.hosts.comfyui.attention.terms import KEY
from instance_composer.hosts.comfyui.attention.unet.patch import AttentionPatch
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.layout import Layout

LATENTS = noise(1, 24, 24)
EMPTY = {"samples": torch.zeros(1, 4, 16, 16)}


def with_record(model):
    """A clone that notes (sigma, whether instances act) of every UNet call."""
    calls = []

    def note(executor, *args, **kwargs):
        patches = args[5].get("patches_replace", {}).get("attn2", {}).values()
        acting = any(isinstance(patch, AttentionPatch) for patch in patches)
        calls.append((float(args[5]["sigmas"][0]), acting))
        return executor(*args, **kwargs)

    recorded = model.clone()
    recorded.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "tests", note)
    return recorded, calls


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2s_ancestral", "dpmpp_2m"])
def test_samplers_repeat_themselves_and_follow_the_layout(model, prompts, applied, sampler):
    first = sample(applied, EMPTY, sampler=sampler)
    assert first.isfinite().all()
    assert_close(sample(applied, EMPTY, sampler=sampler), first, tolerance=0)
    assert (first - sample((model, *prompts), EMPTY, sampler=sampler)).abs().max() > EFFECT


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2s_ancestral"])
def test_the_window_holds_at_every_call_of_a_step(model, clip, adapter, layout, prompts, sampler):
    bound, positive, negative = apply_ifadapter(model, clip, adapter, layout, *prompts, start=0.25, end=0.6)
    recorded, calls = with_record(bound)
    sample((recorded, positive, negative), EMPTY, steps=6, sampler=sampler)
    sampling = model.get_model_object("model_sampling")
    start, end = (sampling.percent_to_sigma(percent) for percent in (0.25, 0.6))
    assert [acting for _, acting in calls] == [end < sigma <= start for sigma, _ in calls]
    assert {acting for _, acting in calls} == {True, False}


def test_after_the_end_the_run_goes_on_as_without_adapter(model, clip, adapter, layout, prompts):
    bound, positive, negative = apply_ifadapter(model, clip, adapter, layout, *prompts, end=0.5)
    late, early = (evaluate(bound, positive, negative, LATENTS, timestep) for timestep in (100, 900))
    assert_same(late, evaluate(model, *prompts, LATENTS, 100), tolerance=0)
    assert (early.positive - evaluate(model, *prompts, LATENTS, 900).positive).abs().max() > EFFECT


def test_an_instance_acts_in_its_own_window_alone(model, clip, adapter, layout, prompts):
    book, vase, cup = layout.instances
    windowed = Layout((replace(book, end=0.5), replace(vase, start=0.2, end=0.5), cup))
    bound, positive, negative = apply_ifadapter(model, clip, adapter, windowed, *prompts)
    late = apply_ifadapter(model, clip, adapter, Layout((cup,)), *prompts)
    assert_same(evaluate(bound, positive, negative, LATENTS, 100), evaluate(*late, LATENTS, 100))
    beginning = apply_ifadapter(model, clip, adapter, Layout((book, cup)), *prompts)
    assert_same(evaluate(bound, positive, negative, LATENTS, 950), evaluate(*beginning, LATENTS, 950))


@pytest.mark.parametrize("patched_after", [False, True])
def test_v_prediction_and_its_noise_schedule(model, clip, adapter, layout, prompts, patched_after):
    patch = comfy_extras.nodes_model_advanced.ModelSamplingDiscrete().patch
    base = model if patched_after else patch(model, "v_prediction", True)[0]
    bound, positive, negative = apply_ifadapter(base, clip, adapter, layout, *prompts, end=0.5)
    bound = patch(bound, "v_prediction", True)[0] if patched_after else bound
    recorded, calls = with_record(bound)
    assert sample((recorded, positive, negative), EMPTY, steps=6).isfinite().all()
    end = bound.get_model_object("model_sampling").percent_to_sigma(0.5)
    assert [acting for _, acting in calls] == [sigma > end for sigma, _ in calls]
    assert calls[0][0] > 1000  # zero terminal signal-to-noise: another schedule than the checkpoint's


def test_high_resolution_pass(model, prompts, applied):
    first = sample(applied, EMPTY)
    larger = {"samples": torch.nn.functional.interpolate(first, size=(24, 20))}
    second = sample(applied, larger, denoise=0.6)
    assert second.shape == (1, 4, 24, 20)
    assert (second - sample((model, *prompts), larger, denoise=0.6)).abs().max() > EFFECT


def test_a_picture_of_a_batch_equals_the_same_picture_alone(applied):
    batch = sample(applied, {"samples": torch.zeros(2, 4, 16, 16), "batch_index": [3, 5]})
    alone = sample(applied, {"samples": torch.zeros(1, 4, 16, 16), "batch_index": [5]})
    assert_close(batch[1:], alone, tolerance=1e-3)


def test_an_interrupted_run_leaves_the_next_one_clean(applied):
    expected = sample(applied, EMPTY)

    def interrupt(*_):
        comfy.model_management.interrupt_current_processing()

    sigmas_seen = []
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        comfy.sample.sample(
            applied[0],
            noise(1, 16, 16),
            4,
            5.0,
            "euler",
            "normal",
            *applied[1:],
            torch.zeros(1, 4, 16, 16),
            callback=lambda *args: (sigmas_seen.append(args), interrupt()),
            disable_pbar=True,
        )
    wrappers = applied[0].get_wrappers(WrappersMP.DIFFUSION_MODEL, KEY)[0].__self__
    assert len(sigmas_seen) == 1
    assert len(wrappers.cache) == 0
    assert_close(sample(applied, EMPTY), expected, tolerance=0)


def test_interrupting_the_encoding_leaves_the_clip_as_it_was(model, clip, adapter, layout, prompts):
    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        apply_ifadapter(model, clip, adapter, layout, *prompts)
    again = nodes.CLIPTextEncode().encode(clip, "blurry")[0]
    assert_close(again[0][0], prompts[1][0][0], tolerance=0)
