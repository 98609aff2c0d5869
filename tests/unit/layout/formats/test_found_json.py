"""JSON in answers: found in prose, mended where one mending is possible, else refused at its place."""

from __future__ import annotations

import json
import time

import pytest
from foreign_layouts import contents

from instance_composer.layout import Canvas, LayoutError, formats
from instance_composer.layout.formats.notes import taken

CAT = [("cat", (0.05, 0.4, 0.45, 0.95))]
CURLY = "{“objects”: [{“name”: “cat”, “bbox”: [0.05, 0.4, 0.45, 0.95]}]}"
ENTRY = '{"name": "cat", "bbox": [0.05, 0.4, 0.45, 0.95]}'
CUT = """```json
[
  {"box_2d": [480, 52, 910, 430], "label": "tabby cat"},
  {"box_2d": [350, 560, 930, 980], "label": "bla"""


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (CURLY, ["json_mended"]),
        ("{“objects”： [{“name”： “cat”， “bbox”： [0.05, 0.4, 0.45, 0.95]}]}", ["json_mended"]),
        (f'{{"objects": [{ENTRY},]}}', ["json_mended"]),
        (f'```json\n{{"objects": [\n{ENTRY}, // on the left\n]}}\n```', ["json_mended"]),
        (f'I place the cat [about a third] left.\n\n{{"objects": [{ENTRY}]}}', []),
        (f'I place the cat [about a third] left.\n\n{{"objects": [{ENTRY},]}}', ["json_mended"]),
        (f'{{"objects": [{ENTRY}]}}\nI hope this helps.', ["json_prose_after"]),
        (f'{{"objects": [{ENTRY}, {{"name": "do', ["json_cut_off"]),
        ("{'objects': [{'name': 'cat', 'bbox': (0.05, 0.4, 0.45, 0.95), 'occluded': False}]}", []),
        ("{'objects': [{'name': \"cat\", 'bbox': [0.05, 0.4, 0.45, 0.95], 'note': None, }]}", []),
    ],
)
def test_what_has_one_mending_is_read_with_a_warning(text: str, warnings: list[str]) -> None:
    assert formats.detect(text) == "llm"
    with taken() as notes:
        layout = formats.read(text)
    assert contents(layout) == CAT
    assert [warned.code for warned in notes.warnings] == warnings


def test_an_answer_that_ends_early_gives_its_complete_entries() -> None:
    with taken() as notes:
        assert [item.caption for item in formats.read(CUT).instances] == ["tabby cat"]
    assert [warned.code for warned in notes.warnings] == ["json_cut_off"]
    with pytest.raises(LayoutError, match="not JSON"):
        formats.read('{"objects": [{"name": "ca')


def test_words_in_a_text_are_never_mended() -> None:
    caption = "a “quoted” sign, ] // not a comment, } 'x'：y"
    text = json.dumps({"objects": [{"caption": caption, "box": [0.1, 0.1, 0.9, 0.9]}]}, ensure_ascii=False)
    assert formats.read(text.replace("}]}", "},]}"), order="xyxy").instances[0].caption == caption


@pytest.mark.parametrize(
    "text",
    [
        '{"objects": [{"name" "cat"}]}',
        '{"objects": ["a" "b"]}',
        "{'objects': [__import__('os').getcwd()]}",
        "{'objects': [{'name': 'a', 'name': 'b'}]}",
        "{'objects': [b'a', 1e999]}",
        '{"version": 1, "canvas": {"width": 64, "height": 64}, "instances": [],}',
    ],
)
def test_what_could_mean_several_things_is_refused(text: str) -> None:
    with pytest.raises(LayoutError):
        formats.read(text)


def test_two_layouts_in_prose_are_asked_about() -> None:
    text = f'First: {{"objects": [{ENTRY}]}}\nthen: {{"objects": [{ENTRY}]}}'
    with pytest.raises(LayoutError, match="2 blocks of JSON"):
        formats.detect(text)


def test_a_wide_object_with_a_key_given_twice_is_refused_at_once() -> None:
    text = "{" + ",".join(f'"k{number}":0' for number in range(200_000)) + ',"k199999":1}'
    start = time.process_time()
    with pytest.raises(LayoutError, match="given twice"):
        formats.read(text, canvas=Canvas(64, 64))
    assert time.process_time() - start < 4.0
