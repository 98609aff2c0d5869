"""Attribute concentration in transformers: a softmax over prompt and picture, moved as in cross-attention."""

from __future__ import annotations

import functools

import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.patcher_extension import WrappersMP
from comfyui_probe import evaluate
from host_cases import encode
from prompt_entities import entities_of_prompt
from tiny_transformers import CONFIGS, LLAMA, WithLlama, close, in_three_texts, latents, tiny_transformer

import nodes
from instance_composer.hosts.comfyui.attention.binder import find_binder
from instance_composer.hosts.comfyui.attention.errors import ModelMismatchError
from instance_composer.hosts.comfyui.attention.run_cache import RunCache
from instance_composer.hosts.comfyui.attention.terms import carry
from instance_composer.hosts.comfyui.attention.wrappers import bind
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.concentration.local import LocalTerm
from instance_composer.hosts.comfyui.regions.apply import draw_regions
from instance_composer.hosts.comfyui.repair.seen_from import conditioning_seen_from
from instance_composer.models.concentration import LocalGuidance, pixel_loss, token_loss
from instance_composer.models.concentration.find_targets import find_targets

EVERY = pytest.mark.parametrize("name", CONFIGS)
OVERRIDE = "optimized_attention_override"
CROSSED = ("Cosmos-Predict2", "Anima", "Wan")
STRONG = Concentration(strength=4.0, layers="all")
WEIGHTS = (0.8, 1.5)
SIZE = (12, 16)
MOVED = 1e-3


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


def layers_of(model):
    return find_binder(model).layers(model, "all")


def natural(scores, tokens, targets, grid, strength):
    """The documented step, word for word, for scores (heads, cells, keys) of one picture."""
    mean = scores.softmax(-1).mean(0)
    moves = torch.zeros_like(scores[0])
    for group, mask in zip(targets.groups, targets.masks(grid).double(), strict=True):
        together = mean[:, [tokens[token] for token in group]].sum(-1)
        for token in group:
            own = mean[:, tokens[token]]
            step = WEIGHTS[0] * (mask - (own * mask).sum() / own.sum()) + WEIGHTS[1] * (mask - together)
            moves[:, tokens[token]] += strength * step
    return scores + moves


def along_the_gradient(scores, tokens, targets, grid, strength):
    """A step along what automatic differentiation says of the losses, its largest move `strength`."""
    with torch.inference_mode(False), torch.enable_grad():
        free = scores.clone().requires_grad_()
        maps = [free.softmax(-1).unflatten(1, grid)]
        masks = targets.masks(grid).clone().unflatten(1, grid)
        groups = [[tokens[token] for token in group] for group in targets.groups]
        energy = WEIGHTS[0] * token_loss(maps, masks, groups) + WEIGHTS[1] * pixel_loss(maps, masks, groups)
        (gradient,) = torch.autograd.grad(energy, free)
    own = sorted({place for group in groups for place in group})
    moves = torch.zeros_like(scores)
    moves[..., own] = -gradient[..., own] / gradient[..., own].abs().max() * strength
    return scores + moves


def reference(model, name, targets, step, strength=4.0, text=77, before=0):
    """The MODEL with dense scores in which the positive's words move."""
    side = 1 if name == "FLUX.2" else 2
    grid = (SIZE[0] // side, SIZE[1] // side)
    frames = 3 if name == "Wan" else 1
    cells = frames * grid[0] * grid[1]
    crossed = name in CROSSED
    first = 0 if crossed or name == "HiDream I1" else text

    def attend(chosen, query, key, value, heads, *rest, **options):
        split = options.get("skip_reshape")
        q, k, v = (
            (one if split else one.reshape(*one.shape[:2], heads, -1).transpose(1, 2)).double()
            for one in (query, key, value)
        )
        if q.shape[2] < first + cells or k.shape[2] != (text if crossed else q.shape[2]):
            return chosen(query, key, value, heads, *rest, **options)
        k, v = (one.repeat_interleave(q.shape[1] // one.shape[1], 1) for one in (k, v))
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        behind = cells if name == "HiDream I1" else 0
        tokens = {token: behind + before + token for token in range(text - before)}
        for row in range(len(scores) // 2, len(scores)):
            for frame in range(frames):
                rows = slice(first + frame * cells // frames, first + (frame + 1) * cells // frames)
                scores[row, :, rows] = step(scores[row, :, rows], tokens, targets, grid, strength)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2).to(query.dtype)

    bound = model.clone()
    bound.model_options["transformer_options"][OVERRIDE] = attend
    return bound


def lengths(name):
    known = {"FLUX.2": (512, 512 - 77), "Z-Image": (96, 0), "HiDream I1": (77 + 2 * LLAMA, 0)}
    return known.get(name, (77, 0))


def entities_for(name):
    found = entities_of_prompt()
    return tuple(map(in_three_texts, found)) if name == "HiDream I1" else found


def concentrate(model, prompts, layout, settings=STRONG, name=""):
    bound, positive = apply_concentration(model, prompts[0], entities_for(name), settings, layout)
    return bound, positive, prompts[1]


@EVERY
def test_the_documented_step_over_prompt_and_picture(made, prompts, layout, name):
    model, noise = made(name), latents(name, 2 if name == "Flux.1" else 1, *SIZE)
    settings = Concentration(*WEIGHTS, strength=4.0, layers="all")
    before = evaluate(model, *prompts, noise, 500)
    found = evaluate(*concentrate(model, prompts, layout, settings, name), noise, 500)
    targets = find_targets(entities_for(name), layout)
    text, padded = lengths(name)
    plain = reference(model, name, targets, natural, text=text, before=padded)
    close(name, found, evaluate(plain, *prompts, noise, 500))
    assert (found.positive - before.positive).abs().max() > MOVED
    close(name, found.__class__(before.positive, found.negative), before)
    if name == "Flux.1":
        close(name, evaluate(model, *prompts, noise, 500), before, 0)
        close(name, evaluate(*concentrate(model, prompts, layout, settings), noise, 500), found, 0)


@pytest.mark.parametrize("name", ["Flux.1", "Z-Image", "Krea 2", "SD3.5", "Anima", "HiDream I1"])
def test_the_closed_form_is_automatic_differentiation(made, prompts, layout, name):
    model, noise = made(name), latents(name, 1, *SIZE)
    targets = find_targets(entities_for(name), layout)
    guidance = LocalGuidance(*WEIGHTS, strength=4.0, step="plain")
    term = LocalTerm(targets, guidance, layers_of(model)[:1], (0.0, 1.0))
    found = evaluate(bind(model), carry(prompts[0], term), prompts[1], noise, 500)
    text, padded = lengths(name)
    once = []

    def first(*given):
        once.append(None)
        return along_the_gradient(*given) if len(once) == 1 else given[0]

    plain = reference(model, name, targets, first, text=text, before=padded)
    close(name, found, evaluate(plain, *prompts, noise, 500), 1e-5)


@pytest.mark.parametrize(
    ("name", "off"),
    [("Flux.1", {"strength": 0.0}), ("Flux.1", {"token_weight": 0.0, "pixel_weight": 0.0})]
    + [(name, {"end": 0.01}) for name in ("Flux.1", "Lumina 2", "SD3.5", "Wan", "HiDream I1")],
    ids=str,
)
def test_switched_off_nothing_changes_by_a_bit(made, prompts, layout, name, off):
    model, noise = made(name), latents(name, 1, *SIZE)
    found = evaluate(*concentrate(model, prompts, layout, Concentration(layers="all", **off)), noise, 100)
    close(name, found, evaluate(model, *prompts, noise, 100), 0)


@pytest.mark.parametrize("name", ["Krea 2", "Anima"])
def test_another_attention_in_either_order(made, prompts, layout, name):
    calls = []

    def other(chosen, query, key, value, heads, *rest, **options):
        calls.append(query.shape)
        return attention_pytorch(query, key, 0.5 * value, heads, *rest, **options)

    def install(model):
        bound = model.clone()
        bound.model_options["transformer_options"][OVERRIDE] = other
        return bound

    model, noise = made(name), latents(name, 1, *SIZE)
    behind = evaluate(*concentrate(install(model), prompts, layout), noise, 500)
    bound, *rest = concentrate(model, prompts, layout)
    close(name, evaluate(install(bound), *rest, noise, 500), behind, 0)
    assert calls
    assert (behind.positive - evaluate(install(model), *prompts, noise, 500).positive).abs().max() > MOVED


@pytest.mark.parametrize("name", ["Lumina 2", "Anima"])
def test_with_regions_in_either_order(made, clip, prompts, layout, name):
    """Inside the regions the prompt counts a quarter; its words move there as far as they are seen."""
    model, noise = made(name), latents(name, 1, *SIZE)
    drawn, positive = draw_regions(model, clip, layout, prompts[0], prompt=0.25)
    alone = evaluate(drawn, positive, prompts[1], noise, 500)
    both = evaluate(*concentrate(drawn, (positive, prompts[1]), layout), noise, 500)
    bound, positive, negative = concentrate(model, prompts, layout)
    bound, positive = draw_regions(bound, clip, layout, positive, prompt=0.25)
    close(name, evaluate(bound, positive, negative, noise, 500), both, 0)
    assert (both.positive - alone.positive).abs().max() > MOVED
    assert torch.isfinite(both.positive).all()


@pytest.mark.parametrize("name", ["Flux.1", "Qwen-Image", "Anima", "Wan"])
def test_an_area_sees_its_part_of_the_regions(made, prompts, layout, name):
    """Of latents with frames ComfyUI gives the frames of an area too."""
    model, noise = made(name), latents(name, 1, 16, 16)
    bound, positive, negative = concentrate(model, prompts, layout)
    inside, rectangle = (..., slice(4, 12), slice(12)), (0.0, 0.25, 0.75, 0.75)
    there = [
        nodes.ConditioningSetArea().append(one, 12 * 8, 8 * 8, 0, 4 * 8, 1.0)[0]
        for one in (positive, negative)
    ]
    seen, _ = conditioning_seen_from(positive, rectangle, RunCache())
    found = evaluate(bound, *there, noise, 500)
    found = found.__class__(found.positive[inside], found.negative[inside])
    close(name, found, evaluate(bound, seen, negative, noise[inside], 500))
    whole = evaluate(bound, positive, negative, noise[inside], 500)
    assert (whole.positive - found.positive).abs().max() > MOVED


def test_two_runs_at_once_are_independent(made, prompts, layout):
    model, noise = made("Flux.1"), latents("Flux.1", 1, *SIZE)
    bound, positive, negative = concentrate(model, prompts, layout)
    _, weaker, _ = concentrate(bound, prompts, layout, Concentration(strength=1.0, layers="all"))
    expected = [evaluate(bound, one, negative, noise, 500) for one in (positive, weaker)]
    inner = []

    def meanwhile(executor, *args, **kwargs):
        if not inner:
            inner.append(None)
            inner[0] = evaluate(bound, weaker, negative, noise, 500)
        return executor(*args, **kwargs)

    outer = bound.clone()
    outer.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "meanwhile", meanwhile)
    found = evaluate(outer, positive, negative, noise, 500)
    close("Flux.1", found, expected[0], 0)
    close("Flux.1", inner[0], expected[1], 0)
    assert (expected[0].positive - expected[1].positive).abs().max() > MOVED


def test_the_mode_latent_names_the_model(made, prompts, layout):
    settings = Concentration(mode="latent")
    with pytest.raises(ModelMismatchError, match=r"This MODEL is Flux, .*Choose the mode local"):
        concentrate(made("Flux.1"), prompts, layout, settings)
