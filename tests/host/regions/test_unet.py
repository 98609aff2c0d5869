"""Draw Regions on UNets: against a dense matrix of weights, and what must stay as it was."""

from __future__ import annotations

from dataclasses import replace

import comfy.hooks
import comfy.utils
import node_helpers
import pytest
import torch
from attention_overrides import OVERRIDE, SelfAttentionOverride
from comfy.patcher_extension import WrappersMP
from comfyui_probe import evaluate
from dense_attention import dense_attention
from host_cases import assert_close, assert_same, encode, noise, sample

import nodes
from instance_composer.hosts.comfyui.attention.errors import UnexplainedRowsError
from instance_composer.hosts.comfyui.attention.terms import KEY
from instance_composer.hosts.comfyui.attention.unet.layers import (
    cross_attention_blocks,
    transformer_block,
)
from instance_composer.hosts.comfyui.regions.apply import draw_regions
from instance_composer.hosts.comfyui.regions.captions import encode_captions
from instance_composer.layout import Box, Instance, Layout, Polygon
from instance_composer.models.regions import Regions
from instance_composer.nodes.regions import DrawRegions

LATENTS = noise(1, 24, 24)
# CLIP's start and end; CLIP-L pads with the end.
MARKS = (49406, 49407)
# What drawing moves at the least in the tests' model, far above rounding.
MOVED = 0.01


@pytest.fixture
def drawn(model, clip, layout, prompts):
    return *draw_regions(model, clip, layout, prompts[0]), prompts[1]


def with_dense_weights(model, clip, layout, strength=1.0, prompt=0.0, isolated=False):
    """The same by a matrix of weights in every layer of the positive, all keys at once."""
    unet = model.get_model_object("diffusion_model")
    texts = [encode(clip, instance.caption)[0][0] for instance in layout.active]
    marks = [
        torch.tensor([token in MARKS for token, _ in clip.tokenize(instance.caption)["l"][0]])
        for instance in layout.active
    ]
    regions, bound = Regions.from_layout(layout), model.clone()

    def patch(block):
        layer = transformer_block(unet, block).attn2

        def attend(query, key, value, options):
            heads = options["n_heads"]
            grid = tuple(options["activations_shape"][-2:])
            placement = regions.place(grid)
            rows = len(query) // len(options["cond_or_uncond"])
            tokens = key.shape[1]
            wide = [key, value]
            for text in texts:
                wide[0] = torch.cat((wide[0], layer.to_k(text).expand(len(query), -1, -1)), 1)
                wide[1] = torch.cat((wide[1], layer.to_v(text).expand(len(query), -1, -1)), 1)
            weights = torch.zeros(2, query.shape[1], wide[0].shape[1])
            weights[:, :, :tokens] = 1.0
            first = tokens
            for number, (covered, text) in enumerate(zip(placement.covered, texts, strict=True)):
                inside = covered.flatten() & ~placement.covered[number + 1 :].flatten(1).any(0)
                own = strength * layout.active[number].strength
                weights[0, inside, :tokens] = 1 - min(own, 1.0) * (1 - (0.0 if isolated else prompt))
                words = torch.where(marks[number], min(own, 1.0), own)
                weights[0, inside, first : first + text.shape[1]] = words
                first += text.shape[1]
            of_rows = [weights[label] for label in options["cond_or_uncond"] for _ in range(rows)]
            split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, *wide)]
            parts = [dense_attention(*(x[n : n + 1] for x in split), of_rows[n]) for n in range(len(query))]
            return torch.cat(parts).transpose(1, 2).flatten(2)

        return attend

    def alone(query, key, value, options):
        heads = options["n_heads"]
        placement = regions.place(tuple(options["activations_shape"][-2:]))
        covered = placement.covered.flatten(1).T.tolist()
        top = torch.tensor([max((n for n, one in enumerate(cell) if one), default=-1) for cell in covered])
        shares = torch.tensor([1.0, *(1 - min(strength * one.strength, 1.0) for one in layout.active)])
        isolating = torch.where(top[:, None] == top[None], torch.ones(()), shares[top + 1][:, None])
        rows = len(query) // len(options["cond_or_uncond"])
        split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value)]
        parts = []
        for label in options["cond_or_uncond"]:
            some = slice(len(parts) * rows, (len(parts) + 1) * rows)
            weights = isolating if label == 0 else torch.ones_like(isolating)
            parts.append(dense_attention(*(x[some] for x in split), weights))
        return torch.cat(parts).transpose(1, 2).flatten(2)

    for block in cross_attention_blocks(unet):
        bound.set_model_attn2_replace(patch(block), *block)
        if isolated:
            bound.set_model_attn1_replace(alone, *block)
    return bound


@pytest.mark.parametrize("size", [(24, 24), (16, 40), (19, 13)], ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_equals_a_dense_matrix_at_any_size_and_batch(model, clip, layout, prompts, drawn, size, batch):
    latents = noise(batch, *size)
    found = evaluate(*drawn, latents, 500)
    assert_same(found, evaluate(with_dense_weights(model, clip, layout), *prompts, latents, 500))
    plain = evaluate(model, *prompts, latents, 500)
    assert (found.positive - plain.positive).abs().max() > MOVED
    assert_close(found.negative, plain.negative)


HOW = {
    "half": {"strength": 0.5},
    "thrice": {"strength": 3.0},
    "forty times": {"strength": 40.0},
    "prompt too": {"prompt": 1.0},
    "some of the prompt": {"strength": 0.7, "prompt": 0.25},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_strength_and_the_prompt_inside_are_weights_of_keys(model, clip, layout, prompts, how):
    drawn = draw_regions(model, clip, layout, prompts[0], **how)
    found = evaluate(*drawn, prompts[1], LATENTS, 500)
    assert_same(found, evaluate(with_dense_weights(model, clip, layout, **how), *prompts, LATENTS, 500))


def test_isolated_until_a_share_of_the_schedule(model, clip, layout, prompts):
    how = {"strength": 0.8, "prompt": 0.5}
    drawn = *draw_regions(model, clip, layout, prompts[0], isolate=0.4, **how), prompts[1]
    for timestep, isolated in ((900, True), (200, False)):
        reference = with_dense_weights(model, clip, layout, isolated=isolated, **how)
        assert_same(evaluate(*drawn, LATENTS, timestep), evaluate(reference, *prompts, LATENTS, timestep))


@pytest.mark.parametrize(("start", "first", "told"), [(0.5, 0.0, "0.5"), (0.0, 0.6, "0.6"), (0.3, 0.0, "")])
def test_isolation_that_is_over_before_a_region_acts_is_told(
    model, clip, prompts, caplog, start, first, told
):
    late = Instance("book", Box(0.0, 0.0, 0.5, 1.0), "a red book", start=first)
    never = Instance("cup", Box(0.5, 0.0, 1.0, 1.0), "a cup", strength=0.0)
    draw_regions(model, clip, Layout((late, never)), prompts[0], isolate=0.4, start=start)
    sentence = (
        f"isolate has no effect: it ends at 0.4 of the noise schedule, and regions begin to act at {told}"
    )
    assert (sentence in caplog.text) == bool(told)


def test_each_instance_has_strength_window_and_mask_of_its_own(model, clip, prompts):
    corner = Polygon(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
    layout = Layout(
        (
            Instance("book", Box(0.0, 0.0, 1.0, 1.0), "a red book", mask=corner, strength=0.5),
            Instance("vase", Box(0.4, 0.1, 0.9, 0.6), "a yellow vase", end=0.5),
            Instance("cup", Box(0.0, 0.5, 0.3, 1.0), "a blue cup", strength=0.0),
        )
    )
    drawn = *draw_regions(model, clip, layout, prompts[0]), prompts[1]
    early = evaluate(with_dense_weights(model, clip, layout), *prompts, LATENTS, 900)
    assert_same(evaluate(*drawn, LATENTS, 900), early)
    alone = Layout(layout.instances[:1])
    late = evaluate(with_dense_weights(model, clip, alone), *prompts, LATENTS, 100)
    assert_same(evaluate(*drawn, LATENTS, 100), late)


def test_words_of_captions_of_one_chunk_and_of_several(clip, prompts):
    texts = ("a red book", " ".join(["very"] * 80) + " old")
    instances = [Instance(str(n), Box(0.0, 0.0, 1.0, 1.0), text) for n, text in enumerate(texts)]
    short, long = encode_captions(clip, Layout(tuple(instances)), prompts[0])
    assert short.spoken == (1, 2, 3)
    assert long.text.shape[1] == 154
    assert long.spoken == (*range(1, 76), *range(78, 84))


def test_every_caption_is_read_once_and_seen_to_be(clip, layout, prompts, monkeypatch):
    first, *others = layout.instances
    twice = Layout((first, *others, replace(first, id="another book")))
    shown, read = [], []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda done, total, *_, **__: shown.append((done, total))
    )
    # Every update is sent, however fast they come.
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0.0, raising=False)
    encode_from = clip.encode_from_tokens_scheduled
    counted = clip.clone()
    counted.encode_from_tokens_scheduled = lambda tokens: read.append(1) or encode_from(tokens)
    captions = encode_captions(counted, twice, prompts[0])
    assert shown == [(1, 3), (2, 3), (3, 3)]
    assert len(read) == 3
    assert len(captions) == 4
    assert_close(captions[3].text, captions[0].text, 0)


@pytest.mark.parametrize("size", [(24, 24), (18, 26)], ids=str)
def test_sd15(older_model, clip, layout, prompts, size):
    latents = noise(2, *size)
    drawn = *draw_regions(older_model, clip, layout, prompts[0]), prompts[1]
    found = evaluate(*drawn, latents, 500)
    assert_same(found, evaluate(with_dense_weights(older_model, clip, layout), *prompts, latents, 500))
    plain = evaluate(older_model, *prompts, latents, 500)
    assert (found.positive - plain.positive).abs().max() > MOVED


def test_strength_0_hands_everything_back(model, clip, layout, prompts):
    found = draw_regions(model, clip, layout, prompts[0], strength=0.0)
    assert found[0] is model
    assert found[1] is prompts[0]


def test_outside_its_window_and_without_regions_the_bits_are_the_models(model, clip, layout, prompts):
    bound, positive = draw_regions(model, clip, layout, prompts[0], end=0.3)
    assert_same(
        evaluate(bound, positive, prompts[1], LATENTS, 100), evaluate(model, *prompts, LATENTS, 100), 0
    )
    assert_same(evaluate(bound, *prompts, LATENTS, 900), evaluate(model, *prompts, LATENTS, 900), 0)


def test_the_original_model_is_untouched_and_a_second_run_equals_the_first(model, clip, layout, prompts):
    before = evaluate(model, *prompts, LATENTS, 500)
    drawn = *draw_regions(model, clip, layout, prompts[0]), prompts[1]
    first = evaluate(*drawn, LATENTS, 500)
    assert_same(evaluate(model, *prompts, LATENTS, 500), before, 0)
    assert_same(evaluate(*drawn, LATENTS, 500), first, 0)
    assert all("model_conds" not in values for prompt in prompts for _, values in prompt)
    assert len(drawn[0].get_wrappers(WrappersMP.DIFFUSION_MODEL, KEY)[0].__self__.cache) == 0


def test_positive_and_negative_are_one_call_and_equal_to_apart(drawn, monkeypatch):
    together = evaluate(*drawn, LATENTS, 500)
    assert together.calls == [[1, 0]]
    monkeypatch.setattr(type(drawn[0]), "get_free_memory", lambda *_: 0)
    assert_same(evaluate(*drawn, LATENTS, 500), together)


def test_a_longer_negative_repeats_the_prompt_and_changes_nothing(model, clip, layout, prompts):
    long = encode(clip, "a blurry picture, " * 30)
    drawn = *draw_regions(model, clip, layout, prompts[0], prompt=0.5), long
    found = evaluate(*drawn, LATENTS, 500)
    assert found.calls == [[1, 0]]
    assert_close(found.positive, evaluate(*drawn[:2], prompts[1], LATENTS, 500).positive)


def test_a_zeroed_prompt_draws_nothing(model, drawn, prompts):
    zeroed = nodes.ConditioningZeroOut().zero_out(drawn[1])[0]
    plain = nodes.ConditioningZeroOut().zero_out(prompts[0])[0]
    found = evaluate(drawn[0], drawn[1], zeroed, LATENTS, 500)
    assert_close(found.negative, evaluate(model, prompts[0], plain, LATENTS, 500).negative)


def test_an_area_sees_its_part_of_the_regions(model, clip, layout, prompts, drawn):
    """The right half of the picture, alone and as a picture of its own."""
    # Sizes that SDXL is told; else each picture's own.
    sizes = {"width": 192, "height": 192}
    area = nodes.ConditioningSetAreaPercentage().append(drawn[1], 0.5, 1.0, 0.5, 0.0, 1.0)[0]
    area = node_helpers.conditioning_set_values(area, sizes)
    found = evaluate(drawn[0], area, prompts[1], LATENTS, 500).positive[..., 12:]
    moved = tuple(
        Instance(one.id, Box(2 * one.box.x0 - 1, one.box.y0, 2 * one.box.x1 - 1, one.box.y1), one.caption)
        for one in layout.instances
    )
    positive = node_helpers.conditioning_set_values(prompts[0], sizes)
    half = *draw_regions(model, clip, Layout(moved), positive), prompts[1]
    assert_close(found, evaluate(*half, LATENTS[..., 12:], 500).positive)


@pytest.mark.parametrize("first", [True, False])
def test_another_attention_in_either_order(model, clip, layout, prompts, first):
    """An override that attends to every second key of self-attention."""
    other = SelfAttentionOverride(2)
    if first:
        bound, positive = draw_regions(other.apply(model), clip, layout, prompts[0])
    else:
        bound, positive = draw_regions(model, clip, layout, prompts[0])
        bound = other.apply(bound)
    found = evaluate(bound, positive, prompts[1], LATENTS, 500)
    reference = other.apply(with_dense_weights(model, clip, layout))
    assert_same(found, evaluate(reference, *prompts, LATENTS, 500))
    assert OVERRIDE not in model.model_options["transformer_options"]


def test_with_an_adapter_in_either_order(model, clip, adapter, layout, prompts):
    from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter

    bound, positive = draw_regions(model, clip, layout, prompts[0])
    one = apply_ifadapter(bound, clip, adapter, layout, positive, prompts[1])
    bound, positive, negative = apply_ifadapter(model, clip, adapter, layout, *prompts)
    other = (*draw_regions(bound, clip, layout, positive), negative)
    assert_same(evaluate(*one, LATENTS, 500), evaluate(*other, LATENTS, 500))


def test_sampling_is_the_same_every_time_and_moves_the_picture(model, drawn, prompts):
    empty = {"samples": torch.zeros(1, 4, 16, 24)}
    first = sample(drawn, empty)
    assert torch.equal(sample(drawn, empty), first)
    assert (first - sample((model, *prompts), empty)).abs().max() > MOVED


def test_without_anything_to_draw_everything_comes_back_as_it_was(model, clip, layout, prompts, caplog):
    switched_off = Layout(tuple(replace(one, enabled=False) for one in layout.instances))
    for empty in (Layout(()), switched_off):
        bound, positive = draw_regions(model, clip, empty, prompts[0])
        assert bound is model
        assert positive is prompts[0]
        assert "nothing" in caplog.text
        caplog.clear()
        (shown,) = DrawRegions.execute(model, prompts[0], clip, empty, 1.0, 0.0, 0.0, 0.0, 1.0).ui[
            "instance_layout_noted"
        ]
        assert Layout.from_json(shown) == empty
    (nothing,) = DrawRegions.execute(model, prompts[0], clip, layout, 1.0, 0.0, 0.0, 0.0, 1.0).ui[
        "instance_layout_noted"
    ]
    assert nothing == ""


def test_a_negative_of_an_instance_is_said_to_have_no_effect(model, clip, layout, prompts, caplog):
    draw_regions(model, clip, layout, prompts[0])
    assert "negative" not in caplog.text
    first = replace(layout.instances[0], id="first", negative="a dog")
    off = replace(layout.instances[1], id="off", negative="a cat", enabled=False)
    draw_regions(model, clip, replace(layout, instances=(first, off)), prompts[0])
    assert "no effect: first." in caplog.text


def test_captions_of_a_clip_that_changes_during_the_run_are_said_to_be_read_once(
    model, clip, adapter, layout, prompts, caplog
):
    from comfy_extras.nodes_hooks import SetClipHooks

    from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter

    weight = clip.cond_stage_model.clip_l.transformer.text_model.encoder.layers[0].self_attn.q_proj.weight
    name = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"
    lora = {
        f"{name}.lora_up.weight": torch.ones(weight.shape[0], 1),
        f"{name}.lora_down.weight": torch.ones(1, weight.shape[1]),
    }
    hooks = comfy.hooks.create_hook_lora(lora=lora, strength_model=1.0, strength_clip=1.0)
    for scheduled, told in ((False, 0), (True, 2)):
        (hooked,) = SetClipHooks().apply_hooks(clip, scheduled, False, hooks)
        draw_regions(model, hooked, layout, prompts[0])
        apply_ifadapter(model, hooked, adapter, layout, *prompts)
        assert caplog.text.count("read as it is at the beginning") == told


def test_drawing_twice_is_said(model, clip, layout, prompts, drawn):
    with pytest.raises(ValueError, match="Combine Layouts"):
        draw_regions(drawn[0], clip, layout, drawn[1])
    narrow = [[prompts[0][0][0][..., :-1], prompts[0][0][1]]]
    with pytest.raises(ValueError, match="of width 48, the prompt's is 47"):
        draw_regions(model, clip, layout, narrow)


WIDE = {"samples": torch.zeros(1, 4, 16, 32)}


def in_tiles(model, batched=False):
    """The MODEL as another pack leaves it that cuts the latent inside ComfyUI's call of the model."""

    def tiles(apply, args):
        latent, timestep, conds = args["input"], args["timestep"], dict(args["c"])
        halves = latent.chunk(2, -1)
        if not batched:
            return torch.cat([apply(half, timestep, **conds) for half in halves], -1)
        twice = {k: torch.cat((v, v)) if isinstance(v, torch.Tensor) else v for k, v in conds.items()}
        out = apply(torch.cat(halves), torch.cat((timestep, timestep)), **twice)
        return torch.cat(out.chunk(2), -1)

    bound = model.clone()
    bound.set_model_unet_function_wrapper(tiles)
    return bound


def in_windows(model, dimension, length=16):
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    made = ContextWindowsManualNode.execute(
        model, length, 4, "standard_static", 1, False, "pyramid", dimension, False
    )
    return made.result[0]


@pytest.mark.parametrize("cut", ["tiles", "windows"])
def test_parts_that_see_the_whole_layout_are_told_once_a_run(drawn, model, caplog, cut):
    def cut_up(model):
        return in_tiles(model) if cut == "tiles" else in_windows(model, 3)

    for _ in range(2):
        sample((cut_up(drawn[0]), *drawn[1:]), WIDE)
        assert caplog.text.count("a part of it is being sampled by itself") == 1
        caplog.clear()
    area = nodes.ConditioningSetArea().append(drawn[1], 64, 64, 64, 0, 1.0)[0]
    sample((drawn[0], area, drawn[2]), WIDE)
    sample((in_windows(drawn[0], 0, 2), *drawn[1:]), {"samples": torch.zeros(3, 4, 16, 16)})
    assert "sampled by itself" not in caplog.text


def test_rows_of_tiles_in_one_batch_are_refused(drawn):
    with pytest.raises(UnexplainedRowsError, match="4 rows for 2 conditionings"):
        sample((in_tiles(drawn[0], batched=True), *drawn[1:]), WIDE)


@pytest.mark.parametrize("how", ["merged", "tiled"])
def test_isolation_that_another_node_keeps_off_is_told_once_a_run(model, clip, layout, prompts, caplog, how):
    def merge(query, key, value, options):
        if how == "merged":
            return query[:, ::2], key, value
        return tuple(one.unflatten(1, (2, -1)).flatten(0, 1) for one in (query, key, value))

    def undo(attended, options):
        if how == "merged":
            return attended.repeat_interleave(2, 1)
        return attended.unflatten(0, (-1, 2)).flatten(1, 2)

    def sampled(isolate):
        bound, positive = draw_regions(model, clip, layout, prompts[0], isolate=isolate)
        bound.set_model_attn1_patch(merge)
        bound.set_model_attn1_output_patch(undo)
        return sample((bound, positive, prompts[1]), {"samples": torch.zeros(1, 4, 16, 16)})

    isolated = sampled(1.0)
    (said,) = [one.getMessage() for one in caplog.records if "isolate" in one.getMessage()]
    assert "isolate of Draw Regions has no effect in some layers of this run" in said
    caplog.clear()
    assert torch.equal(isolated, sampled(0.0))
    assert "isolate" not in caplog.text
