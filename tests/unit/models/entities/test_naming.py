"""Captions that a prompt names, by its words alone."""

from __future__ import annotations

import time

import pytest

from instance_composer.layout import Box, Instance, Layout
from instance_composer.models.entities.naming import find_unnamed, join_captions


def layout(prompt: str, *captions: str, **fields) -> Layout:
    instances = (
        Instance(str(number), Box(0, 0, 0.5, 0.5), one, **fields) for number, one in enumerate(captions)
    )
    return Layout(tuple(instances), prompt=prompt)


@pytest.mark.parametrize(
    ("prompt", "caption"),
    [
        ("a red fox and a blue owl", "a red fox"),
        ("a red fox and a blue owl", "Blue owl."),
        ("two red foxes", "a red fox"),
        ("red roses on a table", "a red rose"),
        ("chocolate cookies on a plate", "a chocolate cookie"),
        ("two men and white houses by a lake", "a white house"),
        ("two men and white houses by a lake", "a man"),
        ("wolves, caves", "a wolf"),
        ("a large red striped diamond on grey", "a red diamond"),
        ("a fox jumps over a dog", "a dog"),
        ("(red:1.3) fox, <lora:x:1>, snow", "a red fox"),
        ("1girl, red_hair, masterpiece", "red hair"),
        ("snow BREAK a red fox", "a red fox"),
        ("a red, white and blue flag on a pole", "a red white and blue flag"),
        ("the book is old and blue, on a shelf", "an old blue book"),
        ("a photo of a cat", "a cat sitting on a red sofa"),
        ("an old king wearing a ring", "an old king"),
        ("红色的狐狸在雪地里", "红色的狐狸"),
    ],
)
def test_a_caption_is_named_by_its_noun_and_what_describes_it(prompt, caption):
    assert find_unnamed(layout(prompt, caption)) == ()
    assert join_captions(layout(prompt, caption)) == prompt


@pytest.mark.parametrize(
    ("prompt", "caption"),
    [
        ("a blue checked cross and a green star on grey", "a yellow heart"),
        ("a yellow star and a green heart", "a green star"),
        ("a red dress, fox", "a red fox"),
        ("a photo of a cat", "a tabby cat with a red collar"),
        ("black dog and cat", "a black cat"),
        ("a firefox logo", "a fox"),
        ("two red capes", "a red cap"),
        ("红色的狐狸在雪地里", "一只猫"),
        ("", "a fox"),
    ],
)
def test_words_elsewhere_do_not_name_it(prompt, caption):
    assert [one.caption for one in find_unnamed(layout(prompt, caption))] == [caption]


def test_words_of_another_thing_do_not_name_it_without_a_comma():
    prompt = "red fox black dog"
    assert find_unnamed(layout(prompt, "a red fox", "a black dog")) == ()
    assert len(find_unnamed(layout(prompt, "a red dog", "a black fox"))) == 2


def test_captions_join_in_their_order_once_and_end_no_sentence():
    joined = join_captions(layout("A room at night.", "a red fox.", "a lamp", "a red fox", "", "an owl,"))
    assert joined == "A room at night, a red fox, a lamp, an owl"
    assert join_captions(layout(" ", "a red fox")) == "a red fox"
    assert join_captions(layout("a room", "red rose", "red roses", "rose")) == "a room, red rose, rose"
    assert join_captions(layout("a room", "a fox", enabled=False)) == "a room"


def test_what_was_joined_is_named():
    for prompt in ("", "on grey", "A room: night; rain.", "(a fox:1.2", "红色的狐狸"):
        one = layout(prompt, "a red fox sitting in snow", "two owls", "a red and white cat", "一只猫")
        assert find_unnamed(Layout(one.instances, prompt=join_captions(one))) == ()


def test_hostile_texts_take_no_time():
    start = time.process_time()
    join_captions(layout("a " * 20_000 + "(" * 20_000, "is " * 5_000, "and," * 5_000, "ing " * 5_000))
    assert time.process_time() - start < 5


SPELLINGS = [("a cafe\u0301 table", "a café table"), ("a child\u2019s toy", "a child's toy"),
             ("a red t\u2011shirt", "a red t-shirt"), ("a red t\u2010shirt", "a red t-shirt"),
             ("\u1112\u1161\u11ab", "한")]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_spellings_of_one_letter_or_sign_are_one_word(one, other):
    for written, caption in ((one, other), (other, one)):
        prompt = f"{written} in the rain"
        assert join_captions(layout(prompt, caption)) == prompt
