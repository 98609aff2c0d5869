"""Boxes that become silhouettes while ComfyUI samples: with an adapter, and with attribute concentration."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from host_cases import EFFECT, assert_close, sample
from patched_weights import assert_equal, weights_of
from prompt_entities import entities_of_prompt

from instance_composer.hosts.comfyui.attention import silhouettes
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.models.silhouettes import Silhouettes, grow_silhouettes

EMPTY = {"samples": torch.zeros(1, 4, 16, 16)}
TWO = {"samples": torch.zeros(2, 4, 16, 16), "batch_index": [3, 5]}
STEPS = 4


@pytest.fixture
def grown(monkeypatch):
    """What was grown, one entry a picture; thresholds that the tiny UNet's nearly even maps pass."""
    found = []

    def grow(maps, regions):
        # An even map stays even; the others are stretched so far that they show something.
        low, high = (one.view(-1, 1, 1) for one in (maps.amin((1, 2)), maps.amax((1, 2))))
        found.append(grow_silhouettes((maps - low) / (high - low).clamp(min=1e-9), regions))
        return found[-1]

    monkeypatch.setattr(silhouettes, "grow_silhouettes", grow)
    return found


@pytest.fixture(params=["adapter", "local", "latent"])
def apply(request, model, clip, adapter, layout, prompts):
    def applied(since, told=None, layout=layout):
        tell = (lambda _: None) if told is None else told.append
        if request.param == "adapter":
            return apply_ifadapter(model, clip, adapter, layout, *prompts, silhouettes_from=since, tell=tell)
        strong = Concentration(strength=8.0, mode=request.param, silhouettes_from=since)
        entities = entities_of_prompt()
        bound, positive = apply_concentration(model, prompts[0], entities, strong, layout, tell=tell)
        return bound, positive, prompts[1]

    return applied


@pytest.fixture
def later(layout):
    """The layout with instances that all begin in the middle."""
    return replace(layout, instances=tuple(replace(one, start=0.5) for one in layout.instances))


def test_they_act_from_their_share_of_the_run_on(apply, grown, model):
    before = weights_of(model)
    boxes = sample(apply(0.0), EMPTY, steps=STEPS)
    assert not grown
    told = []
    applied = apply(0.4, told)
    first = sample(applied, EMPTY, steps=STEPS)
    assert (first - boxes).abs().max() > EFFECT / 20
    (one,) = grown
    assert any(share is not None and 0 < share < 1 for share in one.shares)
    assert [sentence.startswith("Silhouettes: ") for sentence in told] == [True]
    # Each run grows its own, so the second equals the first.
    assert_close(sample(applied, EMPTY, steps=STEPS), first, tolerance=0)
    assert len(grown) == 2
    assert_equal(weights_of(model), before)


def test_every_picture_of_a_batch_has_its_own(apply, grown):
    applied = apply(0.4)
    both = sample(applied, TWO, steps=STEPS)
    ours: list[Silhouettes] = grown[:]
    alone = sample(applied, {"samples": EMPTY["samples"], "batch_index": [5]}, steps=STEPS)
    assert len(ours) == 2
    masks = [[mask for mask in one.regions.masks if mask is not None] for one in (*ours, grown[-1])]
    assert any(not a.equal(b) for a, b in zip(masks[0], masks[1], strict=False))
    assert_close(both[1:], alone, tolerance=2e-3)


def test_runs_do_not_learn_from_each_other(apply, grown):
    applied = apply(0.4)
    first = sample(applied, EMPTY, steps=STEPS, seed=1)
    sample(applied, TWO, steps=STEPS, seed=2)
    sample(apply(0.4), EMPTY, steps=STEPS, seed=3)
    assert_close(sample(applied, EMPTY, steps=STEPS, seed=1), first, tolerance=0)


def test_even_maps_leave_the_boxes(apply, monkeypatch):
    told = []

    def even(maps, regions):
        return grow_silhouettes(torch.ones_like(maps), regions)

    monkeypatch.setattr(silhouettes, "grow_silhouettes", even)
    found = sample(apply(0.4, told), EMPTY, steps=STEPS)
    assert_close(found, sample(apply(0.0), EMPTY, steps=STEPS), tolerance=1e-4)
    assert "keeps" not in told[0]
    assert "its box (its attention is even there)" in told[0]


def test_without_early_steps_the_boxes_stay_and_it_says_so(apply):
    told = []
    late = {"steps": STEPS, "denoise": 0.3}
    found = sample(apply(0.4, told), EMPTY, **late)
    assert_close(found, sample(apply(0.0), EMPTY, **late), tolerance=1e-4)
    assert told[0].startswith("No silhouettes: no step ran before silhouettes_from")


def test_without_a_region_that_acts_early_enough_it_says_that(apply, later):
    """More noise would not help."""
    told = []
    sample(apply(0.3, told, later), EMPTY, steps=STEPS)
    assert told == [
        "No silhouettes: silhouettes_from is 0.3, and no region acts before 0.5. Every region keeps its box. "
        "Raise silhouettes_from above that, or let regions begin earlier."
    ]


@pytest.mark.parametrize("window", [{"start": 0.5}, {"end": 0.3}], ids=str)
def test_a_share_outside_the_window_is_refused(model, clip, adapter, layout, prompts, window):
    with pytest.raises(ValueError, match=r"silhouettes_from is 0\.4, .*Choose 0\.2 to 0\.4"):
        apply_ifadapter(model, clip, adapter, layout, *prompts, silhouettes_from=0.4, **window)
    settings = replace(Concentration(silhouettes_from=0.4), **window)
    with pytest.raises(ValueError, match="silhouettes_from"):
        apply_concentration(model, prompts[0], entities_of_prompt(), settings, layout)
