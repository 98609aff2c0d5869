"""Recording attention: exact, without a trace in the picture, and found again for the right pictures."""

from __future__ import annotations

import comfy.latent_formats
import comfy.model_management
import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import comfy_extras.nodes_perpneg as perpneg
import pytest
import torch
from comfyui_probe import evaluate_guider
from host_cases import assert_close, encode, noise, sample
from other_packs import ipadapter_plus, ppm_couple

import nodes
from instance_composer.hosts.comfyui.attention.unet.layers import transformer_block
from instance_composer.hosts.comfyui.attention.unet.presets import preset_blocks
from instance_composer.hosts.comfyui.attention_maps import record as recording
from instance_composer.hosts.comfyui.attention_maps.heat_maps import OF_ANOTHER_RUN, heat_maps
from instance_composer.hosts.comfyui.attention_maps.record import (
    AttentionRecord,
    EmptyRecordError,
    OtherPicturesError,
    Settings,
    record_attention,
)
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.models.attention.heat_maps import average_maps
from instance_composer.models.entities.extraction import Entity, EntityTokens, Word
from instance_composer.models.sdxl.layer_presets import LAYER_PRESETS

PROMPT = "a red book, a yellow vase and a blue cup"
WIDE = {"samples": torch.zeros(2, 4, 16, 24)}
ALL = (0.0, 1.0)


def entity(modifier, noun, first):
    """Two neighbouring words of the prompt, the modifier at token `first`."""
    start = PROMPT.index(f"{modifier} {noun}")
    middle, end = start + len(modifier) + 1, start + len(modifier) + 1 + len(noun)
    words = (Word(modifier, start, middle - 1), Word(noun, middle, end))
    found = Entity(noun, (modifier,), f"{modifier} {noun}", middle, end, words)
    return EntityTokens(found, (first, first + 1), (first + 1,), (first,))


ENTITIES = PromptEntities(
    PROMPT, (entity("red", "book", 2), entity("yellow", "vase", 6), entity("blue", "cup", 10))
)


def record(model, preset="middle and decoder", window=ALL, entities=ENTITIES):
    return record_attention(model, entities, preset, *window)


def last(recorded):
    """The maps of the record's last run."""
    return recorded._runs[-1].maps


@pytest.fixture
def _no_memory():
    """As in a fresh process: nothing is found by latents alone."""
    recording._recent.clear()


@pytest.fixture(scope="module")
def plain(model, prompts):
    with torch.inference_mode():
        return sample((model, *prompts), WIDE, steps=2)


class Watched:
    """Probabilities of chosen layers computed apart from the pack: from the outputs of to_q and to_k."""

    def __init__(self, model, blocks):
        unet = model.get_model_object("diffusion_model")
        self.layers = [transformer_block(unet, block).attn2 for block in blocks]
        self.maps, self.seen = [], {}

    def __enter__(self):
        self.hooks = [
            getattr(layer, name).register_forward_hook(self.keep(layer, name))
            for layer in self.layers
            for name in ("to_q", "to_k")
        ]
        return self

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()

    def keep(self, layer, name):
        def hook(_, __, output):
            self.seen[name] = output
            if name == "to_k":
                self.maps.append(self.probabilities(layer))

        return hook

    def probabilities(self, layer):
        query, key = (
            self.seen[name].double().unflatten(-1, (layer.heads, -1)).transpose(1, 2)
            for name in ("to_q", "to_k")
        )
        return (query @ key.transpose(-1, -2) / layer.dim_head**0.5).softmax(-1).mean(1)


@pytest.mark.parametrize("preset", LAYER_PRESETS)
def test_maps_are_the_means_of_what_the_layers_attend_to(model, prompts, plain, preset):
    recorded, made = record(model, preset)
    with Watched(model, preset_blocks(model, preset)) as watched:
        sampled = sample((recorded, *prompts), WIDE, steps=2)
    assert torch.equal(sampled, plain), "recording leaves no trace"
    sizes = {}
    for one in watched.maps:
        # Two pictures, the negative first; places of a picture half again as wide as high.
        positive, height = one[2:], round((one.shape[1] / 1.5) ** 0.5)
        sizes.setdefault(height, []).append(positive.unflatten(1, (height, -1)).movedim(-1, 1))
    assert len(sizes) == (1 if preset in ("coarse", "fine") else 2)
    expected = average_maps([torch.stack(maps).mean(0) for maps in sizes.values()])
    assert_close(last(made).nouns, expected[:, [3, 7, 11]].float(), tolerance=1e-6)
    assert_close(last(made).modifiers, expected[:, [2, 6, 10]].float(), tolerance=1e-6)
    assert torch.equal(sample((model, *prompts), WIDE, steps=2), plain), "the MODEL that came in is as it was"


def test_sd15_is_recorded_too(older_model, prompts):
    recorded, made = record(older_model, "fine")
    plain = sample((older_model, *prompts), WIDE, steps=1)
    with Watched(older_model, preset_blocks(older_model, "fine")) as watched:
        assert torch.equal(sample((recorded, *prompts), WIDE, steps=1), plain)
    expected = torch.stack([one[2:] for one in watched.maps]).mean(0).unflatten(1, (16, 24)).movedim(-1, 1)
    assert_close(last(made).nouns, expected[:, [3, 7, 11]].float(), tolerance=1e-6)


@pytest.mark.parametrize("order", ["adapter first", "adapter last"])
def test_recording_beside_an_ifadapter(model, clip, adapter, layout, prompts, applied, order):
    if order == "adapter first":
        recorded, made = record(applied[0])
        trio = recorded, *applied[1:]
    else:
        recorded, made = record(model)
        trio = apply_ifadapter(recorded, clip, adapter, layout, *prompts)
    assert torch.equal(sample(trio, WIDE, steps=2), sample(applied, WIDE, steps=2))
    assert last(made).nouns.shape == (2, 3, 8, 12)


@pytest.mark.parametrize("order", ["other pack first", "other pack last"])
@pytest.mark.parametrize("name", ["ipadapter", "couple"])
def test_recording_beside_other_packs(model, clip, prompts, caplog, name, order):
    mask = torch.zeros(1, 16, 24)
    mask[..., :12] = 1
    other = ipadapter_plus(model) if name == "ipadapter" else ppm_couple(encode(clip, "plates")[0][0], mask)
    alone = other.apply(model, *prompts, 0.8)
    if order == "other pack first":
        recorded, made = record(alone[0])
        trio = recorded, *alone[1:]
    else:
        recorded, made = record(model)
        trio = other.apply(recorded, *prompts, 0.8)
    assert torch.equal(sample(trio, WIDE, steps=2), sample(alone, WIDE, steps=2))
    assert last(made).nouns.shape == (2, 3, 8, 12)
    assert not caplog.records


def test_the_prompt_is_found_under_every_guider_and_beside_a_longer_negative(model, clip, prompts):
    """One evaluation: the maps of the prompt do not depend on what is evaluated with it."""
    long = encode(clip, "blurry, " * 60)
    assert long[0][0].shape[1] > prompts[0][0][0].shape[1]

    def ordinary(negative):
        def make(bound):
            guider = comfy.samplers.CFGGuider(bound)
            guider.set_conds(prompts[0], negative)
            guider.set_cfg(5.0)
            return guider

        return make

    def dual(bound):
        guider = custom_sampler.Guider_DualCFG(bound)
        guider.set_conds(prompts[0], encode(clip, "plates"), prompts[1])
        guider.set_cfg(3.0, 4.0)
        return guider

    def perp(bound):
        guider = perpneg.Guider_PerpNeg(bound)
        guider.set_conds(prompts[0], prompts[1], encode(clip, ""))
        guider.set_cfg(5.0, 1.0)
        return guider

    found = []
    for make in (ordinary(prompts[1]), ordinary(long), dual, perp):
        recorded, made = record(model)
        evaluate_guider(make, recorded, noise(1, 16, 16), 500)
        found.append(last(made).entities)
    for maps in found[1:]:
        assert_close(maps, found[0], tolerance=1e-5)


def test_only_steps_inside_the_range_are_recorded(model, prompts):
    runs = []
    for window in (ALL, (0.0, 0.3), (0.3, 1.0)):
        recorded, made = record(model, window=window)
        sample((recorded, *prompts), WIDE, steps=4)
        runs.append(last(made).nouns)
    whole, early, late = runs
    # With ComfyUI's normal schedule one of the four steps lies in the first range.
    assert_close(whole, early / 4 + late * 3 / 4, tolerance=1e-6)
    assert (early - late).abs().max() > 1e-4


def test_maps_are_found_by_the_latent_whichever_run_came_last(model, prompts):
    recorded, made = record(model)
    first, second = (sample((recorded, *prompts), WIDE, steps=2, seed=seed) for seed in (1, 2))
    maps = [run.maps.nouns for run in made._runs]
    assert torch.equal(made.maps_of(first, 2).nouns, maps[0])
    assert torch.equal(made.maps_of(second, 2).nouns, maps[1])
    assert torch.equal(made.maps_of(None, 2).nouns, maps[1])
    assert torch.equal(made.maps_of(first.half()[1:], 1).nouns, maps[0][1:]), "one picture of a batch"
    mixed = torch.cat((second[:1], first[:1]))
    assert torch.equal(made.maps_of(mixed, 2).nouns, torch.cat((maps[1][:1], maps[0][:1])))
    assert torch.equal(made.maps_of(first + 1, 2).nouns, maps[1]), "changed since: the last run"
    with pytest.raises(OtherPicturesError, match="2 pictures and 3 came in"):
        made.maps_of(None, 3)


def test_maps_of_another_run_are_told_above_the_table(model, prompts):
    recorded, made = record(model)
    sampled = sample((recorded, *prompts), WIDE, steps=2)
    pictures = torch.zeros(2, 64, 64, 3)
    for latents, told in ((sampled, False), (None, False), (sampled + 1, True)):
        table = heat_maps(made, latents, pictures, None).table()
        assert table.startswith(OF_ANOTHER_RUN) is told
        assert "concentration" in table


@pytest.mark.usefixtures("_no_memory")
def test_a_record_that_comfyui_dropped_is_found_by_the_latent(model, prompts):
    """ComfyUI may answer the sampler from its cache and run the recording node anew."""
    recorded, made = record(model)
    sampled = sample((recorded, *prompts), WIDE, steps=2)
    anew, other = record(model)[1], record(model, "fine")[1]
    assert torch.equal(anew.maps_of(sampled, 2).nouns, last(made).nouns)
    for empty, latents in ((anew, None), (other, sampled), (anew, sampled + 1)):
        with pytest.raises(EmptyRecordError, match="connect its LATENT"):
            empty.maps_of(latents, 2)


@pytest.mark.usefixtures("_no_memory")
def test_an_interrupted_run_is_not_recorded(model, prompts):
    recorded, made = record(model)
    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample((recorded, *prompts), WIDE, steps=2)
    assert not made._runs
    sample((recorded, *prompts), WIDE, steps=2)
    anew, clean = record(model)
    sample((anew, *prompts), WIDE, steps=2)
    assert torch.equal(last(made).nouns, last(clean).nouns)


@pytest.mark.usefixtures("_no_memory")
def test_a_prompt_with_an_area_is_left_out_and_said_to_be(model, prompts, caplog):
    area = nodes.ConditioningSetArea().append(prompts[0], 64, 64, 64, 0, 1.0)[0]
    recorded, made = record(model)
    sample((recorded, area, prompts[1]), WIDE, steps=2)
    assert [one.getMessage() for one in caplog.records] == [
        "Attention maps: A prompt with an area is not recorded."
    ]
    with pytest.raises(EmptyRecordError, match="without areas"):
        made.maps_of(None, 2)


def test_entities_of_another_prompt(model, prompts):
    beyond = PromptEntities("long", (entity("red", "book", 90),))
    recorded, _ = record(model, entities=beyond)
    with pytest.raises(ValueError, match="reach to token 92, the prompt that is sampled has 77"):
        sample((recorded, *prompts), WIDE, steps=2)


def test_a_prompt_without_entities(model):
    none = PromptEntities("foggy", ())
    same, made = record(model, entities=none)
    assert same is model
    shown = heat_maps(made, WIDE["samples"], None, None)
    assert shown.table() == "The prompt has no entities."
    assert shown.drawn(0.5).shape == (2, 128, 192, 3)
    assert shown.masks().shape == (1, 128, 192)
    assert shown.for_editor() == []


@pytest.fixture
def shown_parts(layout):
    """A record of two pictures in which the red book's attention lies in one cell of its region."""
    nouns = torch.full((2, 3, 4, 6), 0.1)
    nouns[:, 0] = 0
    nouns[:, 0, 2, 1] = 1.0
    modifiers = torch.zeros(2, 3, 4, 6)
    modifiers[0, 0, 0, 5] = 1.0
    made = AttentionRecord(Settings(ENTITIES, (), ALL), comfy.latent_formats.SDXL())
    latents = noise(2, 16, 24)
    names = recording.name_pictures(latents)
    made.add(recording.RecordedRun(made.settings, names, recording.Maps(nouns, modifiers)))
    return made, latents, layout


def test_scores_are_shares_inside_the_region(shown_parts):
    made, latents, layout = shown_parts
    shown = heat_maps(made, latents, torch.rand(2, 128, 192, 3), layout)
    book, vase, _, second, *_ = shown.scores
    assert (book.entity, book.region, book.picture, second.picture) == ("red book", "book", 1, 2)
    # The book's box from 0.05 to 0.75 and 0.3 to 0.95 holds its noun's only cell, and not the modifier's.
    assert (book.noun, book.modifiers, book.whole) == (1.0, 0.0, 0.5)
    assert second.whole == 1.0
    assert torch.tensor(second.modifiers).isnan(), "no attention, nothing to share"
    # Even attention: the share is the region's area.
    assert vase.noun == pytest.approx(vase.area, abs=1e-6)
    assert vase.area == pytest.approx(0.5 * 0.5, abs=0.02)
    rows = shown.table().splitlines()
    assert len(rows) == 7
    assert rows[1].split() == ["1", "red", "book", "book", f"{book.area:.0%}", "50%", "100%", "0%"]
    own = heat_maps(made, latents, None, None).scores[0]
    assert (own.region, own.noun) == ("its own", 1.0)
    assert own.area == pytest.approx(1 / 24)


def test_what_is_shown(shown_parts):
    made, latents, layout = shown_parts
    image = torch.rand(2, 100, 150, 3)
    shown = heat_maps(made, latents, image, layout)
    assert shown.drawn(0.7).shape == (6, 100, 150, 3)
    masks = shown.masks()
    assert masks.shape == (6, 100, 150)
    # The second picture's book, whose modifier got nothing: hot in the third of four rows.
    assert masks[3].argmax() // 150 in range(50, 75)
    files = dict(shown.for_editor())
    assert set(files) == {"book", "vase", "cup"}
    assert files["book"].size == (6, 4)
    assert files["book"].getpixel((1, 2)) == 255
    with pytest.raises(ValueError, match="2 latents and 1 images"):
        heat_maps(made, latents, image[:1], None)
    with pytest.raises(ValueError, match="LATENT or the finished IMAGE"):
        heat_maps(made, None, None, None)


@pytest.mark.usefixtures("_no_memory")
@pytest.mark.parametrize("cut", ["pictures", "width", "tiles"])
def test_parts_of_the_pictures_are_left_out_and_said_to_be(model, prompts, caplog, cut):
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    def tiles(apply, args):
        halves = args["input"].chunk(2, -1)
        return torch.cat([apply(half, args["timestep"], **args["c"]) for half in halves], -1)

    recorded, made = record(model)
    if cut == "tiles":
        recorded.set_model_unet_function_wrapper(tiles)
    else:
        dimension, length = {"pictures": (0, 4), "width": (3, 16)}[cut]
        settings = (length, 2, "standard_static", 1, False, "pyramid", dimension, False)
        recorded = ContextWindowsManualNode.execute(recorded, *settings).result[0]
    # ComfyUI's windows over width take one picture.
    count = 1 if cut == "width" else 6
    sample((recorded, *prompts), {"samples": torch.zeros(count, 4, 16, 24)}, steps=2)
    (said,) = [one.getMessage() for one in caplog.records if "Attention maps" in one.getMessage()]
    assert "A part of the pictures is being sampled by itself" in said
    with pytest.raises(EmptyRecordError, match="tiles or context windows"):
        made.maps_of(None, count)
