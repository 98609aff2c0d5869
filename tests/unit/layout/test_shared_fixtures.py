"""Texts and what they must be read, judged and written as, or refused for.

tests/web reads the same files: the editor must agree about our own documents, masks and problems; the other
formats are the package's alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instance_composer.layout import (
    Canvas,
    FormatError,
    Layout,
    LayoutError,
    Polygon,
    RunLength,
    formats,
)

FIXTURES = Path(__file__).parents[2] / "data" / "layouts"
CASES = {
    f"{path.stem}: {entry['name']}": entry
    for path in sorted(FIXTURES.glob("*.json"))
    if path.stem != "masks"
    for entry in json.loads(path.read_text())
}
MASKS = {entry["name"]: entry for entry in json.loads((FIXTURES / "masks.json").read_text())}


def read(entry: dict[str, Any]) -> Layout:
    options = dict(entry.get("options", {}))
    if "canvas" in options:
        options["canvas"] = Canvas(*options["canvas"])
    return formats.read(entry["text"], entry.get("format"), **options)


def listed(layout: Layout | LayoutError) -> list[list[str | None]]:
    problems = layout.problems() if isinstance(layout, Layout) else layout.problems
    return [[problem.severity, problem.instance, problem.field] for problem in problems]


@pytest.mark.parametrize("name", [name for name, entry in CASES.items() if "document" in entry])
def test_what_is_read_is_judged_and_written_as_told(name: str) -> None:
    entry = CASES[name]
    layout = read(entry)
    if "detected" in entry:
        assert formats.detect(entry["text"]) == entry["detected"]
    assert layout.to_json() == entry["document"]
    assert Layout.from_json(entry["document"]).to_json() == entry["document"]
    assert listed(layout) == entry["problems"]
    for written, text in entry.get("written", {}).items():
        assert formats.write(layout, written) == text


@pytest.mark.parametrize("name", [name for name, entry in CASES.items() if "error" in entry])
def test_what_is_refused_is_refused_at_the_place_that_is_told(name: str) -> None:
    entry = CASES[name]
    with pytest.raises(LayoutError) as caught:
        read(entry)
    expected = entry["error"]
    if "line" in expected:
        assert isinstance(caught.value, FormatError)
        assert (caught.value.line, caught.value.column) == (expected["line"], expected["column"])
    if "problems" in expected:
        assert listed(caught.value) == expected["problems"]


def test_every_format_is_read_refused_and_written_somewhere() -> None:
    for name in formats.FORMATS:
        assert any(entry.get("detected") == name and "document" in entry for entry in CASES.values())
        assert any(entry.get("detected") == name and "error" in entry for entry in CASES.values())
        assert any(name in entry.get("written", {}) for entry in CASES.values())


@pytest.mark.parametrize("name", MASKS)
def test_masks_cover_the_same_pixels_as_in_the_editor(name: str) -> None:
    entry = MASKS[name]
    shape = entry["mask"]
    mask = (
        Polygon(tuple((x, y) for x, y in shape["polygon"]))
        if "polygon" in shape
        else RunLength(tuple(shape["rle"]["size"]), tuple(shape["rle"]["counts"]))
    )
    assert (mask.fault is None) == entry["usable"]
    if not entry["usable"]:
        return
    assert mask.is_empty == entry["empty"]
    assert list(mask.bounds) == entry["bounds"]
    for picture in entry["rasters"]:
        assert "".join(map(str, mask.raster(*picture["size"]))) == "".join(picture["rows"])
