"""Regions that come into Instance Layout: what they change, and what a second run makes of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from instance_composer.hosts.comfyui.conversions import (
    boxes_of,
    elements_of,
    masks_of,
    with_boxes,
    with_elements,
    with_masks,
    with_upstream_regions,
)
from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.layout.transform import resize_canvas

CAT = {"x": 128, "y": 128, "width": 256, "height": 256, "label": "cat"}
OWL = {"x": 300, "y": 300, "width": 100, "height": 100, "label": "owl"}
DOG = {"x": 0, "y": 0, "width": 100, "height": 100, "label": "dog"}


def run(layout: Layout, boxes=None, side=512, masks=None, elements=None) -> Layout:
    """What the node makes of a document; the editor hands it back as text."""
    drawn = resize_canvas(Layout.from_json(layout.to_json()), side, side)
    return with_upstream_regions(drawn, boxes, masks, elements)


def changed(layout: Layout, place: int, **fields) -> Layout:
    items = list(layout.instances)
    items[place] = replace(items[place], **fields)
    return replace(layout, instances=tuple(items))


def test_boxes_are_read_again_when_the_size_is_corrected():
    first = run(Layout(), [CAT, OWL], side=1024)
    assert list(first.instances[0].box) == [0.125, 0.125, 0.375, 0.375]
    assert run(first, [CAT, OWL], side=512) == run(Layout(), [CAT, OWL], side=512)
    named = changed(first, 0, caption="a ginger cat")
    again = run(named, [CAT, OWL], side=512)
    assert [one.caption for one in again.instances] == ["a ginger cat", "owl"]
    assert list(again.instances[0].box) == [0.25, 0.25, 0.75, 0.75]


@pytest.mark.parametrize("fields", [{"box": Box(0.1, 0.1, 0.9, 0.9)}, {"id": "mine"}])
def test_a_region_that_was_changed_follows_the_size_instead(fields):
    mine = changed(run(Layout(), [CAT, OWL], side=1024), 0, **fields)
    again = run(mine, [CAT, OWL], side=512)
    assert again.instances == mine.instances
    assert run(again, [CAT, OWL], side=512).instances == mine.instances


def test_other_boxes_take_the_place_of_instances_that_nobody_edited():
    first = run(Layout(), [CAT, OWL])
    assert run(first, [CAT, OWL]) == first, "the same again changes nothing"
    assert run(first, [DOG]) == run(Layout(), [DOG])
    assert run(first, [[]]) == run(Layout(), [[]])
    edited = changed(first, 1, caption="a snowy owl")
    assert [one.caption for one in run(edited, [DOG]).instances] == ["dog", "a snowy owl"]
    drawn = Layout((Instance("mine", Box(0.5, 0.0, 1.0, 1.0), "a fox"),))
    second = run(run(drawn, [CAT, OWL]), [DOG, CAT, OWL])
    assert [one.caption for one in second.instances] == ["a fox", "cat", "owl"]


def lefts(layout: Layout) -> list[float]:
    return [one.box.x0 * layout.canvas.width for one in layout.instances]


@pytest.mark.parametrize(
    "fields",
    [
        {"caption": "a white owl"},
        {"strength": 1.5},
        {"color": "#ff0000"},
        {"id": "mine"},
        {"enabled": False},
        {"locked": True},
        {"enabled": False, "locked": True},
    ],
)
def test_an_edit_of_one_leaves_each_region_with_its_instance(fields):
    boxes = [{**DOG, "x": 100 * place, "label": name} for place, name in enumerate(("cat", "owl", "dog"))]
    moved = [{**box, "x": box["x"] + 10} for box in boxes]
    edited = changed(run(Layout(), boxes), 1, **fields)
    captions = [one.caption for one in edited.instances]
    kept = 100 if fields.get("locked") else 110
    first = run(edited, moved)
    # Once more, as if a third picture came: the edit counts on.
    for again, places in ((first, [10, kept, 210]), (run(first, boxes), [0, kept - 10, 200])):
        if fields.get("locked"):
            places = [places[0], 100, places[2]]
        assert [one.caption for one in again.instances] == captions
        assert lefts(again) == pytest.approx(places)
        assert replace(again.instances[1], box=edited.instances[1].box) == edited.instances[1]
        assert run(again, moved if again is first else boxes) == again, "the same again changes nothing"
    larger = run(edited, boxes, side=1024)
    if "id" not in fields:
        assert lefts(larger) == pytest.approx([0, 200 if fields.get("locked") else 100, 200])
    assert [one.id for one in larger.instances] == [one.id for one in edited.instances]


def test_only_what_nobody_edited_goes_away_where_fewer_regions_come():
    first = run(Layout(), [CAT, OWL, DOG])
    off = changed(first, 2, enabled=False)
    fewer = run(off, [OWL])
    assert [(one.caption, one.enabled) for one in fewer.instances] == [("owl", True), ("dog", False)]
    back = run(fewer, [CAT, OWL])
    assert [(one.caption, one.enabled) for one in back.instances] == [("cat", True), ("owl", False)]
    # Switched on again it is as it came.
    assert [one.caption for one in run(changed(back, 1, enabled=True), [DOG, CAT]).instances] == [
        "dog",
        "cat",
    ]


def test_elements_boxes_and_masks_together_go_by_one_turn():
    elements = [{"type": "obj", "bbox": [0, 0, 500, 500], "desc": f"a {thing}"} for thing in ("cat", "dog")]
    masks = torch.zeros(1, 64, 64)
    masks[0, :16, :16] = 1
    every = {"boxes": [CAT, OWL, DOG], "masks": masks, "elements": elements}
    first = run(Layout(), **every)
    assert [(one.caption, one.mask is None) for one in first.instances] == [
        ("a cat", False),
        ("a dog", True),
        ("dog", True),
    ]
    mine = run(changed(first, 1, caption="a wolf"), **{**every, "boxes": [OWL, CAT, OWL]})
    assert [one.caption for one in mine.instances] == ["a cat", "a wolf", "owl"]
    assert mine.instances[1].box == run(Layout(), [CAT]).instances[0].box


def test_a_box_over_the_edge_is_no_edit():
    over = {**CAT, "width": 600}
    assert run(run(Layout(), [over]), [DOG]) == run(Layout(), [DOG])


def test_masks_and_elements_of_another_picture_take_their_place_too():
    masks = torch.zeros(2, 64, 64)
    masks[0, :16, :16] = masks[1, 32:, 32:] = 1
    assert run(run(Layout(), masks=masks), masks=masks[1:]) == run(Layout(), masks=masks[1:])
    elements = [{"type": "obj", "bbox": [0, 0, 500, 500], "desc": f"a {thing}"} for thing in ("cat", "dog")]
    assert run(run(Layout(), elements=elements), elements=elements[1:]) == run(
        Layout(), elements=elements[1:]
    )


def test_a_document_of_an_earlier_version_keeps_what_was_edited():
    first = run(Layout(), [CAT])
    name = first.extra["upstream"].partition("-")[0]
    old = replace(changed(first, 0, box=Box(0.1, 0.1, 0.9, 0.9)), extra={"upstream": name})
    assert run(old, [CAT]) == old


@pytest.fixture
def half_off() -> Layout:
    """The first instance is switched off; boxes lie on whole pixels."""
    items = (
        Instance("a", Box(0.125, 0.125, 0.25, 0.25), "a fox", enabled=False),
        Instance("b", Box(0.5, 0.5, 0.875, 0.875), "an owl"),
        Instance("c", Box(0.0, 0.5, 0.25, 1.0), "a cat"),
    )
    return Layout(items, Canvas(64, 64))


def test_what_goes_out_fits_what_comes_in(half_off):
    assert with_boxes(half_off, boxes_of(half_off)) == half_off
    assert with_elements(half_off, elements_of(half_off)) == half_off
    back = with_masks(half_off, masks_of(half_off))
    assert [(one.id, one.bounds) for one in back.instances] == [
        (one.id, one.box) for one in half_off.instances
    ]


def test_a_locked_instance_has_its_turn_and_keeps_its_place(half_off):
    locked = changed(half_off, 1, locked=True)
    made = with_boxes(locked, [{"x": 0, "y": 0, "width": 8, "height": 8}] * 2)
    assert made.instances[:2] == locked.instances[:2]
    assert list(made.instances[2].box) == [0, 0, 0.125, 0.125]


def test_words_to_show_come_with_an_element_where_an_instance_has_none():
    element = {"type": "text", "bbox": [0, 0, 500, 500], "text": "OPEN", "desc": "a sign"}
    plain, own = (
        Layout((Instance("1", Box(0, 0, 1, 1), caption),)) for caption in ("a neon sign", 'a sign, "SALE"')
    )
    assert elements_of(with_elements(plain, [element]))[0]["text"] == "OPEN"
    assert elements_of(with_elements(own, [element]))[0]["text"] == "SALE"


def test_words_that_a_caption_of_an_earlier_version_never_had_go_out_all_the_same():
    old = Instance("1", Box(0, 0, 1, 1), "a neon sign", extra={"metadata": {"type": "text", "text": "OPEN"}})
    (element,) = elements_of(Layout((old,)))
    assert (element["type"], element["text"]) == ("text", "OPEN")
    (element,) = elements_of(Layout((replace(old, caption='a sign, "SALE"'),)))
    assert element["text"] == "SALE"


@pytest.mark.parametrize(("shape", "told"), [((64, 64), True), ((32, 64), False), ((33, 64), False)])
def test_masks_of_another_shape_than_the_canvas_are_told(shape, told, caplog):
    with_masks(Layout(canvas=Canvas(128, 64)), torch.ones(1, *shape))
    assert ("masks have another shape" in caplog.text) is told
