"""Draw Regions on transformers of ComfyUI's own classes, tiny: against a dense matrix of weights."""

from __future__ import annotations

import functools
import math

import comfy.supported_models
import node_helpers
import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.patcher_extension import WrappersMP
from comfyui_probe import evaluate
from dense_transformer import OVERRIDE, Rules, with_dense_attention
from host_cases import assert_close, encode
from tiny_comfyui import CPU, Patcher
from tiny_transformers import CONFIGS, WithLlama, close, latents, tiny_transformer
from torch.utils._python_dispatch import TorchDispatchMode

import nodes
from instance_composer.hosts.comfyui.attention.binder import find_binder
from instance_composer.hosts.comfyui.attention.errors import ModelMismatchError
from instance_composer.hosts.comfyui.attention.placed import Caption
from instance_composer.hosts.comfyui.attention.run_cache import RunCache
from instance_composer.hosts.comfyui.attention.transformer import joined
from instance_composer.hosts.comfyui.attention.transformer.families import ANIMA
from instance_composer.hosts.comfyui.regions.apply import draw_regions
from instance_composer.hosts.comfyui.repair.seen_from import conditioning_seen_from
from instance_composer.layout import Box, Instance, Layout
from instance_composer.models.regions import Regions

EVERY = pytest.mark.parametrize("name", CONFIGS)
WITH_FRAMES = tuple(name for name, (_, _, shape) in CONFIGS.items() if len(shape) > 1)
MOVED = 0.02
# Operations that scores or a mask would come from.
SCORES = tuple(
    f"aten.{name}"
    for name in ("matmul", "bmm", "baddbmm", "einsum", "softmax", "_softmax", "zeros", "ones", "full", "new_")
)
END = 49407  # CLIP's end of text
MARKS = (0, 49406, END)  # padding of CLIP-G, start and end


@pytest.fixture(scope="module")
def clip(clip):
    return WithLlama(clip)


@pytest.fixture(scope="module")
def prompts(clip):
    with torch.inference_mode():
        return encode(clip, "a red book, a yellow vase and a blue cup"), encode(clip, "blurry")


@pytest.fixture(scope="module")
def made():
    """Name -> MODEL, made once."""
    with torch.inference_mode():
        yield functools.cache(tiny_transformer)


def test_a_model_of_the_same_class_that_reads_two_texts_is_refused_by_name():
    model = tiny_transformer("Z-Image")
    model.get_model_object("diffusion_model").masked_pad_multiple = 32
    with pytest.raises(ModelMismatchError, match=r"This MODEL is \w+, whose attention"):
        find_binder(model)


def reference(model, name, clip, layout, size, values=1.0, layers=None, **rules):
    """The MODEL with a dense matrix of weights; captions encoded and regions covered by hand."""
    texts, beside, marks = [], [], []
    for instance in layout.active:
        text, given = encode(clip, instance.caption)[0]
        beside.append(given["conditioning_llama3"])
        ids = [token for token, _ in clip.tokenize(instance.caption)["g"][0]]
        marks.append([place for place, token in enumerate(ids) if token in MARKS])
        if name in ("Flux.1", "FLUX.2", "Chroma"):
            text = text[:, : ids.index(END) + 1]
        texts.append(text)
    side = 1 if name == "FLUX.2" else 2
    grid = tuple(math.ceil(one / side) for one in size)
    covered = Regions.from_layout(layout).place(grid).covered.flatten(1)
    top = [max((n for n, one in enumerate(cell) if one), default=-1) for cell in covered.T.tolist()]
    frames = 3 if name == "Wan" else 1
    strength = rules.pop("strength", 1.0)
    strengths = [strength * one.strength for one in layout.active]
    owner = top * frames
    rules = Rules(strengths, **rules)
    return with_dense_attention(model, name, texts, owner, rules, values, layers, beside, marks)


@EVERY
@pytest.mark.parametrize(("batch", "size"), [(1, (12, 16)), (2, (15, 9))], ids=str)
def test_equals_a_dense_matrix(made, clip, layout, prompts, name, batch, size):
    model, noise = made(name), latents(name, batch, *size)
    drawn = *draw_regions(model, clip, layout, prompts[0]), prompts[1]
    found = evaluate(*drawn, noise, 500)
    assert found.calls == [[1, 0]]
    close(name, found, evaluate(reference(model, name, clip, layout, size), *prompts, noise, 500))
    plain = evaluate(model, *prompts, noise, 500)
    assert (found.positive - plain.positive).abs().max() > MOVED
    close(name, found.__class__(plain.positive, found.negative), plain)


def test_in_float64_what_is_left_is_below_1e_6(clip, layout, prompts):
    """SD3.5 alone: the kernels for rotary positions that ComfyUI calls in the others take no float64."""
    name = "SD3.5"
    with torch.inference_mode():
        model = tiny_transformer(name, torch.float64)
        noise, how = latents(name, 1, 12, 16).double(), {"strength": 0.7, "prompt": 0.25}
        drawn = *draw_regions(model, clip, layout, prompts[0], **how), prompts[1]
        expected = evaluate(reference(model, name, clip, layout, (12, 16), **how), *prompts, noise, 500)
        close(name, evaluate(*drawn, noise, 500), expected, 1e-6)


HOW = {
    "some of both": {"strength": 0.7, "prompt": 0.25},
    "thrice, prompt too": {"strength": 3.0, "prompt": 1.0},
    "isolated": {"prompt": 0.5, "isolated": True},
    "half isolated": {"strength": 0.5, "prompt": 0.5, "isolated": True},
}


@EVERY
@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_strength_prompt_and_isolation(made, clip, layout, prompts, name, how):
    model, noise = made(name), latents(name, 1, 12, 16)
    ours = {**how, "isolate": 1.0 if how.get("isolated") else 0.0}
    ours.pop("isolated", None)
    drawn = *draw_regions(model, clip, layout, prompts[0], **ours), prompts[1]
    expected = evaluate(reference(model, name, clip, layout, (12, 16), **how), *prompts, noise, 500)
    close(name, evaluate(*drawn, noise, 500), expected)


@EVERY
def test_strength_0_no_regions_and_outside_the_window_are_the_models_bits(made, clip, layout, prompts, name):
    model, noise = made(name), latents(name, 1, 12, 16)
    found = draw_regions(model, clip, layout, prompts[0], strength=0.0)
    assert found[0] is model
    assert found[1] is prompts[0]
    bound, positive = draw_regions(model, clip, layout, prompts[0], end=0.001)
    plain = evaluate(model, *prompts, noise, 500)
    close(name, evaluate(bound, positive, prompts[1], noise, 100), evaluate(model, *prompts, noise, 100), 0)
    close(name, evaluate(bound, *prompts, noise, 500), plain, 0)


@EVERY
def test_the_model_is_untouched_and_a_second_run_equals_the_first(made, clip, layout, prompts, name):
    model, noise = made(name), latents(name, 1, 12, 16)
    before = evaluate(model, *prompts, noise, 500)
    drawn = *draw_regions(model, clip, layout, prompts[0]), prompts[1]
    first = evaluate(*drawn, noise, 500)
    close(name, evaluate(model, *prompts, noise, 500), before, 0)
    close(name, evaluate(*drawn, noise, 500), first, 0)
    assert OVERRIDE not in model.model_options["transformer_options"]


@EVERY
def test_regions_on_a_model_that_did_not_come_through_warn_and_do_nothing(
    made, clip, layout, prompts, caplog, name
):
    model, noise = made(name), latents(name, 1, 12, 16)
    _, positive = draw_regions(model, clip, layout, prompts[0])
    close(name, evaluate(model, positive, prompts[1], noise, 500), evaluate(model, *prompts, noise, 500))
    assert "came through Draw Regions is sampled on a MODEL that did not" in caplog.text


@pytest.mark.parametrize("name", ["Flux.1", *WITH_FRAMES])
def test_an_area_sees_its_part_of_the_layout(made, clip, layout, prompts, name):
    """Of latents with frames ComfyUI gives the frames of an area too."""
    model, noise = made(name), latents(name, 1, 16, 16)
    bound, positive = draw_regions(model, clip, layout, prompts[0])
    inside, rectangle = (..., slice(4, 12), slice(12)), (0.0, 0.25, 0.75, 0.75)
    there = [
        nodes.ConditioningSetArea().append(one, 12 * 8, 8 * 8, 0, 4 * 8, 1.0)[0]
        for one in (positive, prompts[1])
    ]
    seen, _ = conditioning_seen_from(positive, rectangle, RunCache())
    found = evaluate(bound, *there, noise, 500)
    found = found.__class__(found.positive[inside], found.negative[inside])
    close(name, found, evaluate(bound, seen, prompts[1], noise[inside], 500))
    whole = evaluate(bound, positive, prompts[1], noise[inside], 500)
    assert (whole.positive - found.positive).abs().max() > MOVED


def test_an_area_of_some_frames_sees_its_part_of_the_layout(made, clip, layout, prompts):
    model, noise = made("Wan"), latents("Wan", 1, 16, 16)
    bound, positive = draw_regions(model, clip, layout, prompts[0])
    inside = (..., slice(1, 3), slice(4, 12), slice(12))
    area = {"area": (2, 8, 12, 1, 4, 0)}
    there = [node_helpers.conditioning_set_values(one, area) for one in (positive, prompts[1])]
    seen, _ = conditioning_seen_from(positive, (0.0, 0.25, 0.75, 0.75), RunCache())
    found = evaluate(bound, *there, noise, 500)
    found = found.__class__(found.positive[inside], found.negative[inside])
    close("Wan", found, evaluate(bound, seen, prompts[1], noise[inside], 500))


@EVERY
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_another_attention_in_either_order(made, clip, layout, prompts, name, first):
    """One that has no log-sum-exp and attends to other values; every call of ours goes through it."""

    def install(model):
        bound = model.clone()
        bound.model_options["transformer_options"][OVERRIDE] = other
        return bound

    calls = []

    def other(chosen, query, key, value, heads, *rest, **options):
        calls.append(query.shape)
        return attention_pytorch(query, key, 0.5 * value, heads, *rest, **options)

    model, noise = made(name), latents(name, 1, 12, 16)
    bound, positive = draw_regions(install(model) if first else model, clip, layout, prompts[0], prompt=1.0)
    found = evaluate(bound if first else install(bound), positive, prompts[1], noise, 500)
    dense = reference(model, name, clip, layout, (12, 16), values=0.5, prompt=1.0)
    close(name, found, evaluate(dense, *prompts, noise, 500))
    assert calls


@EVERY
def test_no_tensor_of_the_length_squared(made, clip, layout, prompts, name):
    model, noise = made(name), latents(name, 1, 46, 46)
    drawn = *draw_regions(model, clip, layout, prompts[0], isolate=0.9), prompts[1]
    cells = 529 * (4 if name == "FLUX.2" else 1) * (3 if name == "Wan" else 1)
    square = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if not str(function).startswith(SCORES):
                return result
            for one in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(one, torch.Tensor) and one.ndim > 1 and min(one.shape[-2:]) >= cells:
                    square.append((function, one.shape))
            return result

    # Plain calls of the whole picture are ComfyUI's own, which has scores on the CPU: take its flash kernel.
    bound = drawn[0].clone()
    bound.model_options["transformer_options"][OVERRIDE] = lambda chosen, *args, **kwargs: attention_pytorch(
        *args, **kwargs
    )
    with Watch():
        evaluate(bound, *drawn[1:], noise, 500, cfg=1.0)
    assert not square


@pytest.mark.parametrize(
    ("name", "preset"), [("Flux.1", "coarse"), ("Z-Image", "fine"), ("Anima", "fine"), ("HiDream I1", "fine")]
)
def test_a_preset_draws_in_its_blocks_alone(made, clip, layout, prompts, name, preset):
    model, noise = made(name), latents(name, 1, 12, 16)
    drawn = *draw_regions(model, clip, layout, prompts[0], layers=preset), prompts[1]
    numbers = [number for _, number, _ in find_binder(model).layers(model, preset)]
    dense = reference(model, name, clip, layout, (12, 16), layers=numbers)
    found = evaluate(*drawn, noise, 500)
    close(name, found, evaluate(dense, *prompts, noise, 500))
    every = evaluate(*draw_regions(model, clip, layout, prompts[0]), prompts[1], noise, 500)
    depth = len(find_binder(model).layers(model, "all"))
    assert ((found.positive - every.positive).abs().max() > MOVED / 4) == (len(numbers) < depth)


@pytest.mark.parametrize("name", ["Flux.1", "SD3.5"])
def test_attention_that_is_never_reached_is_told_of(made, clip, layout, prompts, caplog, name):
    """As where another pack skips the blocks, or replaces what would ask for an override."""

    def install(model, found):
        def without(executor, *args, **kwargs):
            for held in (*args, *kwargs.values()):
                if isinstance(held, dict) and OVERRIDE in held:
                    held.pop(OVERRIDE)
                    found.append(name)
            return executor(*args, **kwargs)

        bound = model.clone()
        kind = WrappersMP.APPLY_MODEL if name == "SD3.5" else WrappersMP.DIFFUSION_MODEL
        bound.add_wrapper_with_key(kind, "another pack", without)
        return bound

    model, noise, taken = made(name), latents(name, 1, 12, 16), []
    drawn, positive = draw_regions(model, clip, layout, prompts[0])
    evaluate(drawn, positive, prompts[1], noise, 500)
    assert "no attention of the model was reached" not in caplog.text
    evaluate(install(drawn, taken), positive, prompts[1], noise, 500)
    assert taken
    assert "no attention of the model was reached" in caplog.text
    assert "uses again what the last computed step did" in caplog.text, "of a cache not without effect"


@pytest.mark.parametrize("name", ["Flux.1", "HiDream I1"])
def test_two_runs_at_once_are_independent(made, clip, layout, prompts, name):
    model, noise = made(name), latents(name, 1, 12, 16)
    bound, positive = draw_regions(model, clip, layout, prompts[0])
    other = Layout((Instance("cup", Box(0.0, 0.0, 0.5, 0.5), "a blue cup"),))
    _, second = draw_regions(bound, clip, other, prompts[0])
    expected = [evaluate(bound, one, prompts[1], noise, 500) for one in (positive, second)]
    inner = []

    def meanwhile(executor, *args, **kwargs):
        if not inner:
            inner.append(None)
            inner[0] = evaluate(bound, second, prompts[1], noise, 500)
        return executor(*args, **kwargs)

    outer = bound.clone()
    outer.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "meanwhile", meanwhile)
    found = evaluate(outer, positive, prompts[1], noise, 500)
    close(name, found, expected[0], 0)
    close(name, inner[0], expected[1], 0)


def test_two_layouts_in_one_batch(made, clip, layout, prompts):
    """Combined conditionings: each chunk has captions of its own, of other lengths."""
    model, noise = made("Qwen-Image"), latents("Qwen-Image", 1, 12, 16)
    other = Layout((Instance("cup", Box(0.0, 0.0, 0.5, 0.5), "a blue cup"),))
    bound, positive = draw_regions(model, clip, layout, prompts[0])
    _, second = draw_regions(model, clip, other, prompts[0])
    apart = [evaluate(bound, one, prompts[1], noise, 500).positive for one in (positive, second)]
    found = evaluate(bound, positive + second, prompts[1], noise, 500)
    assert len(found.calls) == 1
    assert_close(found.positive, (apart[0] + apart[1]) / 2)


@pytest.mark.parametrize("name", ["Lumina 2", "Wan", "Krea 2"])
def test_a_text_as_long_as_the_picture_is_not_taken_for_it(made, clip, prompts, monkeypatch, name):
    """77 tokens of the prompt, 77 of a caption, a picture of 154: told apart by a filler that nobody sees."""
    one = Layout((Instance("a", Box(0.0, 0.0, 0.5, 1.0), "a red book"),))
    model, noise = made(name), latents(name, 1, 22, 28)
    noise = noise[:, :, :1] if name == "Wan" else noise
    drawn = *draw_regions(model, clip, one, prompts[0], isolate=0.9), prompts[1]
    found = evaluate(*drawn, noise, 500)
    longer = joined._before
    monkeypatch.setattr(joined, "_before", lambda *given: longer(*given) + 5)
    close(name, evaluate(*drawn, noise, 500), found)


def test_anima_reads_a_caption_through_its_adapter(made):
    transformer = made("Anima").get_model_object("diffusion_model")
    text = torch.randn(1, 9, 48, generator=torch.Generator().manual_seed(2))
    ids, weights = torch.tensor([5, 9, 1]), torch.tensor([1.0, 1.3, 1.0])
    caption = Caption(text, {"t5xxl_ids": ids, "t5xxl_weights": weights}, slice(None))
    expected = (
        made("Anima")
        .model.extra_conds(
            cross_attn=text, t5xxl_ids=ids, t5xxl_weights=weights, device=torch.device("cpu"), noise=text
        )["c_crossattn"]
        .cond
    )
    assert torch.equal(ANIMA.words(transformer, caption, text), expected)
    assert ANIMA.spoken(caption) == (0, 1), "without the end"


def test_a_clip_without_the_other_encoders_is_named(made, clip, layout, prompts):
    model, noise = made("HiDream I1"), latents("HiDream I1", 1, 12, 16)
    bound, positive = draw_regions(model, clip.clip, layout, prompts[0])
    with pytest.raises(ModelMismatchError, match="HiDream I1 reads captions through more text encoders"):
        evaluate(bound, positive, prompts[1], noise, 500)


@pytest.mark.parametrize("name", ["Flux.1", "Lumina 2", "Qwen-Image", "Krea 2", "HiDream I1"])
def test_what_cannot_be_joined_is_said(made, clip, layout, prompts, name):
    model, noise = made(name), latents(name, 1, 12, 16)
    bound, positive = draw_regions(model, clip, layout, prompts[0])
    if name == "Flux.1":
        given = {"attention_mask": torch.ones(1, 77, 77), "attention_mask_img_shape": (6, 8)}
    elif name == "Lumina 2":
        given = {"reference_latents": [noise]}
    elif name == "Qwen-Image":
        given = {"attention_mask": (torch.arange(77) < 40)[None].long()}
    elif name == "HiDream I1":
        given = {"concat_latent_image": noise}
    else:
        given, noise = {}, noise.expand(-1, -1, 2, -1, -1).contiguous()
    positive = node_helpers.conditioning_set_values(positive, given)
    with pytest.raises(ModelMismatchError, match="Draw Regions"):
        evaluate(bound, positive, prompts[1], noise, 500)


def test_a_model_that_cannot_be_reached_is_named(clip, layout, prompts):
    sizes = {"cond_seq_dim": 48, "n_layers": 1, "n_double_layers": 1, "max_seq": 64}
    settings = comfy.supported_models.AuraFlow(sizes)
    settings.set_inference_dtype(torch.float32, None)
    model = Patcher(settings.get_model({}, "", CPU), load_device=CPU, offload_device=CPU)
    with pytest.raises(ModelMismatchError, match="This MODEL is AuraFlow"):
        draw_regions(model, clip, layout, prompts[0])


def test_anima_knows_zeros_by_what_came_in(made, clip, layout, prompts):
    """Its adapter makes other numbers of zeros, once there are T5's ids."""
    model, noise = made("Anima"), latents("Anima", 1, 12, 16)
    ids = torch.arange(2, 20)
    t5 = {"t5xxl_ids": ids, "t5xxl_weights": torch.ones(len(ids))}
    positive, other = (node_helpers.conditioning_set_values(one, t5) for one in prompts)
    bound, drawn = draw_regions(model, clip, layout, positive)

    def zeroed(conditioning):
        return nodes.ConditioningZeroOut().zero_out(conditioning)[0]

    found = evaluate(bound, drawn, zeroed(drawn), noise, 500)
    plain = evaluate(bound, drawn, zeroed(positive), noise, 500)
    assert_close(found.negative, plain.negative, 0)
    assert (found.positive - evaluate(model, positive, other, noise, 500).positive).abs().max() > MOVED
    # Zeros before the node are drawn by their regions alone.
    bound, from_zeros = draw_regions(model, clip, layout, zeroed(positive))
    alone = evaluate(bound, from_zeros, other, noise, 500)
    assert (alone.positive - plain.negative).abs().max() > MOVED


def test_the_negative_that_core_makes_for_an_area_of_zeros_keeps_its_regions(made, clip, layout, prompts):
    """It is a copy of the positive in all but what the model reads."""
    model, noise = made("Anima"), latents("Anima", 1, 16, 16)
    bound, negative = draw_regions(model, clip, layout, prompts[1])
    zeros = nodes.ConditioningZeroOut().zero_out(prompts[0])[0]
    found, expected = (
        evaluate(bound, nodes.ConditioningSetArea().append(one, 96, 64, 0, 32, 1.0)[0], negative, noise, 500)
        for one in (zeros, prompts[0])
    )
    assert_close(found.negative, expected.negative)
