"""Wrappers of a MODEL: terms that guide before the model runs, observers, and models that cannot be bound."""

from __future__ import annotations

from dataclasses import dataclass, field

import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import comfy_extras.nodes_pag as pag
import comfy_extras.nodes_perpneg as perpneg
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfyui_probe import evaluate
from host_cases import assert_close, encode, noise
from own_term import Standing

from instance_composer.hosts.comfyui.attention.layer_call import AllReadError
from instance_composer.hosts.comfyui.attention.run_cache import RunCache
from instance_composer.hosts.comfyui.attention.terms import carry
from instance_composer.hosts.comfyui.attention.unet.presets import preset_blocks
from instance_composer.hosts.comfyui.attention.window import CachedSampling, acts
from instance_composer.hosts.comfyui.attention.wrappers import MOVED_LATE, bind

LATENTS = noise(2, 12, 16)


@dataclass(eq=False)
class Push(Standing):
    """A guiding term that this pack does not have: it reads one layer and moves the latent by a constant."""

    block: tuple
    amount: float
    queries: list = field(default_factory=list)
    moved: int = 0
    node = "Push"
    kind = "push"

    def group(self, members, device, cache):
        self.chunks = [chunk for chunk, _ in members]
        return self

    @property
    def blocks(self):
        return (self.block,)

    def act(self, call):
        self.queries += [call.query(chunk) for chunk in self.chunks]
        raise AllReadError

    def options(self, options):
        return {**options, "pushed": True}

    def move(self, run, model, latent):
        run(latent)
        self.moved += 1
        return torch.full_like(latent, self.amount)


def test_any_term_with_these_methods_guides(model, prompts):
    denoised = []

    def keep(executor, *args):
        denoised.append(executor(*args))
        return denoised[-1]

    outside = model.clone()
    outside.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "outside", keep)
    first, last = preset_blocks(model, "all")[0], preset_blocks(model, "all")[-1]
    pushes = Push(first, 0.25), Push(last, -0.125)
    pushed = [carry(prompt, push) for prompt, push in zip(prompts, pushes, strict=True)]
    evaluate(outside, *prompts, LATENTS, 500)
    found = evaluate(bind(outside), *pushed, LATENTS, 500)
    sigma = model.get_model_object("model_sampling").sigmas[500]
    for plain, moved in zip(*denoised, strict=True):
        assert_close(moved, plain + 0.125 * sigma)
    assert found.calls == [[0], [1], [1, 0]]
    for push in pushes:
        assert [len(query) for query in push.queries] == [len(LATENTS)], "one run, ended by its first layer"


def euler_step(guider, conds, sigma=2.0):
    """What one step of a guider to noise 0 makes at CFG 5: its whole prediction."""
    guider.set_conds(*conds)
    guider.set_cfg(5.0, *([1.0] if isinstance(guider, perpneg.Guider_PerpNeg) else []))
    start, sampler = torch.zeros_like(LATENTS), comfy.samplers.sampler_object("euler")
    sigmas = torch.tensor([sigma, 0.0])
    return guider.sample(LATENTS, start, sampler, sigmas, seed=0, disable_pbar=True)


class NegativeFirst(comfy.samplers.CFGGuider):
    def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006
        found = [
            comfy.samplers.calc_cond_batch(self.inner_model, [self.conds[name]], x, timestep, model_options)
            for name in ("negative", "positive")
        ]
        return found[0][0] + self.cfg * (found[1][0] - found[0][0])


def perturbed(model):
    return pag.PerturbedAttentionGuidance.execute(model, 3.0).result[0]


GUIDERS = {
    "one call": comfy.samplers.CFGGuider,
    "two calls": lambda model: custom_sampler.Guider_DualModel(model, model),
    "asked again": lambda model: comfy.samplers.CFGGuider(perturbed(model)),
    "a third beside": comfy.samplers.CFGGuider,
    "three in one": perpneg.Guider_PerpNeg,
}


@pytest.mark.parametrize("name", GUIDERS)
def test_a_guider_that_asks_in_several_calls_is_moved_as_far_as_one(model, clip, prompts, name, caplog):
    push, sigma = Push(preset_blocks(model, "all")[0], 0.25), 2.0
    bound = bind(model)
    if name == "a third beside":
        bound = perpneg.PerpNeg.execute(bound, encode(clip, ""), 1.0).result[0]
    empty = [encode(clip, "")] if name == "three in one" else []
    plain = euler_step(GUIDERS[name](bound), (*prompts, *empty), sigma)
    guided = carry(prompts[0], push), prompts[1]
    found = euler_step(GUIDERS[name](bound), (*guided, *empty), sigma)
    # The same predictions at CFG 5, to which the same is added.
    factor = model.get_model_object("latent_format").scale_factor
    assert_close((found - plain) * factor, torch.full_like(plain, 0.25 * sigma), tolerance=1e-3)
    assert push.moved == 1
    assert not caplog.records


def test_a_guider_that_asks_for_the_negative_first_is_told_of(model, prompts, caplog):
    push = Push(preset_blocks(model, "all")[0], 0.25)
    conds = carry(prompts[0], push), prompts[1]
    euler_step(NegativeFirst(bind(model)), conds)
    assert [one.getMessage() for one in caplog.records] == [MOVED_LATE]


def test_a_latent_that_a_sampler_writes_over_is_another(model, prompts):
    push = Push(preset_blocks(model, "all")[0], 0.25)

    def twice(denoiser, x, sigmas, extra_args, **_):
        for _ in range(2):
            denoiser(x, sigmas[:1].expand(len(x)), **extra_args)
            x.add_(1.0)
        return x

    guider = comfy.samplers.CFGGuider(bind(model))
    guider.set_conds(carry(prompts[0], push), prompts[1])
    guider.set_cfg(5.0)
    start, sigmas = torch.zeros_like(LATENTS), torch.tensor([2.0, 0.0])
    guider.sample(LATENTS, start, comfy.samplers.KSAMPLER(twice), sigmas, seed=0, disable_pbar=True)
    assert push.moved == 2


def test_a_schedule_is_asked_once_in_a_run_for_each_percentage(model):
    class Counting:
        def __init__(self, sampling):
            self.sampling, self.asked = sampling, []

        def percent_to_sigma(self, percent):
            self.asked.append(percent)
            return self.sampling.percent_to_sigma(percent)

    counting, cache = Counting(model.get_model_object("model_sampling")), RunCache()
    for sigma in (10.0, 1.0, 0.1):
        found = acts((0.25, 0.5), sigma, CachedSampling(counting, cache))
        assert found == acts((0.25, 0.5), sigma, counting.sampling)
    assert sorted(counting.asked) == [0.25, 0.5]
    cache.clear()
    acts((0.25, 0.5), 0.1, CachedSampling(counting, cache))
    assert len(counting.asked) == 4


@pytest.mark.parametrize("observers", [1, 2])
def test_an_observer_reads_its_own_clone_alone(model, applied, observers):
    class Observer:
        def __init__(self):
            self.steps, self.layers = [], 0
            self.blocks = preset_blocks(model, "coarse")

        def begin_step(self, sampling, conds, latent, sigma, model_options):
            self.steps.append(len(conds))
            return True

        def group(self, options, latent):
            return self

        def act(self, call):
            self.layers += 1

    expected = evaluate(*applied, LATENTS, 500)
    observed, reading = applied[0], [Observer() for _ in range(observers)]
    for one in reading:
        observed = bind(observed, one)
    found = evaluate(observed, *applied[1:], LATENTS, 500)
    assert_close(found.positive, expected.positive, 0)
    assert_close(found.negative, expected.negative, 0)
    evaluate(*applied, LATENTS, 500)
    for one in reading:
        assert one.steps == [2]
        assert one.layers == len(one.blocks)
