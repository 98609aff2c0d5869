"""Apply IFAdapter on a real MODEL and CLIP: against the published algorithm, and what must stay as it was."""

from __future__ import annotations

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfyui_probe import evaluate
from host_cases import EFFECT, assert_close, assert_same, encode, instance_tokens, noise
from reference_patch import with_reference

import nodes
from instance_composer.hosts.comfyui.attention.terms import KEY
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.layout import Box, Instance, Layout

LATENTS = noise(1, 24, 24)


@pytest.mark.parametrize("size", [(24, 24), (16, 40), (19, 13), (48, 48)], ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_equals_the_published_algorithm_at_any_size_and_batch(
    model, clip, adapter, layout, prompts, applied, size, batch
):
    latents = noise(batch, *size)
    conditional, unconditional = instance_tokens(clip, adapter, layout)
    reference = with_reference(model, adapter.model, {0: [conditional], 1: [unconditional]})
    expected = evaluate(reference, *prompts, latents, 500)
    found = evaluate(*applied, latents, 500)
    assert_same(found, expected)
    plain = evaluate(model, *prompts, latents, 500)
    assert (found.positive - plain.positive).abs().max() > EFFECT
    assert (found.negative - plain.negative).abs().max() > EFFECT


def test_strength_scales_what_each_layer_adds(model, clip, adapter, layout, prompts):
    conditional, unconditional = instance_tokens(clip, adapter, layout)
    reference = with_reference(model, adapter.model, {0: [conditional], 1: [unconditional]}, strength=0.4)
    found = evaluate(*apply_ifadapter(model, clip, adapter, layout, *prompts, strength=0.4), LATENTS, 500)
    assert_same(found, evaluate(reference, *prompts, LATENTS, 500))


def test_the_loaded_adapter_can_be_made_again(adapter):
    """ComfyUI asks for this of every model that rides along with a MODEL on several devices."""
    function, arguments = adapter.cached_patcher_init
    again = function(*arguments, disable_dynamic=True)
    other = adapter.deepclone_multigpu(new_load_device=torch.device("cpu"))
    for copy in (again, other):
        assert copy.model is not adapter.model
        weights = copy.model.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in adapter.model.state_dict().items())


def test_with_occlusion_the_stack_decides_where_instances_overlap(model, clip, adapter, prompts):
    def found(*captions, occlusion):
        boxes = {"a red book": Box(0.1, 0.1, 0.7, 0.7), "a yellow vase": Box(0.3, 0.3, 0.9, 0.9)}
        layout = Layout(tuple(Instance(one, boxes[one], one) for one in captions))
        trio = apply_ifadapter(model, clip, adapter, layout, *prompts, occlusion=occlusion)
        return evaluate(*trio, LATENTS, 500)

    off, front, behind = (
        found("a red book", "a yellow vase", occlusion=0.0),
        found("a red book", "a yellow vase", occlusion=1.0),
        found("a yellow vase", "a red book", occlusion=1.0),
    )
    assert_same(found("a yellow vase", "a red book", occlusion=0.0), off)
    for one in (front, behind):
        assert (one.positive - off.positive).abs().max() > EFFECT / 10
    assert (front.positive - behind.positive).abs().max() > EFFECT / 10


def test_strength_0_hands_everything_back(model, clip, adapter, layout, prompts):
    given = (model, *prompts)
    # Silhouettes that could not be are none.
    handed_back = apply_ifadapter(model, clip, adapter, layout, *prompts, strength=0.0, silhouettes_from=1.0)
    assert all(one is other for one, other in zip(given, handed_back, strict=True))


def test_the_original_model_is_untouched_and_a_second_run_equals_the_first(
    model, clip, adapter, layout, prompts
):
    before = evaluate(model, *prompts, LATENTS, 500)
    wrappers = {kind: dict(named) for kind, named in model.wrappers.items()}
    bound, positive, negative = apply_ifadapter(model, clip, adapter, layout, *prompts)
    first = evaluate(bound, positive, negative, LATENTS, 500)
    between = evaluate(model, *prompts, LATENTS, 500)
    second = evaluate(bound, positive, negative, LATENTS, 500)
    assert_same(between, before, tolerance=0)
    assert_same(second, first, tolerance=0)
    assert {kind: dict(named) for kind, named in model.wrappers.items()} == wrappers
    assert all("model_conds" not in values for prompt in prompts for _, values in prompt)


def test_the_bound_model_without_a_layout_equals_the_original_bit_for_bit(model, prompts, applied):
    expected = evaluate(model, *prompts, LATENTS, 500)
    assert_same(evaluate(applied[0], *prompts, LATENTS, 500), expected, tolerance=0)


def test_positive_and_negative_are_evaluated_together_and_equal_to_apart(applied, monkeypatch):
    together = evaluate(*applied, LATENTS, 500)
    monkeypatch.setattr(type(applied[0]), "get_free_memory", lambda *_: 0)
    apart = evaluate(*applied, LATENTS, 500)
    assert (together.calls, sorted(apart.calls)) == ([[1, 0]], [[0], [1]])
    assert_same(apart, together)


def test_a_negative_without_layout_shares_the_call_and_stays_plain(model, prompts, applied):
    bound, positive, negative = applied
    found = evaluate(bound, positive, prompts[1], LATENTS, 500)
    assert found.calls == [[1, 0]]
    assert_close(found.positive, evaluate(bound, positive, negative, LATENTS, 500).positive)
    plain = evaluate(model, *prompts, LATENTS, 500)
    assert_close(found.negative, plain.negative)


def test_cfg_1_evaluates_the_positive_alone(applied):
    alone = evaluate(*applied, LATENTS, 500, cfg=1.0)
    both = evaluate(*applied, LATENTS, 500)
    assert (alone.calls, alone.negative) == ([[0]], None)
    assert_close(alone.positive, both.positive)


def test_two_layouts_add_up_and_the_model_is_bound_once(model, clip, adapter, layout, prompts, applied):
    bound, positive, negative = apply_ifadapter(applied[0], clip, adapter, layout, *applied[1:], strength=0.5)
    for kind in (WrappersMP.DIFFUSION_MODEL, WrappersMP.CALC_COND_BATCH):
        assert len(bound.get_wrappers(kind, KEY)) == 1
    once = apply_ifadapter(model, clip, adapter, layout, *prompts, strength=1.5)
    assert_same(evaluate(bound, positive, negative, LATENTS, 500), evaluate(*once, LATENTS, 500))


def test_a_chain_of_applies_for_several_prompts_doubles_nothing(
    model, clip, adapter, layout, prompts, applied
):
    other = encode(clip, "another prompt")
    bound, other, _ = apply_ifadapter(applied[0], clip, adapter, layout, other, prompts[1])
    assert_same(evaluate(bound, *applied[1:], LATENTS, 500), evaluate(*applied, LATENTS, 500), tolerance=0)
    assert evaluate(bound, other, applied[2], LATENTS, 500).calls == [[1, 0]]


def test_zeroing_the_placed_prompt_out_gives_the_unconditional_branch(
    model, clip, adapter, layout, prompts, applied
):
    zeroed = nodes.ConditioningZeroOut().zero_out(applied[1])[0]
    found = evaluate(applied[0], applied[1], zeroed, LATENTS, 500)
    first_zeroed = nodes.ConditioningZeroOut().zero_out(prompts[0])[0]
    expected = evaluate(
        *apply_ifadapter(model, clip, adapter, layout, prompts[0], first_zeroed), LATENTS, 500
    )
    assert_same(found, expected, tolerance=0)


def test_a_prompt_zeroed_before_keeps_its_captions(model, clip, adapter, layout, prompts):
    zeroed = nodes.ConditioningZeroOut().zero_out(prompts[0])[0]
    conditional, unconditional = instance_tokens(clip, adapter, layout)
    reference = with_reference(model, adapter.model, {0: [conditional], 1: [unconditional]})
    found = evaluate(*apply_ifadapter(model, clip, adapter, layout, zeroed, prompts[1]), LATENTS, 500)
    assert_same(found, evaluate(reference, zeroed, prompts[1], LATENTS, 500))


def test_nothing_stays_on_the_device_after_a_run(applied):
    evaluate(*applied, LATENTS, 500)
    wrappers = applied[0].get_wrappers(WrappersMP.DIFFUSION_MODEL, KEY)[0].__self__
    assert len(wrappers.cache) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models(unet_weights, clip, adapter, layout, prompts, dtype):
    from tiny_comfyui import tiny_model
    from tiny_sdxl import UNET

    half = tiny_model(UNET, unet_weights, dtype)
    full = tiny_model(UNET, unet_weights)
    conditional, unconditional = instance_tokens(clip, adapter, layout)
    reference = with_reference(full, adapter.model, {0: [conditional], 1: [unconditional]})
    found = evaluate(*apply_ifadapter(half, clip, adapter, layout, *prompts), LATENTS, 500)
    expected = evaluate(reference, *prompts, LATENTS, 500)
    # Half the adapter's smallest effect: the UNet itself rounds at 2^-8 in bfloat16.
    assert_same(found, expected, tolerance=EFFECT / 2)


def test_what_a_layer_adds_lies_inside_the_regions_alone(model, clip, adapter, prompts):
    left = Layout((Instance("a", Box(0.0, 0.0, 0.5, 1.0), "a red book"),))
    bound, positive, negative = apply_ifadapter(model, clip, adapter, left, *prompts)
    added = {}

    def spy(executor, *args, **kwargs):
        for block, patch in args[5]["patches_replace"]["attn2"].items():
            added[block] = patch
        return executor(*args, **kwargs)

    bound = bound.clone()
    bound.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "tests", spy)
    evaluate(bound, positive, negative, LATENTS, 500)
    patch = next(iter(added.values()))
    query = noise(1, 36, 64)[0, :2]
    term = patch.groups[0].term(patch.block, [query[:1], query[1:]], (6, 6))[0].view(6, 6, 64)
    assert term[:, :3].abs().amin() > 0
    assert term[:, 3:].abs().amax() == 0
