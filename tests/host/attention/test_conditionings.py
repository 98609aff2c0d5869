"""Layouts on conditionings: areas, masks, ranges, mixtures, and guiders that evaluate more than two."""

from __future__ import annotations

from dataclasses import replace

import comfy_extras.nodes_custom_sampler
import comfy_extras.nodes_perpneg
import node_helpers
import pytest
import torch
from comfyui_probe import evaluate, evaluate_guider
from host_cases import EFFECT, TOLERANCE, assert_close, assert_same, encode, noise

import nodes
from instance_composer.hosts.comfyui.attention.terms import CARRIED, CarriedTerms
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.layout import Box, Instance, Layout

LATENTS = noise(1, 24, 24)
SIZE = {"width": 192, "height": 192}


@pytest.fixture(scope="module")
def sized(applied):
    """The applied trio with the size told, so that crops of the latent are told the same."""
    with torch.inference_mode():
        bound, *conditionings = applied
        return bound, *(node_helpers.conditioning_set_values(c, SIZE) for c in conditionings)


def seen_from(conditioning, rectangle):
    """The conditioning with its regions as a rectangle of the picture sees them."""
    ((text, values),) = conditioning
    terms = tuple(
        replace(
            term,
            prompt=replace(term.prompt, regions=term.prompt.regions.crop(*rectangle)),
            when_zeroed=replace(term.when_zeroed, regions=term.when_zeroed.regions.crop(*rectangle)),
        )
        for term in values["model_conds"][CARRIED].cond
    )
    return [[text, {**values, "model_conds": {CARRIED: CarriedTerms(terms)}}]]


def with_area(conditioning, width, height, x, y):
    return nodes.ConditioningSetArea().append(conditioning, width * 8, height * 8, x * 8, y * 8, 1.0)[0]


def test_an_area_sees_its_part_of_the_layout(sized):
    bound, positive, negative = sized
    area = (12, 16, 8, 4)
    found = evaluate(bound, with_area(positive, *area), with_area(negative, *area), LATENTS, 500)
    rectangle = (8 / 24, 4 / 24, 20 / 24, 20 / 24)
    inside = (..., slice(4, 20), slice(8, 20))
    cropped = [seen_from(conditioning, rectangle) for conditioning in (positive, negative)]
    expected = evaluate(bound, *cropped, LATENTS[inside], 500)
    assert_close(found.positive[inside], expected.positive)
    assert_close(found.negative[inside], expected.negative)
    whole = evaluate(bound, positive, negative, LATENTS[inside], 500)
    assert (whole.positive - expected.positive).abs().max() > EFFECT


def test_the_negative_that_core_makes_for_an_area_is_the_negative(sized):
    bound, positive, negative = sized
    found = evaluate(bound, with_area(positive, 12, 24, 0, 0), negative, LATENTS, 500)
    half = evaluate(bound, positive, seen_from(negative, (0.0, 0.0, 0.5, 1.0)), LATENTS[..., :12], 500)
    whole = evaluate(bound, positive, negative, LATENTS, 500)
    # Where the area is not feathered, core averages its negative with that of the whole picture.
    average = (half.negative[..., :8] + whole.negative[..., :8]) / 2
    assert_close(found.negative[..., :8], average)


def test_an_area_without_instances_costs_and_changes_nothing(model, clip, adapter, prompts):
    corner = Layout((Instance("coin", Box(0.9, 0.9, 1.0, 1.0), "a golden coin"),))
    bound, positive, negative = apply_ifadapter(model, clip, adapter, corner, *prompts)
    area = (12, 12, 0, 0)
    found = evaluate(bound, with_area(positive, *area), with_area(negative, *area), LATENTS, 500)
    plain = evaluate(model, *(with_area(prompt, *area) for prompt in prompts), LATENTS, 500)
    inside = (..., slice(12), slice(12))
    assert_close(found.positive[inside], plain.positive[inside])


def test_masked_prompts_keep_their_own_layouts(model, clip, adapter, layout, prompts, applied):
    mirrored = Layout(layout.instances[:1])
    bound, other, _ = apply_ifadapter(applied[0], clip, adapter, mirrored, encode(clip, "a book"), prompts[1])
    left = torch.zeros(1, 24, 24)
    left[..., :12] = 1.0
    masked = nodes.ConditioningCombine().combine(
        nodes.ConditioningSetMask().append(applied[1], left, "default", 1.0)[0],
        nodes.ConditioningSetMask().append(other, 1 - left, "default", 1.0)[0],
    )[0]
    found = evaluate(bound, masked, applied[2], LATENTS, 500)
    assert found.calls == [[1, 0, 0]]
    first, second = (evaluate(bound, prompt, applied[2], LATENTS, 500) for prompt in (applied[1], other))
    assert_close(found.positive, torch.where(left.bool(), first.positive, second.positive))
    assert (first.positive - second.positive).abs().max() > EFFECT


def test_timestep_ranges_switch_layouts(model, clip, adapter, layout, prompts, applied):
    fewer = Layout(layout.instances[:1])
    bound, later, _ = apply_ifadapter(applied[0], clip, adapter, fewer, prompts[0], prompts[1])
    ranged = nodes.ConditioningCombine().combine(
        nodes.ConditioningSetTimestepRange().set_range(applied[1], 0.0, 0.5)[0],
        nodes.ConditioningSetTimestepRange().set_range(later, 0.5, 1.0)[0],
    )[0]
    for timestep, current in ((800, applied[1]), (200, later)):
        found = evaluate(bound, ranged, applied[2], LATENTS, timestep)
        assert_same(found, evaluate(bound, current, applied[2], LATENTS, timestep), tolerance=TOLERANCE)


def test_average_and_concat_keep_the_layout(clip, applied):
    bound, positive, negative = applied
    other = encode(clip, "a sketch")
    averaged = nodes.ConditioningAverage().addWeighted(positive, other, 0.999999)[0]
    found = evaluate(bound, averaged, negative, LATENTS, 500)
    assert_close(found.positive, evaluate(bound, positive, negative, LATENTS, 500).positive, 1e-3)
    joined = nodes.ConditioningConcat().concat(positive, other)[0]
    assert joined[0][1]["model_conds"][CARRIED] is positive[0][1]["model_conds"][CARRIED]
    assert evaluate(bound, joined, negative, LATENTS, 500).calls == [[1, 0]]


def test_other_model_conds_of_a_conditioning_are_kept(model, clip, adapter, layout, prompts):
    import comfy.conds

    mark = comfy.conds.CONDConstant("mark")
    marked = node_helpers.conditioning_set_values(prompts[0], {"model_conds": {"other_pack": mark}})
    _, positive, _ = apply_ifadapter(model, clip, adapter, layout, marked, prompts[1])
    assert positive[0][1]["model_conds"]["other_pack"] is mark
    assert CARRIED not in marked[0][1]["model_conds"]


def test_perpendicular_negative(clip, prompts, applied):
    bound, positive, negative = applied
    empty = encode(clip, "")
    make = comfy_extras.nodes_perpneg.PerpNegGuider

    def guider(model):
        return make.execute(model, positive, negative, empty, 7.5, 1.0).result[0]

    predictions, calls = evaluate_guider(guider, bound, LATENTS, 500)
    assert calls == [[2, 1, 0]]
    pair = evaluate(bound, positive, negative, LATENTS, 500)
    for found, expected in zip(
        predictions,
        (pair.positive, pair.negative, evaluate(bound, empty, empty, LATENTS, 500).positive),
        strict=True,
    ):
        assert_close(found, expected)


def test_a_guider_whose_first_conditioning_is_the_negative(clip, adapter, layout, prompts, applied):
    bound, positive, negative = applied
    second = Layout(layout.instances[1:])
    bound, middle, _ = apply_ifadapter(bound, clip, adapter, second, encode(clip, "a vase"), prompts[1])
    make = comfy_extras.nodes_custom_sampler.DualCFGGuider

    def guider(model):
        return make.execute(model, positive, middle, negative, 7.5, 3.0, "regular").result[0]

    predictions, calls = evaluate_guider(guider, bound, LATENTS, 500)
    assert calls == [[2, 1, 0]]
    pair = evaluate(bound, positive, negative, LATENTS, 500)
    middle_alone = evaluate(bound, middle, negative, LATENTS, 500).positive
    for found, expected in zip(predictions, (pair.negative, middle_alone, pair.positive), strict=True):
        assert_close(found, expected)


def test_a_layout_on_a_model_that_was_not_bound_warns_and_does_nothing(
    model, prompts, layout, clip, adapter, caplog
):
    _, positive, negative = apply_ifadapter(model, clip, adapter, layout, *prompts)
    found = evaluate(model, positive, negative, LATENTS, 500)
    assert_same(found, evaluate(model, *prompts, LATENTS, 500), tolerance=0)
    assert "came through Apply IFAdapter is sampled on a MODEL that did not" in caplog.text
