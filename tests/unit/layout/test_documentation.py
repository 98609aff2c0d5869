"""The examples of docs/layout.md are what they say they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from instance_composer.layout import Canvas, formats

PAGE = Path(__file__).parents[3] / "docs" / "layout.md"
EXAMPLES = re.findall(
    r"^### ([a-z-]+)\n(?:(?!^#).)*?^(`{3,})\w*\n(.*?)^\2$", PAGE.read_text("utf-8"), re.M | re.S
)


def test_there_is_an_example_of_every_other_format() -> None:
    assert {name for name, _, _ in EXAMPLES} == set(formats.FORMATS) - {"layout"}


@pytest.mark.parametrize(("name", "example"), [(name, example) for name, _, example in EXAMPLES])
def test_an_example_is_detected_and_read(name: str, example: str) -> None:
    assert formats.detect(example) == name
    assert formats.read(example, canvas=Canvas(1024, 768)).checked().active


def test_the_document_shown_is_faultless() -> None:
    example = re.search(r"^## The document\n+```json\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    assert example is not None
    assert formats.read(example[1], "layout").problems() == []
