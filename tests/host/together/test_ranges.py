"""Ranges of nodes, of instances and of a run: where they miss one another it is said."""

from __future__ import annotations

import logging
from dataclasses import replace

import comfy.model_management
import pytest
import torch
from host_cases import assert_close, sample
from prompt_entities import entities_of_prompt

from instance_composer.hosts.comfyui.attention.window import tell_of_ranges
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.comfyui.ifadapter.compose import compose
from instance_composer.hosts.comfyui.regions.apply import draw_regions

EMPTY = {"samples": torch.zeros(1, 4, 16, 16)}
STEPS = 4
# What each node calls the first instance of the layout.
NAMES = {"adapter": "book", "composed": "book", "regions": "book", "local": "red book", "latent": "red book"}


@pytest.fixture(params=NAMES)
def node(request):
    return request.param


@pytest.fixture
def apply(node, model, clip, adapter, prompts):
    def applied(layout, end, told=None):
        tell = logging.getLogger("instance_composer").info if told is None else told.append
        if node == "adapter":
            return apply_ifadapter(model, clip, adapter, layout, *prompts, end=end, tell=tell)
        if node == "composed":
            return compose(model, clip, adapter, layout, end=end, tell=tell)[:3]
        if node == "regions":
            return *draw_regions(model, clip, layout, prompts[0], end=end, tell=tell), prompts[1]
        settings = Concentration(mode=node, end=end)
        entities = entities_of_prompt()
        made = apply_concentration(model, prompts[0], entities, settings, layout, tell=tell)
        return *made, prompts[1]

    return applied


def ranged(layout, start, end):
    first, *others = layout.instances
    return replace(layout, instances=(replace(first, start=start, end=end), *others))


@pytest.mark.parametrize(("start", "never"), [(0.5, True), (0.3, True), (0.25, False)])
def test_an_instance_that_never_acts_is_named(apply, node, layout, start, never):
    told = []
    apply(ranged(layout, start, 1.0), 0.3, told)
    assert len(told) == never
    if never:
        assert f"never act: {NAMES[node]} ({start:g} to 1). Widen" in told[0]


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO, logger="instance_composer")


def test_of_many_the_first_are_named():
    told = []
    ranges = [(str(number), (0.5, 1.0)) for number in range(60)]
    tell_of_ranges("Draw Regions", (0.0, 0.3), ranges, told.append)
    assert "8 (0.5 to 1), 9 (0.5 to 1) and 50 more." in told[0]


def told_in(caplog):
    return [one.getMessage() for one in caplog.records if "did not act in this run" in one.getMessage()]


def test_a_pass_beyond_the_range_is_told_once(apply, node, model, layout, prompts, caplog):
    trio = apply(layout, 0.3)
    sample(trio, EMPTY, steps=STEPS)
    assert not told_in(caplog)
    late = {"steps": STEPS, "denoise": 0.5}
    found = sample(trio, EMPTY, **late)
    sample(trio, EMPTY, **late)  # as the next tile
    assert len(told_in(caplog)) == 1
    if node != "composed":  # which makes prompts of its own
        assert_close(found, sample((model, *prompts), EMPTY, **late), tolerance=0)


def test_of_a_run_that_was_broken_off_nothing_is_told(apply, layout, caplog):
    model, *both = apply(layout, 0.3)
    stopped = model.clone()

    def stop(*_):
        raise comfy.model_management.InterruptProcessingException

    stopped.set_model_sampler_post_cfg_function(stop)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample((stopped, *both), EMPTY, steps=STEPS, denoise=0.5)
    assert not told_in(caplog)


def test_what_never_acts_stays_said_beside_silhouettes(model, layout, prompts):
    told = []
    settings = Concentration(end=0.85, silhouettes_from=0.4)
    entities = entities_of_prompt()
    made = apply_concentration(
        model, prompts[0], entities, settings, ranged(layout, 0.9, 1.0), tell=told.append
    )
    sample((*made, prompts[1]), EMPTY, steps=STEPS)
    assert len(told) == 2
    assert told[1].startswith(told[0])
    assert "ilhouettes" in told[1]
