"""Repair Instance on a tiny SDXL: what changes, what must not, and what is said."""

from __future__ import annotations

from dataclasses import replace

import node_helpers
import pytest
import torch
from host_cases import assert_close, encode, sample
from prompt_entities import PROMPT, entities_of_prompt

from instance_composer.hosts.comfyui.attention.run_cache import RunCache
from instance_composer.hosts.comfyui.attention.terms import CARRIED
from instance_composer.hosts.comfyui.attention.text import Text
from instance_composer.hosts.comfyui.attention_maps.record import record_attention
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.hosts.comfyui.regions.apply import draw_regions
from instance_composer.hosts.comfyui.repair.redraw import (
    Sampling,
    UnknownInstanceError,
    Wanted,
    read_wanted,
    redraw,
)
from instance_composer.hosts.comfyui.repair.seen_from import conditioning_seen_from
from instance_composer.layout import Box, Canvas, Instance, Layout, LayoutError
from instance_composer.layout.transform import crop
from instance_composer.models.regions import Regions
from instance_composer.nodes.repair import RepairInstance

SETTINGS = Sampling(seed=3, steps=2, cfg=3.0)


@pytest.fixture(scope="module")
def vae():
    from tiny_comfyui import tiny_vae

    return tiny_vae()


@pytest.fixture(scope="module")
def small(layout):
    return replace(layout, canvas=Canvas(96, 96))


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(1, 120, 120, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("context", [0.2, 9.0])
def test_everything_outside_the_mask_keeps_its_bits(applied, vae, small, pictures, context):
    done = redraw(pictures, vae, *applied, small, [Wanted(2, None)], SETTINGS, context=context, tries=2)
    inside = done.mask[0] > 0
    assert done.images.shape == (2, *pictures.shape[1:])
    assert 0 < inside.float().mean() < 0.2
    for one in done.images:
        assert torch.equal(one[~inside], pictures[0][~inside])
        assert (one[inside] - pictures[0][inside]).abs().mean() > 0.01
    assert not torch.equal(*done.images)
    assert "instance cup (a blue cup with a handle)" in done.report


def test_instances_in_front_and_beside_keep_their_bits(applied, vae, small, pictures):
    """The book lies behind the vase: of its region the vase's part is not drawn again."""
    done = redraw(pictures, vae, *applied, small, [Wanted(0, None)], SETTINGS, grow=0.5)
    vase = slice(12, 72), slice(48, 108)
    assert torch.equal(done.images[0][vase], pictures[0][vase])
    assert done.mask[0, 60, 30] == 1


@pytest.mark.parametrize("name", ["Qwen-Image", "Krea 2", "Cosmos-Predict2", "Anima", "Wan"])
def test_pictures_are_no_frames_of_one_video(clip, prompts, small, pictures, name):
    """Models whose autoencoder takes a batch for the frames of a video: each picture is drawn as if alone."""
    from tiny_comfyui import tiny_video_vae
    from tiny_transformers import WithLlama, tiny_transformer

    model, positive = draw_regions(tiny_transformer(name), WithLlama(clip), small, prompts[0])
    video_vae = tiny_video_vae()
    two = torch.cat((pictures, pictures.flip(2)))

    def again(images, **more):
        trio = model, positive, prompts[1]
        return redraw(images, video_vae, *trio, small, [Wanted(2, None)], SETTINGS, **more)

    done = again(two, tries=2)
    inside = done.mask[0] > 0
    assert done.images.shape == (4, *pictures.shape[1:])
    for one, before in zip(done.images, two.repeat_interleave(2, 0), strict=True):
        assert torch.equal(one[~inside], before[~inside])
        assert (one[inside] - before[inside]).abs().mean() > 0.01
    # The first of a batch has the noise of a picture alone; sums of a batch run in another order.
    assert_close(done.images[:1], again(two[:1]).images, 1e-3)


def test_several_are_drawn_one_after_the_other(applied, vae, small, pictures):
    both = redraw(pictures, vae, *applied, small, read_wanted("cup, 1@9", small), SETTINGS)
    first = redraw(pictures, vae, *applied, small, [Wanted(2, None)], SETTINGS)
    second = redraw(first.images, vae, *applied, small, [Wanted(0, None)], replace(SETTINGS, seed=9))
    assert torch.equal(both.images, second.images)
    assert torch.equal(both.mask, (first.mask + second.mask).clamp(max=1))


@pytest.mark.parametrize("tries", [1, 3])
def test_nothing_named_is_the_picture_as_it_came(applied, vae, small, pictures, tries):
    done = redraw(pictures, vae, *applied, small, read_wanted(" , ", small), SETTINGS, tries=tries)
    assert torch.equal(done.images, pictures)
    assert not done.mask.any()
    assert "Nothing to draw again" in done.report


def test_what_is_handed_in_stays_as_it_was(applied, vae, small, pictures):
    before = pictures.clone()
    first, second = (
        redraw(pictures, vae, *applied, small, [Wanted(1, None)], SETTINGS).images for _ in range(2)
    )
    assert torch.equal(first, second)
    assert torch.equal(pictures, before)


def test_terms_see_the_window_as_if_it_were_the_picture(model, clip, layout, applied, prompts):
    rectangle = (0.25, 0.0, 1.0, 0.75)
    drawn = draw_regions(model, clip, layout, applied[1])[1]
    seen, left_out = conditioning_seen_from(drawn, rectangle, RunCache())
    assert not left_out
    sampling = model.get_model_object("model_sampling")
    sigma, text = float(sampling.sigmas[900]), Text.of(prompts[0][0][0], {})
    whole, part = (entry[0][1]["model_conds"][CARRIED].cond for entry in (drawn, seen))
    assert len(whole) == len(part) == 2
    assert [one.node for one in whole] == [one.node for one in part]
    drawn_there = [term.at(sigma, sampling, text).placed.regions for term in (whole[1], part[1])]
    assert drawn_there[0].crop(*rectangle).boxes == drawn_there[1].boxes
    # The adapter's tokens tell where an instance is, so they are made anew; the cup lies outside.
    prompt = part[0].at(sigma, sampling, text).prompt
    assert prompt.regions.boxes == Regions.from_layout(crop(layout, Box(*rectangle))).boxes
    assert len(prompt.regions) == 2
    number = next(iter(prompt.keys))
    assert not torch.allclose(prompt.keys[number], whole[0].prompt.keys[number][:2])


def test_what_fits_the_whole_picture_alone_is_left_out_and_said(clip, applied, vae, small, pictures):
    here = node_helpers.conditioning_set_values(
        encode(clip, "a cup"), {"area": (4, 4, 0, 0), "strength": 1.0}
    )
    controlled = node_helpers.conditioning_set_values(applied[1], {"control": object()})
    model, _, negative = applied
    done = redraw(pictures, vae, model, controlled + here, negative, small, [Wanted(2, None)], SETTINGS)
    assert done.report.endswith("Left out there: ControlNet, prompts with an area.")
    assert torch.equal(
        done.images, redraw(pictures, vae, *applied, small, [Wanted(2, None)], SETTINGS).images
    )
    with pytest.raises(ValueError, match="fit the whole picture alone"):
        redraw(pictures, vae, model, here, negative, small, [Wanted(2, None)], SETTINGS)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("4", UnknownInstanceError, "no instance '4'.*cup \\(a blue cup with a handle\\)"),
        ("cups@3", UnknownInstanceError, "no instance 'cups@3'"),
        ("cup@x", ValueError, "no seed after the @"),
        ("cup@" + "9" * 5000, ValueError, "no seed after the @"),
        (f"cup@{2**64}", ValueError, f"no seed after the @; write a whole number up to {2**64 - 1}"),
    ],
)
def test_a_name_that_is_none_is_refused_in_words(small, text, error, words):
    with pytest.raises(error, match=words):
        read_wanted(text, small)


def test_an_id_may_hold_what_the_text_has_for_itself():
    box = Box(0.1, 0.1, 0.4, 0.4)
    layout = Layout((Instance("a@1", box, "a"), Instance("b", box, "b")))
    assert read_wanted("a@1, b@7", layout) == (Wanted(0, None), Wanted(1, 7))


def test_numbers_are_those_of_the_editor_also_after_a_removal(applied, vae, pictures):
    """Ids "2" and "3" are left of three: 2 is the instance that the editor calls so, at the first place."""
    two = Instance("2", Box(0.0, 0.0, 0.4, 0.4), "a cup"), Instance("3", Box(0.6, 0.6, 1.0, 1.0), "a fox")
    layout = Layout(two, Canvas(96, 96))
    done = redraw(pictures, vae, *applied, layout, read_wanted("2@5", layout), SETTINGS)
    assert done.mask[0, 20, 20] == 1
    assert done.mask[0, 100, 100] == 0
    taken, drew = done.report.splitlines()
    assert taken == "2 was taken for the id of an instance (a cup); number 2 from the back is 3 (a fox)."
    assert drew.startswith("Drew instance 2 (a cup) again, seed 5")
    report = redraw(pictures, vae, *applied, layout, read_wanted("1", layout), SETTINGS).report
    assert report.startswith("Drew instance 2 (a cup) again")


@pytest.mark.parametrize(
    ("size", "cells"),
    [((120, 120), (12, 12)), ((60, 60), (12, 12)), ((168, 96), (16, 9)), ((96, 168), (9, 16))],
)
def test_a_window_keeps_the_proportions_of_its_picture(applied, vae, small, size, cells):
    """As many pixels as the canvas, and the canvas's own size where proportions agree."""
    model, positive, negative = applied
    seen = set()

    def record(run, given):
        seen.add(tuple(given["input"].shape[-2:]))
        return run(given["input"], given["timestep"], **given["c"])

    model = model.clone()
    model.set_model_unet_function_wrapper(record)
    picture = torch.rand(1, size[1], size[0], 3, generator=torch.Generator().manual_seed(2))
    done = redraw(picture, vae, model, positive, negative, small, [Wanted(2, None)], SETTINGS)
    assert seen == {cells[::-1]}
    assert done.images.shape == picture.shape
    other = f"picture ({size[0]} × {size[1]}) has other proportions than the layout's canvas (96 × 96)"
    assert (other in done.report) is (size[0] != size[1])


@pytest.mark.parametrize(
    ("change", "reason"), [({"enabled": False}, "is switched off"), ({"caption": " "}, "has no caption")]
)
@pytest.mark.parametrize("node", ["Apply IFAdapter", "Draw Regions"])
def test_an_instance_that_takes_no_part_is_drawn_by_the_prompt_alone(
    model, clip, adapter, prompts, vae, small, pictures, node, change, reason
):
    def drawn(box):
        """The cup without a part in the run, drawn again beside a book there."""
        book = replace(small.instances[0], box=box)
        layout = replace(small, instances=(book, replace(small.instances[2], **change)))
        if node == "Apply IFAdapter":
            trio = apply_ifadapter(model, clip, adapter, layout, *prompts)
        else:
            trio = *draw_regions(model, clip, layout, prompts[0]), prompts[1]
        done, plain = (
            redraw(pictures, vae, *one, layout, [Wanted(1, None)], SETTINGS, context=0.2)
            for one in (trio, (model, *prompts))
        )
        assert done.report.endswith(f" It was drawn by the prompt alone: it {reason}.")
        return (done.images - plain.images).abs().max()

    # The window of the cup is the last third of the picture: nothing is in it, and then the book.
    assert drawn(Box(0.05, 0.3, 0.5, 0.95)) == 0
    assert drawn(Box(0.05, 0.3, 0.8, 0.95)) > 0.01


def test_patches_of_other_nodes_on_the_model_are_named(applied, vae, small, pictures):
    model, positive, negative = applied

    def report(patched):
        trio = patched, positive, negative
        return redraw(pictures, vae, *trio, small, [Wanted(2, None)], SETTINGS).report

    free_u, coupled, replaced = (model.clone() for _ in range(3))
    free_u.set_model_output_block_patch(lambda h, skip, options: (h, skip))
    coupled.set_model_attn2_patch(lambda query, key, value, options: (query, key, value))
    replaced.set_model_attn1_replace(lambda query, key, value, options: query, "middle", 0)
    assert "Other nodes have patched the MODEL" not in report(model) + report(free_u)
    assert "Other nodes have patched the MODEL (attn2_patch). A mask" in report(coupled)
    assert "Other nodes have patched the MODEL (attn1 replaced). A mask" in report(replaced)


def test_a_hidden_instance_and_a_broken_layout_are_refused(applied, vae, small, pictures):
    book = small.instances[0]
    hidden = replace(small, instances=(small.instances[2], replace(book, box=small.instances[2].box)))
    with pytest.raises(ValueError, match="no pixel that is its own"):
        redraw(pictures, vae, *applied, hidden, [Wanted(0, None)], SETTINGS, grow=0.0)
    twice = replace(small, instances=(book, book))
    with pytest.raises(LayoutError):
        redraw(pictures, vae, *applied, twice, [Wanted(0, None)], SETTINGS)


def test_the_node_shows_its_picture_and_says_what_it_drew(applied, vae, small, pictures):
    model, positive, negative = applied
    answer = RepairInstance.execute(
        pictures, vae, model, positive, negative, small, "cup@5", 0, 2, 3.0, "euler", "normal", 1.0
    )
    again = redraw(pictures, vae, *applied, small, [Wanted(2, 5)], SETTINGS)
    assert torch.equal(answer.result[0], again.images)
    assert torch.equal(answer.result[1], again.mask)
    assert len(answer.ui["images"]) == 1
    assert "seed 5" in answer.ui["text"][0]


def test_a_window_is_no_run_of_a_record(applied, vae, small, pictures):
    entities = PromptEntities(PROMPT, entities_of_prompt())
    recorded, record = record_attention(applied[0], entities, "middle and decoder", 0.0, 1.0)
    trio = recorded, *applied[1:]
    sample(trio, {"samples": torch.zeros(1, 4, 12, 12)})
    before = record.maps_of(None, 1)
    done = redraw(pictures, vae, *trio, small, [Wanted(2, None)], SETTINGS)
    assert record.maps_of(None, 1) is before
    assert torch.equal(
        done.images, redraw(pictures, vae, *applied, small, [Wanted(2, None)], SETTINGS).images
    )
    # The MODEL that was handed in is still observed.
    sample(trio, {"samples": torch.zeros(1, 4, 12, 12)}, seed=8)
    assert record.maps_of(None, 1) is not before


@pytest.mark.parametrize("by", ["adapter", "local", "latent"])
def test_silhouettes_of_the_window_are_in_the_report_alone(
    model, clip, adapter, prompts, vae, small, pictures, by
):
    """What the node said of the picture stays said there."""
    told = []
    if by == "adapter":
        trio = apply_ifadapter(model, clip, adapter, small, *prompts, silhouettes_from=0.4, tell=told.append)
    else:
        settings = Concentration(mode=by, silhouettes_from=0.4)
        given = prompts[0], entities_of_prompt(), settings, small
        trio = *apply_concentration(model, *given, tell=told.append), prompts[1]
    sampling = replace(SETTINGS, denoise=0.5)
    report = redraw(pictures, vae, *trio, small, read_wanted("vase, cup", small), sampling).report
    assert not told
    assert report.count("No silhouettes: no step ran before silhouettes_from") == 2
    sample(trio, {"samples": torch.zeros(1, 4, 12, 12)}, denoise=0.5)
    assert len(told) == 1
