"""Attribute concentration in ComfyUI's UNet: where it acts, beside whom, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from comfy.ldm.modules.attention import attention_split, attention_sub_quad
from comfyui_probe import evaluate
from host_cases import EFFECT, assert_close, assert_same, encode, noise, sample
from other_packs import ipadapter_plus, ppm_couple
from prompt_entities import PROMPT, entities_of_prompt, entity

import nodes
from instance_composer.hosts.comfyui.attention.terms import KEY, carry
from instance_composer.hosts.comfyui.attention.unet.presets import preset_blocks
from instance_composer.hosts.comfyui.attention.wrappers import bind
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.concentration.local import LocalTerm, OtherPromptError
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.layout import (
    Box,
    Instance,
    Layout,
    RunLength,
)
from instance_composer.models.concentration import LocalGuidance
from instance_composer.models.concentration.find_targets import find_targets

LATENTS = noise(2, 12, 16)
STRONG = Concentration(strength=4.0)
# The tiny UNet's attention is nearly even, so what moves it changes predictions less than an adapter does.
MOVED = 2e-3


@pytest.fixture(scope="module")
def concentrated(model, prompts, layout):
    """MODEL, positive and negative with the entities of the prompt drawn to the layout's regions."""
    with torch.inference_mode():
        return concentrate(model, prompts, layout)


def concentrate(model, prompts, layout=None, settings=STRONG, entities=None, **options):
    entities = entities_of_prompt() if entities is None else entities
    bound, positive = apply_concentration(model, prompts[0], entities, settings, layout, **options)
    return bound, positive, prompts[1]


def reference(model, targets, guidance, layers):
    """The documented step as plain replace patches on the chunk labelled 0, logits and all."""

    def attend(query, key, value, options):
        heads, rows = options["n_heads"], len(query) // len(options["cond_or_uncond"])
        grid = tuple(options["activations_shape"][-2:])
        q, k, v = (x.float().unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        mean = logits.softmax(-1).mean(1)
        start = options["cond_or_uncond"].index(0) * rows
        for row in range(start, start + rows):
            for group, mask in zip(targets.groups, targets.masks(grid), strict=True):
                together = mean[row][:, list(group)].sum(-1)
                for token in group:
                    inside = (mean[row][:, token] * mask).sum() / mean[row][:, token].sum()
                    step = guidance.token_weight * (mask - inside)
                    step = step + guidance.pixel_weight * (mask - together)
                    logits[row, :, :, token] += guidance.strength * step
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2).to(query.dtype)

    model = model.clone()
    for block in layers:
        model.set_model_attn2_replace(attend, *block)
    return model


@pytest.mark.parametrize("preset", ["middle and decoder", "fine"])
def test_the_documented_step_in_every_layer_of_the_preset(model, prompts, layout, preset):
    settings = replace(STRONG, token_weight=0.8, pixel_weight=1.5, layers=preset)
    found = evaluate(*concentrate(model, prompts, layout, settings), LATENTS, 500)
    targets = find_targets(entities_of_prompt(), layout)
    plain = reference(model, targets, LocalGuidance(0.8, 1.5, 4.0), preset_blocks(model, preset))
    expected = evaluate(plain, *prompts, LATENTS, 500)
    untouched = evaluate(model, *prompts, LATENTS, 500)
    assert_close(found.positive, expected.positive)
    assert_close(found.negative, untouched.negative)
    assert found.calls == [[1, 0]]
    assert (found.positive - untouched.positive).abs().max() > MOVED


def test_sd15_too(older_model, prompts, layout):
    settings = replace(STRONG, token_weight=0.8, pixel_weight=1.5, layers="all")
    found = evaluate(*concentrate(older_model, prompts, layout, settings), LATENTS, 500)
    targets = find_targets(entities_of_prompt(), layout)
    blocks = preset_blocks(older_model, "all")
    assert len(blocks) == 11
    plain = reference(older_model, targets, LocalGuidance(0.8, 1.5, 4.0), blocks)
    assert_same(found, evaluate(plain, *prompts, LATENTS, 500))
    untouched = evaluate(older_model, *prompts, LATENTS, 500)
    assert (found.positive - untouched.positive).abs().max() > MOVED


@pytest.mark.parametrize(
    "off",
    [{"strength": 0.0}, {"token_weight": 0.0, "pixel_weight": 0.0}, {"end": 0.2}, {"start": 0.9}],
    ids=str,
)
def test_switched_off_nothing_changes_by_a_bit(model, prompts, layout, off):
    found = evaluate(*concentrate(model, prompts, layout, replace(STRONG, **off)), LATENTS, 500)
    assert_same(found, evaluate(model, *prompts, LATENTS, 500), tolerance=0)


@pytest.mark.parametrize(
    "wrong",
    [{"layout": "inverted"}, {"overrides": "dog = 1"}, {"silhouettes_from": 1.0}, {"entities": ()}],
    ids=str,
)
@pytest.mark.parametrize("off", [{"strength": 0.0}, {"token_weight": 0.0, "pixel_weight": 0.0}], ids=str)
def test_switched_off_it_looks_at_nothing(model, prompts, layout, caplog, wrong, off):
    wrong = {**wrong}
    since = wrong.pop("silhouettes_from", 0.0)
    inverted = replace(layout, instances=(replace(layout.instances[0], box=Box(0.6, 0.1, 0.5, 0.5)),))
    given = {"entities": entities_of_prompt(), **wrong}
    given["layout"] = inverted if "layout" in wrong else layout
    settings = replace(STRONG, silhouettes_from=since, **off)
    found = apply_concentration(model, prompts[0], settings=settings, **given)
    assert found[0] is model
    assert found[1] is prompts[0]
    assert not caplog.records


def test_the_model_stays_as_it_was_and_a_second_run_is_equal(model, prompts, concentrated):
    before = evaluate(model, *prompts, LATENTS, 500)
    first, second = (evaluate(*concentrated, LATENTS, 500) for _ in range(2))
    assert_same(first, second, tolerance=0)
    assert_same(evaluate(model, *prompts, LATENTS, 500), before, tolerance=0)


def test_zeroing_the_conditioning_out_switches_it_off(concentrated, prompts, model):
    zeroed = nodes.ConditioningZeroOut().zero_out(concentrated[1])[0]
    found = evaluate(concentrated[0], concentrated[1], zeroed, LATENTS, 500)
    plain = nodes.ConditioningZeroOut().zero_out(prompts[0])[0]
    assert_close(found.negative, evaluate(model, prompts[0], plain, LATENTS, 500).negative, tolerance=0)


def test_with_an_adapter_in_either_order(model, clip, adapter, layout, prompts, concentrated):
    first = apply_ifadapter(concentrated[0], clip, adapter, layout, *concentrated[1:])
    placed = apply_ifadapter(model, clip, adapter, layout, *prompts)
    last = concentrate(placed[0], placed[1:], layout)
    found = evaluate(*first, LATENTS, 500)
    assert_same(found, evaluate(*last, LATENTS, 500))
    assert found.calls == [[1, 0]]
    alone = evaluate(*placed, LATENTS, 500)
    assert (found.positive - alone.positive).abs().max() > MOVED
    assert_close(found.negative, alone.negative)


@pytest.mark.parametrize("pack", ["ipadapter", "ppm-couple"])
def test_with_other_packs_in_either_order(model, clip, layout, prompts, pack):
    left = torch.zeros(1, 12, 16)
    left[..., :8] = 1.0
    plates = encode(clip, "a stack of blue plates")[0][0]
    other = ipadapter_plus(model) if pack == "ipadapter" else ppm_couple(plates, left)
    alone = evaluate(*other.apply(model, *prompts, 0.8), LATENTS, 500)
    after = other.apply(*concentrate(model, prompts, layout), 0.8)
    patched = other.apply(model, *prompts, 0.8)
    before = concentrate(patched[0], patched[1:], layout)
    found = evaluate(*after, LATENTS, 500)
    assert_same(found, evaluate(*before, LATENTS, 500), tolerance=0)
    assert (found.positive - alone.positive).abs().max() > MOVED / 4
    assert_close(found.negative, alone.negative, tolerance=0)


def test_the_share_of_the_prompt_in_a_couple_is_what_moves(model, clip, layout, prompts):
    """Where another region's prompt has everything, moving this one's attention does nothing."""
    everywhere = ppm_couple(encode(clip, "plates")[0][0], torch.ones(1, 12, 16))
    alone = evaluate(*everywhere.apply(model, *prompts, 1.0), LATENTS, 500)
    both = evaluate(*everywhere.apply(*concentrate(model, prompts, layout), 1.0), LATENTS, 500)
    assert_close(both.positive, alone.positive)


def test_an_area_sees_its_part_of_the_regions(model, prompts, layout):
    latents = noise(1, 24, 24)
    bound, positive, negative = concentrate(model, prompts, layout)
    areas = [nodes.ConditioningSetArea().append(c, 96, 128, 64, 32, 1.0)[0] for c in (positive, negative)]
    inside = (..., slice(4, 20), slice(8, 20))
    found = evaluate(bound, *areas, latents, 500).positive[inside]
    targets = find_targets(entities_of_prompt(), layout)
    seen = targets.crop(targets.regions.crop(8 / 24, 4 / 24, 20 / 24, 20 / 24))
    blocks = preset_blocks(model, STRONG.layers)
    term = LocalTerm(seen, LocalGuidance(strength=4.0), blocks, (0.0, 1.0))
    # The size of the picture is told to the UNet, so it has to be the whole picture's in both.
    sized = [[text, {**values, "width": 192, "height": 192}] for text, values in prompts[0]]
    expected = evaluate(bind(model), carry(sized, term), negative, latents[inside], 500).positive
    whole = evaluate(model, sized, negative, latents[inside], 500).positive
    assert (expected - whole).abs().max() > MOVED
    assert (found - expected).abs().max() < 0.5 * (found - whole).abs().max()


def test_pictures_of_a_batch_are_guided_each_for_itself(concentrated):
    together = evaluate(*concentrated, LATENTS, 500).positive
    alone = torch.cat([evaluate(*concentrated, LATENTS[[n]], 500).positive for n in range(2)])
    assert_close(together, alone)


@pytest.mark.parametrize("longer", ["positive", "negative"])
def test_texts_of_several_chunks(model, clip, layout, longer):
    """Core repeats the shorter text up to the longer; alone neither is repeated."""
    many = "very " * 74
    positive = encode(clip, many + PROMPT if longer == "positive" else PROMPT)
    negative = encode(clip, many + "blurry photograph" if longer == "negative" else "blurry")
    shift = 77 if longer == "positive" else 0
    entities = [
        entity(each.entity.text, *(token + shift for token in each.tokens)) for each in entities_of_prompt()
    ]
    assert {len(c[0][0][0]) for c in (positive, negative)} == {77, 154}
    trio = concentrate(model, (positive, negative), layout, entities=entities)
    both, alone = (evaluate(*trio, LATENTS, 500, cfg=cfg) for cfg in (7.5, 1.0))
    assert both.calls == [[1, 0]]
    assert_close(both.positive, alone.positive)
    plain = evaluate(model, positive, negative, LATENTS, 500)
    assert (both.positive - plain.positive).abs().max() > MOVED
    assert_close(both.negative, plain.negative)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models(unet_weights, prompts, layout, concentrated, dtype):
    from tiny_comfyui import tiny_model
    from tiny_sdxl import UNET

    half = tiny_model(UNET, unet_weights, dtype)
    moved, plain = (
        evaluate(*trio, LATENTS, 500).positive
        for trio in (concentrate(half, prompts, layout), (half, *prompts))
    )
    full = evaluate(*concentrated, LATENTS, 500).positive
    assert (moved - full).abs().max() < 4 * (plain - full).abs().max()
    assert moved.isfinite().all()
    assert not torch.equal(moved, plain)


@pytest.mark.parametrize("backend", [attention_split, attention_sub_quad])
def test_other_attention_backends(concentrated, backend):
    bound = concentrated[0].clone()
    options = bound.model_options["transformer_options"]
    used = []

    def override(function, *args, **kwargs):
        used.append(function)
        return backend(*args, **kwargs)

    options["optimized_attention_override"] = override
    found = evaluate(bound, *concentrated[1:], LATENTS, 500)
    assert used
    assert_same(found, evaluate(*concentrated, LATENTS, 500))


def test_masks_stand_for_regions_in_the_order_of_the_entities(model, prompts):
    raster = torch.zeros(2, 32, 32)
    raster[0, 4:20, 2:15] = 1.0
    raster[1, 8:30, 18:30] = 1.0
    shapes = [RunLength.from_raster(m.to(torch.uint8).numpy().tobytes(), 32, 32) for m in raster]
    captions = ("a book", "a vase")
    drawn = Layout(
        tuple(
            Instance(f"i{n}", shape.bounds, caption, mask=shape)
            for n, (shape, caption) in enumerate(zip(shapes, captions, strict=True))
        )
    )
    settings = replace(STRONG, without_region="leave alone")
    found = evaluate(*concentrate(model, prompts, None, settings, masks=raster), LATENTS, 500)
    assert_same(found, evaluate(*concentrate(model, prompts, drawn, settings), LATENTS, 500))


def test_a_prompt_without_entities_is_sampled_as_it_is(model, prompts, caplog):
    bound, positive = apply_concentration(model, prompts[0], (), STRONG)
    assert (bound, positive) == (model, prompts[0])
    assert "No entity to concentrate" in caplog.text


def test_thirty_entities(model, prompts):
    entities = [entity(f"thing {n}", 2 * n + 1, 2 * n + 2) for n in range(30)]
    found = evaluate(*concentrate(model, prompts, None, entities=entities), LATENTS, 500)
    assert found.positive.isfinite().all()


def test_entities_of_another_prompt_are_refused(model, prompts):
    with pytest.raises(OtherPromptError, match=r"tokens up to 80 of their prompt.* has 77 tokens"):
        concentrate(model, prompts, entities=[entity("far away", 79, 80)])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"mode": "global"}, "mode is 'global'; allowed are local, latent"),
        ({"without_region": "x"}, "without_region is 'x'; allowed are own map, nowhere, leave alone"),
        ({"layers": "x"}, "layers is 'x'; allowed are"),
        ({"start": 0.6, "end": 0.4}, "start is 0.6 and end is 0.4"),
    ],
)
def test_settings_that_are_not_there(model, prompts, wrong, told):
    with pytest.raises(ValueError, match=told):
        concentrate(model, prompts, settings=replace(STRONG, **wrong))


def test_sampling_with_it_changes_the_picture_and_keeps_nothing(model, prompts, concentrated):
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    moved = sample(concentrated, latent)
    assert (moved - sample((model, *prompts), latent)).abs().max() > EFFECT / 10
    wrappers = concentrated[0].get_wrappers("diffusion_model", KEY)[0].__self__
    assert len(wrappers.cache) == 0


def test_prompts_with_other_words_combined_before_are_told(model, clip, layout, prompts, caplog):
    left = torch.zeros(1, 12, 16)
    left[..., :8] = 1.0
    halves = [
        nodes.ConditioningSetMask().append(prompts[0], mask, "default", 1.0)[0] for mask in (left, 1 - left)
    ]
    zeros = nodes.ConditioningZeroOut().zero_out(prompts[0])[0]
    schedule = [
        [one, {**values, "clip_start_percent": start, "clip_end_percent": start + 0.5}]
        for (one, values), start in zip(prompts[0] + encode(clip, "another CLIP"), (0.0, 0.5), strict=True)
    ]
    for alike in (prompts[0], halves[0] + halves[1], prompts[0] + zeros, schedule, schedule + schedule):
        concentrate(model, (alike, prompts[1]), layout)
    assert "combined before" not in caplog.text
    other = encode(clip, "a grey thing")
    for several in (prompts[0] + other, schedule + other, [*schedule, [other[0][0], schedule[0][1]]]):
        concentrate(model, (several, prompts[1]), layout)
        assert caplog.text.count("different texts were combined before this node") == 1
        caplog.clear()
