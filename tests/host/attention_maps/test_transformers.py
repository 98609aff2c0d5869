"""Recorded attention on transformers: equal to a computation of its own, without a trace in the picture."""

from __future__ import annotations

import functools

import pytest
import torch
from comfyui_probe import evaluate
from host_cases import assert_close, encode, sample
from prompt_entities import PROMPT, entities_of_prompt
from tiny_transformers import CONFIGS, WithLlama, in_three_texts, latents, tiny_transformer

from instance_composer.hosts.comfyui.attention.errors import ModelMismatchError
from instance_composer.hosts.comfyui.attention_maps.heat_maps import heat_maps
from instance_composer.hosts.comfyui.attention_maps.record import record_attention
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.hosts.comfyui.regions.apply import draw_regions

EVERY = pytest.mark.parametrize("name", CONFIGS)
OVERRIDE = "optimized_attention_override"
ENTITIES = PromptEntities(PROMPT, entities_of_prompt())
CROSSED = ("Cosmos-Predict2", "Anima", "Wan")


@pytest.fixture(scope="module")
def clip(clip):
    return WithLlama(clip)


@pytest.fixture(scope="module")
def prompts(clip):
    with torch.inference_mode():
        return encode(clip, "a red book, a yellow vase and a blue cup"), encode(clip, "blurry")


@pytest.fixture(scope="module")
def made():
    with torch.inference_mode():
        yield functools.cache(tiny_transformer)


class Watched:
    """A MODEL whose attention is computed once more beside it, as a whole softmax in double precision."""

    def __init__(self, model, name, text, cells):
        self.name, self.text, self.cells, self.maps = name, text, cells, []
        self.model = model.clone()
        self.model.model_options["transformer_options"][OVERRIDE] = self.attend

    def attend(self, chosen, query, key, value, heads, *rest, **options):
        split = options.get("skip_reshape")
        rows = [
            one if split else one.reshape(*one.shape[:2], heads, -1).transpose(1, 2) for one in (query, key)
        ]
        queries, keys = rows[0].shape[2], rows[1].shape[2]
        first = 0 if self.name in (*CROSSED, "HiDream I1") else self.text
        if queries >= first + self.cells and (keys == self.text if self.name in CROSSED else queries == keys):
            # The positive is the second half of the batch.
            positive = [one[len(one) // 2 :].double() for one in rows]
            positive[1] = positive[1].repeat_interleave(rows[0].shape[1] // rows[1].shape[1], 1)
            scores = positive[0][:, :, first : first + self.cells] @ positive[1].transpose(2, 3)
            self.maps.append((scores * rows[0].shape[-1] ** -0.5).softmax(-1).mean(1))
        return chosen(query, key, value, heads, *rest, **options)


def of_llama():
    """The entities with each word's places in T5's text and in both of Llama's."""
    return PromptEntities(PROMPT, tuple(map(in_three_texts, ENTITIES.entities)))


def shape_of(name, height, width):
    side = 1 if name == "FLUX.2" else 2
    return 3 if name == "Wan" else 1, -(-height // side), -(-width // side)


@EVERY
def test_maps_are_the_means_of_a_softmax_over_prompt_and_picture(made, prompts, name):
    batch, size = (2, (15, 9)) if name in ("Flux.1", "Z-Image") else (1, (12, 16))
    model, noise = made(name), latents(name, batch, *size)
    frames, *grid = shape_of(name, *size)
    before = {"FLUX.2": 512 - 77}.get(name, 0)
    text = {"FLUX.2": 512, "Z-Image": 96}.get(name, 77)
    watched = Watched(model, name, text, frames * grid[0] * grid[1])
    entities = of_llama() if name == "HiDream I1" else ENTITIES
    recorded, made_record = record_attention(watched.model, entities, "all", 0.0, 1.0)
    settings = {"samples": noise}
    plain = sample((model, *prompts), settings, steps=1)
    assert torch.equal(sample((recorded, *prompts), settings, steps=1), plain), "recording leaves no trace"
    if name == "Flux.1":
        assert torch.equal(sample((model, *prompts), settings, steps=1), plain), "the MODEL is as it was"
    if name == "HiDream I1":
        before = frames * grid[0] * grid[1]
    mean = torch.stack(watched.maps).mean(0)[..., before:]
    mean = mean.unflatten(1, (frames, *grid)).mean(1).movedim(-1, 1)
    found = made_record._runs[-1].maps
    nouns = [mean[:, one.noun_tokens].sum(1) for one in entities.entities]
    modifiers = [mean[:, one.modifier_tokens].sum(1) for one in entities.entities]
    assert_close(found.nouns, torch.stack(nouns, 1).float(), tolerance=2e-6)
    assert_close(found.modifiers, torch.stack(modifiers, 1).float(), tolerance=2e-6)
    assert found.nouns.amax() > 1.05 * found.nouns.mean() > 0, "the maps are not flat"


@pytest.mark.parametrize("name", ["SD3.5", "Wan"])
def test_presets_take_blocks_by_their_depth(made, prompts, name):
    model, noise = made(name), latents(name, 1, 12, 16)
    every, later = (
        record_attention(model, ENTITIES, preset, 0.0, 1.0)[1].settings.blocks for preset in ("all", "fine")
    )
    assert later == every[-len(later) :]
    assert 0 < len(later) < len(every)
    recorded, found = record_attention(model, ENTITIES, "fine", 0.0, 1.0)
    others, whole = record_attention(model, ENTITIES, "all", 0.0, 1.0)
    for one in (recorded, others):
        sample((one, *prompts), {"samples": noise}, steps=1)
    assert (found._runs[-1].maps.nouns - whole._runs[-1].maps.nouns).abs().max() > 1e-4


@pytest.mark.parametrize(("name", "first"), [("Flux.1", True), ("Lumina 2", False), ("Anima", True)])
def test_with_regions_the_prompt_is_read_where_it_is_seen(made, clip, layout, prompts, name, first):
    model, noise = made(name), latents(name, 1, 12, 16)
    drawn, positive = draw_regions(model, clip, layout, prompts[0])
    settings = {"samples": noise}
    plain = sample((drawn, positive, prompts[1]), settings, steps=1)
    if first:
        recorded, found = record_attention(model, ENTITIES, "all", 0.0, 1.0)
        recorded, positive = draw_regions(recorded, clip, layout, prompts[0])
    else:
        recorded, found = record_attention(drawn, ENTITIES, "all", 0.0, 1.0)
    assert torch.equal(sample((recorded, positive, prompts[1]), settings, steps=1), plain)
    maps = found._runs[-1].maps.nouns[0]
    shown = heat_maps(found, plain, torch.zeros(1, 96, 128, 3), None)
    assert len(shown.scores) == 3
    covered = torch.zeros(maps.shape[1:], dtype=torch.bool)
    for instance in layout.active:
        box = instance.bounds
        rows, columns = covered.shape
        covered[
            int(box.y0 * rows + 0.999) : int(box.y1 * rows),
            int(box.x0 * columns + 0.999) : int(box.x1 * columns),
        ] = True
    assert maps[:, covered].max() == 0, "the prompt counts nothing inside"
    assert maps[:, ~covered].max() > 0


def test_as_many_cells_as_words_are_told_apart(made, prompts):
    """Wan's attention to the picture and to the text have the same shape here."""
    model, noise = made("Wan"), latents("Wan", 1, 14, 22)[:, :, :1]
    watched = Watched(model, "Wan", 77, 77)
    recorded, found = record_attention(watched.model, ENTITIES, "all", 0.0, 1.0)
    sample((recorded, *prompts), {"samples": noise}, steps=1)
    # Of every two alike the second is of the text.
    mean = torch.stack(watched.maps[1::2]).mean(0).unflatten(1, (7, 11)).movedim(-1, 1)
    assert_close(found._runs[-1].maps.nouns, mean[:, [3, 7, 11]].float(), tolerance=2e-6)


@pytest.mark.parametrize("name", ["Flux.1", "Qwen-Image", "Wan"])
def test_latents_are_shown_as_the_models_own_previews(made, prompts, name):
    model, noise = made(name), latents(name, 1, 12, 16)
    recorded, found = record_attention(model, ENTITIES, "all", 0.0, 1.0)
    samples = sample((recorded, *prompts), {"samples": noise}, steps=1)
    shown = heat_maps(found, samples, None, None)
    assert [one.size for one in shown.pictures] == [(128, 96)]
    assert len(shown.pictures[0].getcolors(20_000)) > 10
    assert shown.drawn(0.5).shape == (3, 96, 128, 3)


def test_reference_pictures_are_refused_where_places_would_be_others(made, prompts):
    import node_helpers

    model, noise = made("Lumina 2"), latents("Lumina 2", 1, 12, 16)
    recorded, _ = record_attention(model, ENTITIES, "all", 0.0, 1.0)
    positive = node_helpers.conditioning_set_values(prompts[0], {"reference_latents": [noise]})
    with pytest.raises(ModelMismatchError, match="Record Attention Maps, cannot be used with reference"):
        evaluate(recorded, positive, prompts[1], noise, 500)
