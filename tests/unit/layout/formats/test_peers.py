"""Formats of peers, which are read only: each by keys of its own, and refused at the place that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from foreign_layouts import PAIR, contents

from instance_composer.layout import Canvas, LayoutError, Polygon, formats
from instance_composer.layout.formats.notes import taken
from instance_composer.layout.formats.peers import READERS

SQUARE = Canvas(100, 100)
CAT = ("a cat", (0.05, 0.4, 0.45, 0.95))
DOG = ("a dog", (0.55, 0.35, 0.95, 0.95))
CORNERS = [[5, 40, 45, 95], [55, 35, 95, 95]]
FRACTIONS = [list(CAT[1]), list(DOG[1])]
LABELME = {
    "version": "5.2.1",
    "shapes": [
        {"label": "a cat", "points": [[45, 95], [5, 40]], "shape_type": "rectangle"},
        {"label": "a nose", "points": [[20, 50]], "shape_type": "point"},
        {"label": "a dog", "points": [[55, 35], [95, 35], [95, 95], [55, 95]], "shape_type": "polygon"},
    ],
    "imagePath": "a.jpg",
    "imageWidth": 100,
    "imageHeight": 100,
}
DIFFUSION = {
    "caption": "a garden",
    "width": 100,
    "height": 100,
    "annos": [
        {"bbox": [5, 40, 40, 55], "mask": [], "category_name": "cat", "caption": "a cat"},
        {"bbox": [55, 35, 40, 60], "mask": [], "category_name": "a dog", "caption": ""},
    ],
}
TOKENS = "<s>a cat<loc_50><loc_400><loc_450><loc_950>a dog<loc_550><loc_350><loc_950><loc_950></s>"
LMD = """Objects: [('a cat', [5, 40, 40, 55]), ('a dog', [55, 35, 40, 60])]
Background prompt: a garden
Negative prompt: people
"""


@pytest.mark.parametrize(
    ("name", "source", "prompt"),
    [
        ("labelme", LABELME, ""),
        ("florence", {"bboxes": CORNERS, "labels": ["a cat", "a dog"]}, ""),
        ("florence", {"<OD>": {"bboxes": CORNERS, "labels": ["a cat", "a dog"]}}, ""),
        ("florence", {"bboxes": FRACTIONS, "bboxes_labels": ["a cat", "a dog"]}, ""),
        ("florence", TOKENS, ""),
        ("gligen", {"prompt": "a garden", "phrases": ["a cat", "a dog"], "boxes": FRACTIONS}, "a garden"),
        ("gligen", {"gligen_phrases": ["a cat", "a dog"], "gligen_boxes": FRACTIONS}, ""),
        ("instance-diffusion", DIFFUSION, "a garden"),
        ("migc", {"prompt": [["a garden", "a cat", "a dog"]], "bboxes": [FRACTIONS]}, "a garden"),
        ("lmd", LMD, "a garden"),
    ],
)
def test_an_example_is_recognised_and_read(name: str, source: Any, prompt: str) -> None:
    text = source if isinstance(source, str) else json.dumps(source)
    assert formats.detect(text) == name
    layout = formats.read(text, canvas=SQUARE)
    assert contents(layout) == [CAT, DOG]
    assert layout.prompt == prompt


def test_what_a_peer_tells_beside_the_boxes_is_kept() -> None:
    assert formats.read(LMD).canvas == Canvas(512, 512)
    assert formats.read(LMD).negative == "people"
    with taken() as notes:
        layout = formats.read(json.dumps(LABELME))
    assert isinstance(layout.instances[1].mask, Polygon)
    assert [str(warned) for warned in notes.warnings] == ["shape 2 is left out: a point has no area"]
    circle = {"label": "a ball", "points": [[50, 50], [60, 50]], "shape_type": "circle"}
    layout = formats.read(json.dumps({**LABELME, "shapes": [circle]}))
    assert contents(layout) == [("a ball", (0.4, 0.4, 0.6, 0.6))]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"bboxes": CORNERS, "labels": ["a cat"]}, "bboxes has 2 entries and labels has 1"),
        ({"bboxes": [[1, 2, 3]], "labels": ["a cat"]}, "box 1 must be a list of 4 numbers"),
        ({"phrases": ["a cat"], "boxes": FRACTIONS}, "phrases has 1 entries and boxes has 2"),
        ({"prompt": [["a", "b"], ["c"]], "bboxes": [[[0, 0, 1, 1]]]}, "prompt must hold one picture, got 2"),
        ({"prompt": [["a", "b"]], "bboxes": [FRACTIONS]}, "bboxes has 2 entries and prompt has 1"),
        ({"annos": [{"bbox": [1, 2, 3, 4]}]}, "give the canvas size"),
        ({"width": 9, "height": 9, "annos": [{"bbox": None}]}, "annotation 1: bbox must be a list"),
        ({**LABELME, "shapes": [{"points": [[1, 2]]}]}, "shape 1: points must be two points or more, got 1"),
        ("Objects: [('a cat', 5)]\nBackground prompt: a", "object 1 must be a list of 4 numbers"),
    ],
)
def test_what_is_wrong_is_named(source: Any, words: str) -> None:
    with pytest.raises(LayoutError, match=words):
        formats.read(source if isinstance(source, str) else json.dumps(source))


@pytest.mark.parametrize("name", READERS)
def test_peers_are_not_written(name: str) -> None:
    with pytest.raises(LayoutError, match="are read and not written"):
        formats.write(PAIR, name)
