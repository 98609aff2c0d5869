"""Entities and instances brought together by words and by overrides."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from instance_composer.layout import Box, Instance, Layout
from instance_composer.models.entities.captions import named_entities
from instance_composer.models.entities.matching import OverrideError, match_entities, read_overrides


@dataclass(frozen=True)
class Named:
    text: str
    number: int = 0

    @property
    def noun(self) -> str:
        return self.text.split()[-1]

    @property
    def modifiers(self) -> tuple[str, ...]:
        return tuple(self.text.split()[:-1])


def layout(*captions: str, **disabled: bool) -> Layout:
    box = Box(0.0, 0.0, 1.0, 1.0)
    return Layout(
        tuple(
            Instance(f"i{n}", box, caption, enabled=f"i{n}" not in disabled)
            for n, caption in enumerate(captions)
        )
    )


def match(texts: list[str], *captions: str, **options) -> dict[int, int]:
    return match_entities([Named(text) for text in texts], layout(*captions), **options)


CASES = {
    "by noun": (["red book", "vase"], ["a vase", "a book"], {0: 1, 1: 0}),
    "modifiers decide": (["red vase", "blue vase"], ["a blue vase", "a red vase"], {0: 1, 1: 0}),
    "order decides": (["vase", "vase"], ["tall vase", "round vase"], {0: 0, 1: 1}),
    "fewest other words": (["hat"], ["a man with a hat and a dog", "a hat"], {0: 1}),
    "one caption for two nouns": (["man", "red hat"], ["a man with a red hat"], {0: 0, 1: 0}),
    "one caption for one of two": (["red vase", "blue vase"], ["a blue vase"], {1: 0}),
    "plural": (["dogs", "berry", "glasses"], ["one glass", "berries", "a dog"], {0: 2, 1: 1, 2: 0}),
    "case": (["BOOK"], ["The Book"], {0: 0}),
    "whole words": (["cat"], ["a caterpillar", "a concatenation"], {}),
    "plural of every kind": (
        ["horses", "woman", "knives", "cap"],
        ["a horse", "two women", "a knife", "two capes"],
        {0: 0, 1: 1, 2: 2},
    ),
    "one caption for two in singular and plural": (["horse", "horses"], ["a horse"], {0: 0}),
    "parts of a word with hyphens": (["shirt", "bear", "man"], ["a man-made bear", "t-shirt"], {0: 1, 1: 0}),
    "a word with hyphens or its last part": (
        ["shirt", "t shirt"],
        ["a t-shirt", "a shirt"],
        {0: 1, 1: 0},
    ),
    "hyphens and other scripts": (["t-shirt", "猫"], ["黑 猫", "a red t-shirt"], {0: 1, 1: 0}),
    "tags": (["book", "red hat"], ["a\u3000blue_hat", "(red_hat:1.2)", "old\u00a0bo\u00adok"], {0: 2, 1: 1}),
    "nothing there": ([], ["a cat"], {}),
}


@pytest.mark.parametrize(("texts", "captions", "expected"), CASES.values(), ids=list(CASES))
def test_matching_by_words(texts, captions, expected) -> None:
    assert match(texts, *captions) == expected


@pytest.mark.parametrize(
    ("prompt", "captions"),
    [
        ("a man in a red t-shirt and a blue hat", {"red t-shirt": "shirt", "blue hat": "hat"}),
        ("a green T-Rex and a blue car", {"a green T-Rex": "rex", "a blue car": "car"}),
        ("an X-wing over a blue lake", {"an X-wing": "wing", "a blue lake": "lake"}),
        ("a teddy-bear beside a red ball", {"a brown teddy-bear": "bear", "red ball": "ball"}),
        ("two brown horses and a red barn", {"a brown horse": "horses", "a red barn": "barn"}),
        ("a t-shirt and a shirt", {"a shirt": "shirt", "a t-shirt": "shirt"}),
    ],
)
def test_what_a_parser_finds_is_matched(prompt, captions) -> None:
    entities = named_entities(prompt, list(captions))
    matched = match_entities(entities, layout(*captions))
    assert {position: entities[index].noun for index, position in matched.items()} == dict(
        enumerate(captions.values())
    )


def test_a_layout_is_gone_through_once_for_each_entity() -> None:
    """Not once more for each of its instances, which took seconds for a thousand."""
    asked = []

    class Asked(Instance):
        @property
        def active(self) -> bool:
            asked.append(self.id)
            return super().active

    instances = tuple(Asked(str(n), Box(0.0, 0.0, 1.0, 1.0), f"a red thing {n}") for n in range(50))
    assert len(match_entities([Named("red thing")] * 5, Layout(instances))) == 5
    assert len(asked) == 5 * 50


def test_instances_that_do_not_count_are_not_matched() -> None:
    entities = [Named("cat")]
    assert match_entities(entities, layout("a cat", "a cat", i0=True)) == {0: 1}
    assert match_entities(entities, layout("a cat", i0=True)) == {}


def test_overrides_win_and_leave_the_rest_to_words() -> None:
    texts = ["red vase", "blue vase", "book"]
    captions = ("a blue vase", "a red vase", "a book")
    assert match(texts, *captions, overrides={0: 0}) == {0: 0, 1: 1, 2: 2}
    assert match(texts, *captions, overrides={2: None}) == {0: 1, 1: 0}
    assert match(texts, *captions, overrides={2: 0}) == {0: 1, 1: 0, 2: 0}


def test_overrides_name_entities_and_instances() -> None:
    entities = [Named("red vase"), Named("vase"), Named("book"), Named("old vase")]
    text = "# mine\n\nbook = none\nRed Vase=2\nvase 2 = i0\nold vase = 1"
    assert read_overrides(text, entities, layout("a", "b")) == {2: None, 0: 1, 1: 0, 3: 0}
    assert read_overrides("", entities, layout()) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cup = 1", "no entity of the prompt is called 'cup'; the entities are: 'red vase'"),
        ("red vase 2 = 1", "no entity of the prompt is called 'red vase 2'"),
        ("vase = 3", "no instance '3'; name one by its number from 1 to 2 or by its id"),
        ("vase ² = 1", "no entity of the prompt is called 'vase ²'"),
        (f"vase {'1' * 5000} = 1", "no entity of the prompt is called 'vase 111"),
        ("vase = i7", "no instance 'i7'"),
        ("vase", "'vase' is not an override"),
        ("= 2", "is not an override"),
    ],
)
def test_an_override_that_names_nothing_is_told(text, told) -> None:
    with pytest.raises(OverrideError, match=told):
        read_overrides(text, [Named("red vase")], layout("a", "b"))


@pytest.mark.parametrize(
    "text",
    ["cafe\u0301", "caf\u00e9", "Big cafe\u0301", "CAF\u00c9", "big\u00a0cafe\u0301", "cafe\u0301 1"],
)
def test_an_override_names_its_entity_in_every_spelling(text) -> None:
    for noun in ("caf\u00e9", "cafe\u0301"):
        assert read_overrides(f"{text} = 1", [Named("rain"), Named(f"big {noun}")], layout("a")) == {1: 0}


@dataclass(frozen=True)
class Shirt:
    """As a parser takes it apart."""

    text: str
    noun: str = "shirt"
    modifiers: tuple[str, ...] = ("red", "t")


@pytest.mark.parametrize("text", ["t\u2011shirt", "t-shirt", "red t-shirt", "Red T\u2010shirt", "shirt"])
def test_an_override_may_name_a_word_with_hyphens(text) -> None:
    for written in ("red t\u2011shirt", "red t-shirt"):
        assert read_overrides(f"{text} = 1", [Shirt(written)], layout("a")) == {0: 0}
    both = [Shirt("red t-shirt"), Shirt("t-shirt", modifiers=("t",))]
    assert read_overrides("t-shirt = 1", both, layout("a")) == {1: 0}, "the whole words first"


@pytest.mark.parametrize(
    ("one", "other"), [("cafe\u0301", "café"), ("child\u2019s", "child's"), ("t\u2011shirt", "t-shirt")]
)
def test_spellings_of_one_letter_or_sign_are_one_word(one, other):
    assert match([one], f"a {other}") == match([other], f"a {one}") == {0: 0}
