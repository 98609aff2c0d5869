"""Prompts with the syntax that people write: what is read of them, and the entities of it."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_syntax import BLANKS, UNSEEN, decorated

from instance_composer.models.entities.extraction import find_entities
from instance_composer.models.entities.pipelines import parse
from instance_composer.models.entities.prompt_reading import ALIKE, read_phrases


def things(prompt: str) -> dict[str, list[str]]:
    """What has a place in the picture, with its describing words."""
    (doc,) = parse([prompt])
    assert doc.text == prompt
    return {one.noun: list(one.modifiers) for one in find_entities(doc) if one.localisable}


BOOK_VASE = {"book": ["red"], "vase": ["blue"]}

PROMPTS = {
    "1girl, solo, red_hair, blue_eyes, white_shirt, black_skirt, masterpiece": {
        "hair": ["red"],
        "eyes": ["blue"],
        "shirt": ["white"],
        "skirt": ["black"],
    },
    "score_9, score_8_up, source_anime, rating_safe, blue hair, red eyes": {
        "hair": ["blue"],
        "eyes": ["red"],
    },
    "a red book, <lora:old_paper_xl:0.8> and a blue vase": BOOK_VASE,
    "a red <hypernet:x:1> book and <lyco:some style:0.5:0.7> a blue vase": BOOK_VASE,
    "a red book:1.3, a blue vase:0.8": BOOK_VASE,
    "a red book :1.3, a (blue vase: 0.8)": BOOK_VASE,
    "(a red book:1.3) ((and a [blue] vase))": BOOK_VASE,
    "a red book++ and a (blue)1.2 vase--": BOOK_VASE,
    "a red book::2 a blue vase::-0.5": BOOK_VASE,
    "a red book BREAK a blue vase": BOOK_VASE,
    "a red book AND a blue vase :0.7": BOOK_VASE,
    "a red book ADDCOMM\na blue vase ADDROW": BOOK_VASE,
    "a red book and a blue vase --ar 16:9 --v 6.1 --style raw": BOOK_VASE,
    "a red book --seed 12, a blue vase --tile": BOOK_VASE,
    "a red book and a blue vase --no text, a watermark --s 250": BOOK_VASE,
    "a red book and a blue vase —ar 3:2": BOOK_VASE,
    "a red book and a blue vase\nNegative prompt: bad hands\nSteps: 20, Sampler: Euler a, Seed: 1": BOOK_VASE,
    "a [red:0.4] book and a [blue::0.7] vase": BOOK_VASE,
    "a [red|blue] book": {"book": ["red", "blue"]},
    "a {red|blue} book and a __color__ vase": {"book": ["red", "blue"], "vase": []},
    "a {2$$red|blue} vase": {"vase": ["red", "blue"]},
    "[cat:dog:0.5] on a mat": {"cat": [], "dog": [], "mat": []},
    "embedding:glaze a red book, a blue vase": BOOK_VASE,
    r"saber \(fate\), red_hair": {"saber": [], "fate": [], "hair": ["red"]},
    "(masterpiece:1.2), ((best quality)), ultra-detailed, highres, 8k, a red book, a blue vase": BOOK_VASE,
    "a red book, a blue vase, highly detailed, sharp focus, trending on artstation, 4k": BOOK_VASE,
    "a big_red_book": {"book": ["big", "red"]},
    "looking_at_viewer, a blue vase, from above": {"vase": ["blue"]},
    "red hair，blue eyes、（white dress：1.2）；black shoes。": {
        "hair": ["red"],
        "eyes": ["blue"],
        "dress": ["white"],
        "shoes": ["black"],
    },
    "1.3::red book::, blue vase \N{RED APPLE}, green apple \N{GRINNING FACE}, *old* ~car~": {
        "book": ["red"],
        "vase": ["blue"],
        "apple": ["green"],
        "car": ["old"],
    },
    "red book,blue vase,by greg rutkowski, no humans, (newest)-": BOOK_VASE,
    "a red book and a blue vase Negative prompt: a hat Steps: 20, Sampler: DPM++ 2M": BOOK_VASE,
    # Sentences that look like syntax.
    "a clock at 10:30 beside a red book": {"clock": [], "book": ["red"]},
    "a well-read book, rock-and-roll posters": {"book": ["read"], "posters": ["rock", "roll"]},
    "a big, red, round ball": {"ball": ["big", "red", "round"]},
    "a red book - a blue vase": BOOK_VASE,
}


@pytest.mark.parametrize("prompt", PROMPTS)
def test_syntax_of_programs_is_no_thing(prompt):
    assert things(prompt) == PROMPTS[prompt]


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
def test_every_blank_parts_words(blank):
    assert things(f"{blank}a{blank}red{blank}book and{blank}a blue{blank}glass{blank}vase{blank}") == {
        "book": ["red"],
        "vase": ["blue", "glass"],
    }


@pytest.mark.parametrize("unseen", UNSEEN, ids=ascii)
def test_what_nobody_sees_parts_no_words(unseen):
    assert things(f"{unseen}a r{unseen}ed bo{unseen}ok{unseen} and a blue{unseen} vase") == BOOK_VASE


def test_blanks_are_all_of_unicode():
    every = map(chr, range(0x110000))
    kinds = [one for one in every if unicodedata.category(one) in ("Zs", "Zl", "Zp")]
    assert all(read_phrases(f"a{one}b").phrases[0].text == "a b" for one in kinds)


@pytest.mark.parametrize("number", range(250))
def test_decorated_prompts_say_the_same(number):
    """Weights, blanks, tags and switches around known phrases change no entity."""
    prompt, expected = decorated(number)
    (doc,) = parse([prompt])
    found = {one.noun: set(one.modifiers) for one in find_entities(doc) if one.localisable}
    assert found == {noun: set(modifiers) for noun, modifiers in expected.items()}, prompt


def test_what_is_left_out_is_told_as_it_was_written():
    prompt = "a red book <lora:x:0.8> __style__\u3000--ar  16:9\nNegative prompt: a hat"
    assert set(read_phrases(prompt).left_out) == {
        "<lora:x:0.8>",
        "__style__",
        "--ar 16:9",
        "Negative prompt: a hat",
    }
    assert read_phrases("a (red:1.2) book, masterpiece").left_out == ()


def test_a_plain_prompt_is_read_as_it_is():
    for prompt in (
        "a red book, and a blue vase.",
        "the dog's bowl - it's full",
        "",
        "a red ball\na blue cube",
    ):
        assert [phrase.text for phrase in read_phrases(prompt).phrases] == ([prompt] if prompt else [])


PIECES = st.sampled_from(
    [
        *"[](){}|:_-,.<>\\+ \n\0\1",
        "::",
        "--no",
        "AND",
        "BREAK",
        "<lora:",
        "red",
        "book",
        ":1.2",
        "1",
        "—ar",
        "$$",
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=40).map("".join)))
def test_every_word_that_is_read_stands_in_the_prompt(prompt):
    for phrase in read_phrases(prompt).phrases:
        assert len(phrase.text) == len(phrase.spans)
        last = 0
        for character, (start, end) in zip(phrase.text, phrase.spans, strict=True):
            assert last <= start <= end <= len(prompt)
            last = end
            if not character.isspace() and character != "," and prompt[start:end] not in ALIKE:
                assert prompt[start:end] == character


@pytest.mark.parametrize(
    "prompt",
    [
        " " * 60_000 + "a red book",
        "a red book" + "\u3000" * 60_000,
        "a\u200b" * 30_000,
        "(" * 60_000,
        "(" * 3000 + "a red book" + ":1.1)" * 3000,
        "[" * 30_000 + "]" * 30_000,
        ":" * 60_000,
        ":1" * 30_000,
        "1" * 60_000,
        "a:" + "1" * 60_000 + "x",
        "_" * 60_000,
        "<a:" * 20_000,
        "--" * 30_000,
        " --no" * 12_000,
        "__a" * 20_000,
        "embedding:" * 6_000,
        "a_b, " * 12_000,
        "Steps: 1," * 7_000,
        "\n" * 60_000,
    ],
    ids=lambda prompt: ascii(prompt[:12]),
)
def test_reading_is_linear(prompt):
    start = time.perf_counter()
    read_phrases(prompt)
    assert time.perf_counter() - start < 2


def test_letters_of_two_characters_are_read_as_one_and_keep_their_place():
    prompt = "a cafe\u0301, u\u0308ber"
    phrase = read_phrases(prompt).phrases[0]
    assert phrase.text == "a café, über"
    assert [prompt[start:end] for start, end in phrase.spans if end - start > 1] == ["e\u0301", "u\u0308"]
