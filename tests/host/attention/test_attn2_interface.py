"""Sharing cross-attention with anything that keeps ComfyUI's interface, when no other pack is at hand."""

from __future__ import annotations

import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfyui_probe import evaluate
from host_cases import EFFECT, assert_same, instance_tokens, noise
from reference_output import reference_output

from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter

LATENTS = noise(2, 12, 16)
LEFT = torch.zeros(12, 16)
LEFT[:, :8] = 1.0
SLOT = ("output", 0, 0)


class SharedPatch:
    """The object that image packs leave in a slot: whoever comes next calls its `add`."""

    def __init__(self, callback):
        self.callbacks = [callback]

    def add(self, callback):
        self.callbacks.append(callback)

    def __call__(self, query, key, value, options):
        out = optimized_attention(query, key, value, options["n_heads"])
        return out + sum(callback(out, query, options) for callback in self.callbacks)


def _scaled(factor):
    return lambda out, query, options: factor * (query - out.mean(1, keepdim=True))


def shared_object(model):
    bound = model.clone()
    bound.set_model_attn2_replace(SharedPatch(_scaled(0.3)), *SLOT)
    return bound


def whole_transformer(model):
    """One entry for all blocks of a transformer: a key of two parts."""
    bound = model.clone()
    bound.set_model_attn2_replace(SharedPatch(_scaled(0.3)), *SLOT[:2])
    return bound


class Couple:
    """Repeats the conditional rows for a second text and blends them by a mask; notes rows as told."""

    def __init__(self, text, note):
        self.text, self.note, self.rows = text, note, None

    def expand(self, normed, context, value, options):
        labels = list(options["cond_or_uncond"])
        parts = zip(labels, normed.chunk(len(labels)), context.chunk(len(labels)), strict=True)
        queries, texts, self.rows = [], [], []
        for label, query, text in parts:
            both = [text] if label == 1 else [text, self.text.expand_as(text)]
            queries += [query] * len(both)
            texts += both
            self.rows += [label] * len(both)
        self.labels = labels
        if self.note == "in place":
            options["cond_or_uncond"][:] = self.rows
        elif self.note:
            options[self.note] = list(self.rows)
        return torch.cat(queries), torch.cat(texts), torch.cat(texts)

    def fold(self, out, options):
        if self.note == "in place":
            options["cond_or_uncond"][:] = self.labels
        grid = tuple(options["activations_shape"][-2:])
        weight = torch.nn.functional.interpolate(LEFT[None, None], size=grid).reshape(1, -1, 1)
        chunks, folded = list(out.chunk(len(self.rows))), []
        for label in self.labels:
            part = chunks.pop(0)
            folded.append(part if label == 1 else (1 - weight) * part + weight * chunks.pop(0))
        return torch.cat(folded)


def couple(note):
    def apply(model):
        bound, patch = model.clone(), Couple(noise(1, 77, 48, seed=6)[:, 0], note)
        bound.set_model_attn2_patch(patch.expand)
        bound.set_model_attn2_output_patch(patch.fold)
        return bound

    return apply


INTERFACES = {
    "shared object": shared_object,
    "whole transformer": whole_transformer,
    "couple as ComfyUI-ppm": couple("cond_or_uncond_couple"),
    "couple as prompt-control": couple("cond_or_uncond_hook_couple"),
    "couple that notes rows in place": couple("in place"),
    "couple that keeps its rows to itself": couple(None),
}


@pytest.fixture
def tokens(clip, adapter, layout):
    return dict(enumerate(instance_tokens(clip, adapter, layout)))


@pytest.mark.parametrize("ours_first", [False, True], ids=["ours last", "ours first"])
@pytest.mark.parametrize("interface", INTERFACES)
def test_the_published_term_comes_on_top(
    model, clip, adapter, layout, prompts, tokens, interface, ours_first
):
    install = INTERFACES[interface]
    plain = evaluate(model, *prompts, LATENTS, 500)
    with reference_output(install(model), adapter.model, tokens) as reference:
        expected = evaluate(reference, *prompts, LATENTS, 500)
    bound, *placed = apply_ifadapter(model if ours_first else install(model), clip, adapter, layout, *prompts)
    if ours_first:
        bound = install(bound)
    found = evaluate(bound, *placed, LATENTS, 500)
    assert_same(found, expected)
    assert_same(evaluate(bound, *placed, LATENTS, 500), found, tolerance=0)
    assert (found.positive - plain.positive).abs().max() > EFFECT


def test_a_pack_that_comes_later_finds_the_first_ones_object_in_the_slot(
    model, clip, adapter, layout, prompts, tokens
):
    bound, *placed = apply_ifadapter(shared_object(model), clip, adapter, layout, *prompts)
    later = bound.clone()
    later.model_options["transformer_options"]["patches_replace"]["attn2"][SLOT].add(_scaled(-0.2))
    alone = shared_object(model)
    alone.model_options["transformer_options"]["patches_replace"]["attn2"][SLOT].add(_scaled(-0.2))
    with reference_output(alone, adapter.model, tokens) as reference:
        expected = evaluate(reference, *prompts, LATENTS, 500)
    assert_same(evaluate(later, *placed, LATENTS, 500), expected)


def test_attention_overrides_still_see_every_layer(model, prompts, applied):
    def count(model, positive, negative):
        calls = []

        def override(attention, *args, **kwargs):
            calls.append(args[0].shape)
            return attention(*args, **kwargs)

        model = model.clone()
        model.model_options["transformer_options"]["optimized_attention_override"] = override
        evaluate(model, positive, negative, LATENTS, 500)
        return calls

    assert count(*applied) == count(model, *prompts)


def test_rows_that_nobody_can_explain_are_refused_in_words(model, prompts, applied):
    def one_more(normed, context, value, options):
        return (torch.cat((part, part[:1])) for part in (normed, context, value))

    def cut(out, options):
        return out[: len(LATENTS) * len(options["cond_or_uncond"])]

    def broken(model):
        bound = model.clone()
        bound.set_model_attn2_patch(one_more)
        bound.set_model_attn2_output_patch(cut)
        return bound

    evaluate(broken(model), *prompts, LATENTS, 500)
    with pytest.raises(ValueError, match="5 rows where 2 conditionings of 2 were expected"):
        evaluate(broken(applied[0]), *applied[1:], LATENTS, 500)
