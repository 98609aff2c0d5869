"""Targets of entities: which of them get a region, and from where."""

from __future__ import annotations

from dataclasses import replace

import torch
from prompt_entities import entities_of_prompt, entity

from instance_composer.layout import Box, Instance, Layout
from instance_composer.models.concentration.find_targets import find_targets


def test_what_has_no_region():
    entities = (*entities_of_prompt(), entity("bright light", 14, 15, localisable=False))
    vase = Layout((Instance("v", Box(0.0, 0.0, 0.5, 1.0), "a vase", strength=0.5, end=0.6),))
    own = find_targets(entities, vase)
    assert own.groups == ((2, 3), (6, 7), (10, 11))
    assert own.self_derived == (True, False, True)
    assert own.regions.strengths == (1.0, 0.5, 1.0)
    assert own.regions.windows[1] == (0.0, 0.6)
    nowhere = find_targets(entities, vase, without_region="nowhere")
    assert not any(nowhere.self_derived)
    assert nowhere.masks((4, 4)).sum(1).tolist() == [0, 8, 0]
    assert find_targets(entities, vase, without_region="leave alone").groups == ((6, 7),)
    assert find_targets(entities, vase, overrides="bright light = 1").groups[3] == (14, 15)
    assert find_targets(entities[3:]) is None
    assert find_targets(()) is None


def test_masks_go_to_the_first_entities_that_can_have_a_place():
    entities = (entity("bright light", 14, 15, localisable=False), *entities_of_prompt())
    soft = torch.zeros(2, 4, 4)
    soft[0, :2], soft[1, 2:] = 0.5, 0.49
    warnings = []
    found = find_targets(entities, masks=soft, without_region="leave alone", warn=warnings.append)
    assert found.groups == ((2, 3), (6, 7)), "the third has no mask and is left alone"
    assert found.masks((4, 4)).sum(1).tolist() == [8, 0], "half covered is covered"
    assert warnings == []
    find_targets(entities, masks=torch.ones(5, 4, 4), warn=warnings.append)
    assert warnings == ["There are 5 masks for 3 entities; the last 2 are not used."]


def test_what_has_no_token_is_said_and_no_region_is_made_up():
    book, vase, cup = entities_of_prompt()
    # The prompt was cut between "yellow" and "vase", or a tokenizer is another one.
    vase = replace(vase, tokens=(6,), noun_tokens=(), missing=vase.entity.words[1:])
    cup = replace(cup, tokens=(), noun_tokens=(), modifier_tokens=(), missing=cup.entity.words)
    warnings = []
    assert find_targets((book, vase, cup), warn=warnings.append).groups == ((2, 3),)
    assert warnings == [
        "yellow vase: no token of the prompt is that of vase; the entity is left alone.",
        "blue cup: no token of the prompt is that of blue, cup; the entity is left alone.",
    ]
    layout = Layout((Instance("v", Box(0.0, 0.0, 0.5, 1.0), "a vase"),))
    assert find_targets((book, vase, cup), layout, warn=warnings.append).groups == ((2, 3), (6,))
    assert warnings[2] == "yellow vase: no token of the prompt is that of vase; the other words count alone."
