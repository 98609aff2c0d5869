"""What is read of a run's steps beside guidance that asks again, of a damaged model, for what it has had."""

from __future__ import annotations

import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import comfy_extras.nodes_pag as pag
import comfy_extras.nodes_sag as sag
import comfy_extras.nodes_slg as slg
import pytest
import torch
from comfyui_probe import evaluate_guider
from host_cases import assert_close, noise, sample
from prompt_entities import PROMPT, entities_of_prompt
from tiny_transformers import latents, tiny_transformer

from instance_composer.hosts.comfyui.attention_maps.record import record_attention
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.models.silhouettes import GatheredMaps

ENTITIES = PromptEntities(PROMPT, entities_of_prompt())
# So little that the picture keeps its bits, or almost.
SCALE = 1e-12


def perturbed(model):
    return pag.PerturbedAttentionGuidance.execute(model, SCALE).result[0]


def smoothed(model):
    return sag.SelfAttentionGuidance.execute(model, SCALE, 2.0).result[0]


def skipped(model):
    return slg.SkipLayerGuidanceDiT.execute(model, SCALE, 0.0, 1.0, "1", "0").result[0]


def recorded(model, prompts, settings, guidance):
    """The record of a run of a MODEL with guidance nodes before the recording one."""
    for add in guidance:
        model = add(model)
    bound, record = record_attention(model, ENTITIES, "all", 0.0, 1.0)
    sample((bound, *prompts), settings, steps=2)
    return record._runs[-1].maps.entities


@pytest.mark.parametrize(
    "guidance", [(perturbed,), (smoothed, perturbed)], ids=["one", "after one on another latent"]
)
def test_a_pass_of_guidance_is_not_recorded(model, prompts, guidance):
    settings = {"samples": torch.zeros(1, 4, 16, 24)}
    alone = recorded(model, prompts, settings, guidance[:-1])
    assert torch.equal(recorded(model, prompts, settings, guidance), alone)


def test_a_pass_with_skipped_layers_is_not_recorded(prompts):
    model, settings = tiny_transformer("Flux.1"), {"samples": latents("Flux.1", 1, 12, 16)}
    alone = recorded(model, prompts, settings, ())
    # The same attention, of a latent that differs in its last digits.
    assert_close(recorded(model, prompts, settings, (skipped,)), alone, tolerance=1e-6)


def test_a_guider_that_asks_in_two_calls_is_recorded_once(model, prompts):
    def made_by(kind):
        def make(bound):
            guider = kind(bound)
            guider.set_conds(*prompts)
            guider.set_cfg(5.0)
            return guider

        bound, record = record_attention(model, ENTITIES, "all", 0.0, 1.0)
        evaluate_guider(make, bound, noise(1, 16, 16), 500)
        return record._runs[-1].maps.entities

    two = made_by(lambda bound: custom_sampler.Guider_DualModel(bound, bound))
    assert_close(two, made_by(comfy.samplers.CFGGuider), tolerance=1e-5)


def test_a_pass_of_guidance_grows_no_silhouettes(model, clip, adapter, layout, prompts, monkeypatch):
    added, add = [], GatheredMaps.add
    monkeypatch.setattr(GatheredMaps, "add", lambda self, maps: (added.append(1), add(self, maps)))
    counts = []
    for bare in (model, perturbed(model)):
        placed = apply_ifadapter(bare, clip, adapter, layout, *prompts, silhouettes_from=0.5)
        sample(placed, {"samples": torch.zeros(1, 4, 16, 24)}, steps=2)
        counts.append(len(added))
        added.clear()
    assert counts[0] == counts[1] > 0
