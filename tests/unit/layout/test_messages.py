"""Codes of layout errors: a sentence each, words in every language of the editor, and the place they mean."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance_composer.layout import Canvas, FormatError, LayoutError, formats
from instance_composer.layout.json_text import locate
from instance_composer.layout.messages import MESSAGES, parameters, quote

ROOT = Path(__file__).parents[3]
LOCALES = sorted((ROOT / "locales").glob("*/main.json"))
# The editor has the words for a place from the path, whatever the sentence of the package says.
FROM_PATH = {"where"}


def words(path: Path) -> dict[str, list[str]]:
    """The sentences of every code in a language: one, or one for each plural form."""
    errors = json.loads(path.read_text(encoding="utf-8"))["instanceComposer"]["error"]
    return {code: [said] if isinstance(said, str) else list(said.values()) for code, said in errors.items()}


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.parent.name)
def test_every_code_has_words_in_every_language_that_speak_of_its_parameters(path: Path) -> None:
    said = words(path)
    assert set(MESSAGES) <= set(said)
    for code in MESSAGES:
        for sentence in said[code]:
            names = {name for _, name, _, _ in string.Formatter().parse(sentence) if name}
            assert names <= {*parameters(code), *extra(code), *FROM_PATH}, code


def extra(code: str) -> set[str]:
    """Parameters of errors about several fields, whose sentence lists the problems one by one."""
    return {"count", "names"} if code in ("unreadable", "has_errors") else set()


def test_every_code_is_raised_and_every_raised_code_has_a_sentence() -> None:
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "layout").rglob("*.py")
        if path.name != "messages.py"
    )
    raised = set(re.findall(r'fault\(\s*"(\w+)"', sources))
    assert raised <= set(MESSAGES)
    assert {code for code in MESSAGES if f'"{code}"' not in sources} == set()


def test_no_error_of_the_package_goes_without_a_code() -> None:
    for path in (ROOT / "layout").rglob("*.py"):
        assert not re.search(r"raise (Layout|Format)Error\(", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    ("text", "code", "params", "path", "place"),
    [
        (
            '[{"caption": "🦊", "box": [0, 0, "1", 1]}]',
            "need_number",
            {"where": "entry 1: box", "value": '"1"'},
            (0, "box", 2),
            '"1"',
        ),
        (
            'A layout:\n```json\n{"objects": [{"label": {"a": 1}, "bbox": [0, 0, 1, 1]}]}\n```',
            "need_text",
            {"where": "entry 1: caption", "value": '{"a": 1}'},
            ("objects", 0, "label"),
            '{"a": 1}, "bbox"',
        ),
        (
            '{"images": [], "annotations": [{"id": 1}]}',
            "need_numbers",
            {"where": "annotation 1: bbox", "count": 4, "value": "null"},
            ("annotations", 0, "bbox"),
            '{"id": 1}',  # what is missing is missing there
        ),
        (
            '{"version": 1, "canvas": {"width": 8}, "instances": []}',
            "unreadable",
            {"count": 1, "names": "canvas.height"},
            ("canvas", "height"),
            '{"width": 8}',
        ),
        ("0.1 0.1 0.5 0.5: a fox\nwhat?", "lines_unknown", {}, (), "what?"),
        (
            'canvas = Canvas()\ncanvas.add_local_description(description="a fox", location="up")',
            "omost_name",
            {"where": "line 2, add_local_description", "key": "location", "value": "up"},
            (),
            "canvas.add",
        ),
    ],
)
def test_an_error_names_its_code_and_points_at_its_place(
    text: str, code: str, params: dict[str, Any], path: tuple[str | int, ...], place: str
) -> None:
    with pytest.raises(LayoutError) as caught:
        formats.read(text, canvas=Canvas(100, 100))
    error = caught.value
    assert (error.code, error.path) == (code, path)
    assert {name: error.params[name] for name in params} == params
    assert error.position is not None
    assert text[error.position :].startswith(place)


def test_a_damaged_mask_points_into_the_file_though_its_own_text_is_counted_apart() -> None:
    mask = {"size": [2, 2], "counts": "0 1"}
    data = {"annotations": [{"bbox": [0, 0, 1, 1], "caption": "a", "segmentation": mask}], "images": []}
    text = json.dumps(data)
    with pytest.raises(FormatError, match="line 1, column 2") as caught:
        formats.read(text, canvas=Canvas(2, 2))
    assert caught.value.code == "compressed"
    assert caught.value.position == text.index('"0 1"')


def test_an_error_about_all_of_a_text_points_nowhere() -> None:
    with pytest.raises(LayoutError) as caught:
        formats.read("", canvas=None)
    assert (caught.value.code, caught.value.path, caught.value.position) == ("empty", (), None)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(path, value), *(found for step, inner in steps for found in paths(inner, (*path, step)))]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.sampled_from([None, 1, "\t"]))
def test_every_value_is_found_by_its_path(value: Any, indent: int | str | None) -> None:
    text = "\n " + json.dumps(value, indent=indent)
    for path, expected in paths(value):
        position = locate(text, path)
        assert position is not None
        assert json.JSONDecoder().raw_decode(text, position)[0] == expected


@given(
    st.recursive(
        st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    ),
    st.integers(2, 60),
)
def test_a_value_is_shown_by_its_beginning(value: Any, limit: int) -> None:
    text = json.dumps(value, ensure_ascii=False)[: limit + 1]
    whole = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    assert quote(value, limit) == (whole if len(whole) <= limit else whole[: limit - 1] + "…")


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"version": 1, "canvas": {"width": 64, "height": 64}, "instances": [0] * 50_000}),
        json.dumps({"version": 1, "canvas": "x" * 500_000, "instances": []}),
        json.dumps([{"x" * 500_000: [[0] * 99] * 999}]),
        json.dumps([{"caption": "a", "box": ["x" * 500_000] * 4}]),
        "{" + '"' + "k" * 500_000 + '": 1, "' + "k" * 500_000 + '": 2}',
    ],
    ids=["problems", "value", "key", "number", "twice"],
)
def test_a_message_shows_an_excerpt_of_what_it_speaks_of(text: str) -> None:
    with pytest.raises(LayoutError) as caught:
        formats.read(text)
    assert len(str(caught.value)) < 5_000
