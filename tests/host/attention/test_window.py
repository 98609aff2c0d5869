"""Windows of the sampling run against ComfyUI's own schedules."""

from __future__ import annotations

import torch
from comfy.model_sampling import ModelSamplingDiscreteFlow
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from host_cases import encode, sample
from tiny_transformers import WithLlama, latents, tiny_transformer

from instance_composer.hosts.comfyui.attention.window import acts
from instance_composer.hosts.comfyui.regions.apply import draw_regions

# Of these ComfyUI's schedule begins at 1.0000001, and its 0 per cent are 1.
SHIFTS = (1.58, 4.03, 8.06)


def test_a_window_from_0_has_the_first_step_at_every_shift():
    sampling = ModelSamplingDiscreteFlow()
    above = []
    for shift in (number / 100 for number in range(100, 2001)):
        sampling.set_parameters(shift=shift)
        first = float(sampling.sigma_max)
        above += [shift] if first > 1.0 else []
        assert acts((0.0, 1.0), first, sampling)
        assert acts((0.0, 0.2), first, sampling)
        assert not acts((0.2, 1.0), first, sampling)
    assert set(SHIFTS) <= set(above)


def test_a_schedule_made_by_hand_may_begin_with_more_noise(model):
    flow, usual = ModelSamplingDiscreteFlow(), model.get_model_object("model_sampling")
    assert acts((0.0, 0.5), 1.2, flow)
    assert acts((0.0, 0.5), 2.0 * float(usual.sigma_max), usual)
    assert not acts((0.1, 0.5), 1.2, flow)


def test_regions_are_drawn_in_the_first_step_at_such_a_shift(clip, layout):
    model = ModelSamplingSD3().patch(tiny_transformer("Flux.1"), SHIFTS[0])[0]
    assert float(model.get_model_object("model_sampling").sigma_max) > 1.0
    both = WithLlama(clip)
    prompts = encode(both, "plates"), encode(both, "blurry")
    settings = {"samples": torch.zeros_like(latents("Flux.1", 1, 12, 16))}
    drawn, positive = draw_regions(model, both, layout, prompts[0])
    plain = sample((model, *prompts), settings, steps=1)
    assert (sample((drawn, positive, prompts[1]), settings, steps=1) - plain).abs().max() > 0.01
