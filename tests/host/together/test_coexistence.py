"""Sharing cross-attention with other packs' real code, in either order.

What is asked everywhere: the other pack does what it does without us, and each layer gets exactly the
published term on top.
"""

from __future__ import annotations

import pytest
import torch
from comfyui_probe import evaluate
from host_cases import EFFECT, assert_same, encode, instance_tokens, noise
from other_packs import instantid, ipadapter_plus, ppm_couple, prompt_control_couple, pulid
from reference_output import reference_output

from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter

# Not square, and two pictures: a pack that mistakes rows or takes a root of the token count shows.
LATENTS = noise(2, 12, 16)

LEFT = torch.zeros(1, 12, 16)
LEFT[..., :8] = 1.0


def _packs(model, other_text):
    return {
        "ipadapter": lambda: ipadapter_plus(model),
        "ipadapter-style-masked": lambda: ipadapter_plus(model, "style transfer precise", LEFT),
        "instantid": lambda: instantid(model),
        "pulid": lambda: pulid(model, False),
        "pulid-ortho-v2": lambda: pulid(model, True),
        "ppm-couple": lambda: ppm_couple(other_text, LEFT),
        "prompt-control-couple": lambda: prompt_control_couple(other_text, LEFT),
    }


NAMES = tuple(_packs(None, None))
COUPLES = ("ppm-couple", "prompt-control-couple")
ORDERS = ("other pack first", "other pack last")


@pytest.fixture(scope="module", params=NAMES)
def other(request, model, clip):
    with torch.inference_mode():
        text = encode(clip, "a stack of blue plates")[0][0]
        return _packs(model, text)[request.param]()


# What most tests compare with. That it is still so after both packs is evaluated each time.


@pytest.fixture(scope="module")
@torch.inference_mode()
def plain(model, prompts):
    """The MODEL as it was given."""
    return evaluate(model, *prompts, LATENTS, 500)


@pytest.fixture(scope="module")
@torch.inference_mode()
def ours(applied):
    """With our adapter alone."""
    return evaluate(*applied, LATENTS, 500)


@pytest.fixture(scope="module")
@torch.inference_mode()
def alone(model, prompts, other):
    """The trio of the other pack's node alone."""
    return other.apply(model, *prompts, 0.8)


@pytest.fixture(scope="module")
@torch.inference_mode()
def without_us(alone):
    return evaluate(*alone, LATENTS, 500)


@pytest.fixture
def tokens(clip, adapter, layout):
    return dict(enumerate(instance_tokens(clip, adapter, layout)))


@pytest.fixture
def together(model, clip, adapter, layout, prompts):
    """The trio of both nodes in the order asked for, made anew at every call."""

    def make(other, order, weight=0.8, **options):
        def ours(trio):
            return apply_ifadapter(trio[0], clip, adapter, layout, *trio[1:], **options)

        if order == "other pack first":
            return ours(other.apply(model, *prompts, weight))
        return other.apply(*ours((model, *prompts)), weight)

    return make


@pytest.mark.parametrize("order", ORDERS)
def test_the_published_term_comes_on_top_of_the_other_pack(
    adapter, tokens, other, plain, alone, without_us, order, together
):
    assert (without_us.positive - plain.positive).abs().max() > EFFECT
    with reference_output(alone[0], adapter.model, tokens) as reference:
        expected = evaluate(reference, *alone[1:], LATENTS, 500)
    found = evaluate(*together(other, order), LATENTS, 500)
    assert_same(found, expected)
    assert (found.positive - without_us.positive).abs().max() > EFFECT
    assert (found.negative - without_us.negative).abs().max() > EFFECT


def test_the_order_changes_nothing(other, together):
    first, last = (evaluate(*together(other, order), LATENTS, 500) for order in ORDERS)
    assert_same(first, last, tolerance=0)


@pytest.mark.parametrize("order", ORDERS)
def test_twice_gives_the_same_and_leaves_every_branch_alone(
    model, prompts, applied, other, plain, alone, without_us, ours, order, together
):
    trio = together(other, order)
    first, sampled_again = (evaluate(*trio, LATENTS, 500) for _ in range(2))
    applied_again = evaluate(*together(other, order), LATENTS, 500)
    assert_same(sampled_again, first, tolerance=0)
    assert_same(applied_again, first, tolerance=0)
    for branch, before in (((model, *prompts), plain), (alone, without_us), (applied, ours)):
        assert_same(evaluate(*branch, LATENTS, 500), before, tolerance=0)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("off", [{"strength": 0.0}, {"end": 0.2}], ids=["strength 0", "after its end"])
def test_switched_off_the_other_pack_is_as_alone(other, without_us, order, together, off):
    assert_same(evaluate(*together(other, order, **off), LATENTS, 500), without_us, tolerance=0)


@pytest.mark.parametrize("order", ORDERS)
def test_at_weight_0_of_the_other_pack_ours_is_as_alone(other, ours, order, together):
    assert_same(evaluate(*together(other, order, weight=0.0), LATENTS, 500), ours)


@pytest.mark.parametrize("order", ORDERS)
def test_positive_and_negative_evaluated_apart(other, order, together, monkeypatch):
    trio = together(other, order)
    usual = evaluate(*trio, LATENTS, 500)
    monkeypatch.setattr(type(trio[0]), "get_free_memory", lambda *_: 0)
    apart = evaluate(*trio, LATENTS, 500)
    assert sorted(apart.calls) == [[0], [1]]
    assert_same(apart, usual)


@pytest.mark.parametrize("pair", [("ipadapter", "instantid"), ("pulid-ortho-v2", "ipadapter")], ids=str)
def test_between_two_packs_that_share_one_patch_object(model, clip, adapter, layout, prompts, tokens, pair):
    """The second finds the first one's object in the slot, as if we were not there, and adds itself to it."""
    first, second = (_packs(model, None)[name]() for name in pair)
    chained = second.apply(*first.apply(model, *prompts, 0.8), 0.6)
    with reference_output(chained[0], adapter.model, tokens) as reference:
        expected = evaluate(reference, *prompts, LATENTS, 500)
    bound = apply_ifadapter(first.apply(model, *prompts, 0.8)[0], clip, adapter, layout, *prompts)
    assert_same(evaluate(*second.apply(*bound, 0.6), LATENTS, 500), expected)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("couple", COUPLES)
def test_with_couple_and_image_pack_at_once(model, clip, adapter, layout, prompts, tokens, couple, order):
    packs = _packs(model, encode(clip, "a stack of blue plates")[0][0])
    image, couple = packs["ipadapter"](), packs[couple]()
    alone = couple.apply(*image.apply(model, *prompts, 0.8), 0.8)
    with reference_output(alone[0], adapter.model, tokens) as reference:
        expected = evaluate(reference, *alone[1:], LATENTS, 500)
    if order == "other pack first":
        trio = apply_ifadapter(alone[0], clip, adapter, layout, *alone[1:])
    else:
        bound = apply_ifadapter(model, clip, adapter, layout, *prompts)
        trio = couple.apply(*image.apply(*bound, 0.8), 0.8)
    assert_same(evaluate(*trio, LATENTS, 500), expected)
