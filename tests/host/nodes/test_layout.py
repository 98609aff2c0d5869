"""The layout nodes, called as ComfyUI calls them."""

from __future__ import annotations

import json

import pytest
import torch

from instance_composer.layout import LayoutError, RunLength
from instance_composer.layout.formats import FORMATS, write
from instance_composer.nodes.layout import InstanceLayout, LayoutFromText, LayoutPreview
from instance_composer.nodes.layout_changes import CombineLayouts, TransformLayout

FROM_TEXT = {
    "format": "auto", "width": 0, "height": 0, "order": "auto", "units": "auto", "picture": "",
    "join_captions": False,
}  # fmt: skip
IDENTITY = {
    "mirror": "none", "crop_left": 0.0, "crop_top": 0.0, "crop_right": 1.0, "crop_bottom": 1.0, "scale": 1.0,
    "move_right": 0.0, "move_down": 0.0,
}  # fmt: skip


def test_an_empty_document_is_an_empty_layout_of_the_size():
    layout, boxes, masks = InstanceLayout.execute(640, 512, " \n").result[:3]
    assert (layout.instances, layout.canvas.width, layout.canvas.height) == ((), 640, 512)
    assert boxes == [[]]
    assert masks.shape == (1, 512, 640)
    assert masks.sum() == 0


def test_the_document_follows_the_size_and_comes_out_as_boxes_and_masks(layout):
    made, boxes, masks = InstanceLayout.execute(512, 256, layout.to_json()).result[:3]
    assert made.instances == layout.instances
    assert [box["metadata"]["desc"] for box in boxes[0]] == [i.caption for i in layout.instances]
    assert masks.shape == (3, 256, 512)
    for box, mask, instance in zip(boxes[0], masks, layout.instances, strict=True):
        x, y, right, bottom = box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]
        assert [x, y] == pytest.approx([instance.box.x0 * 512, instance.box.y0 * 256], abs=1)
        assert mask[y + 1 : bottom - 1, x + 1 : right - 1].all()
        assert mask.sum() == pytest.approx(instance.box.area * 512 * 256, rel=0.02)


def test_a_document_that_is_no_layout_says_where():
    with pytest.raises(LayoutError, match="line 1, column 13"):
        InstanceLayout.execute(512, 512, '{"version": oops}')


@pytest.mark.parametrize("frames", [False, True])
def test_boxes_of_a_detector_become_the_regions_and_further_ones_instances(layout, frames):
    found = [
        {"x": 64 * n, "y": 32, "width": 64, "height": 128, "label": f"cat {n}", "score": 0.9}
        for n in range(4)
    ]
    made, *_ = InstanceLayout.execute(512, 512, layout.to_json(), [found] if frames else found).result
    assert [instance.caption for instance in made.instances] == [
        *(i.caption for i in layout.instances),
        "cat 3",
    ]
    assert list(made.instances[1].box) == [0.125, 0.0625, 0.25, 0.3125]
    assert len({instance.id for instance in made.instances}) == 4


def test_boxes_of_several_pictures_are_refused(layout):
    frames = [[{"x": 0, "y": 0, "width": 8, "height": 8}]] * 2
    with pytest.raises(LayoutError, match="boxes for 2 pictures, a layout is for one"):
        InstanceLayout.execute(512, 512, layout.to_json(), frames)


ELEMENTS = [
    {
        "type": "obj",
        "bbox": [100, 50, 600, 450],
        "desc": "a red book",
        "color_palette": ["#AA0000", "#000000"],
    },
    {"type": "text", "bbox": [0, 0, 120, 1000], "text": "OPEN", "desc": "a neon sign"},
    {"type": "text", "bbox": [700, 0, 820, 300], "text": "EXIT", "desc": ""},
]


def test_elements_come_in_and_go_out_as_core_has_them():
    layout, *_, elements = InstanceLayout.execute(640, 480, elements=ELEMENTS).result
    assert elements == ELEMENTS
    assert [one.caption for one in layout.instances] == [
        "a red book", 'a neon sign, the text "OPEN"', 'the text "EXIT"',
    ]  # fmt: skip
    again = InstanceLayout.execute(640, 480, layout.to_json(), elements=elements)
    assert again.result[-1] == ELEMENTS


def test_elements_are_what_cores_own_nodes_take():
    boxes = pytest.importorskip("comfy_extras.nodes_bounding_boxes")
    prompts = pytest.importorskip("comfy_extras.nodes_json_prompt")
    elements = InstanceLayout.execute(1000, 500, elements=ELEMENTS).result[-1]
    made = boxes.CreateBoundingBoxes.execute(1000, 500, bboxes=elements).result
    assert made[2] == elements, "through the canvas and out again"
    prompt = prompts.BuildJsonPromptIdeogram.execute(elements, {"style": "none"}).result[0]
    assert prompt["compositional_deconstruction"]["elements"] == ELEMENTS
    assert InstanceLayout.execute(1000, 500, elements=made[2]).result[-1] == ELEMENTS


def test_elements_give_an_instance_its_region_and_what_it_lacks(layout):
    made = InstanceLayout.execute(512, 512, layout.to_json(), elements=ELEMENTS[:1]).result[0]
    assert tuple(made.instances[0].box) == (0.05, 0.1, 0.45, 0.6)
    assert made.instances[0].caption == layout.instances[0].caption
    assert made.instances[0].extra["metadata"]["palette"] == ["#AA0000", "#000000"]
    assert made.instances[1:] == layout.instances[1:]
    with pytest.raises(LayoutError, match="element 1"):
        InstanceLayout.execute(512, 512, elements=[7])


def test_masks_become_the_regions_and_come_back_out(layout):
    masks = torch.zeros(2, 64, 64)
    masks[0, 8:24, 8:40] = 1.0
    masks[1, 32:, :16] = 0.7
    made, _, out = InstanceLayout.execute(64, 64, layout.to_json(), masks=masks).result[:3]
    assert isinstance(made.instances[0].mask, RunLength)
    assert list(made.instances[0].box) == [8 / 64, 8 / 64, 40 / 64, 24 / 64]
    assert made.instances[2] == layout.instances[2]
    assert out[:2].equal((masks > 0.5).float())
    masks[1] = 0.4
    with pytest.raises(LayoutError, match="masks: mask 2 of 2 is empty"):
        InstanceLayout.execute(64, 64, layout.to_json(), masks=masks)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_by_name(layout, name):
    text = write(layout, name)
    told = {**FROM_TEXT, "format": name, "width": 1024, "height": 1024}
    made, prompt, negative, width, height = LayoutFromText.execute(text, **told).result
    assert [instance.caption for instance in made.instances] == [i.caption for i in layout.instances]
    assert (prompt, negative) == (made.prompt, made.negative)
    assert (width, height) == (made.canvas.width, made.canvas.height)


def test_text_is_recognised_and_a_half_size_refused():
    text = "canvas: 640 x 480\nprompt: a shelf\n0.1 0.2 0.5 0.9: a red book"
    made, prompt, _, width, height = LayoutFromText.execute(text, **FROM_TEXT).result
    assert (prompt, width, height, made.instances[0].caption) == ("a shelf", 640, 480, "a red book")
    with pytest.raises(ValueError, match="width is 512 and height is 0: give both"):
        LayoutFromText.execute(text, **{**FROM_TEXT, "width": 512})


def test_how_the_text_was_read_is_shown_on_the_node():
    shown = LayoutFromText.execute("0.1 0.2 0.5 0.9: a red book", **FROM_TEXT).ui.as_dict()["text"]
    assert shown == ("plain lines (lines), fraction, xyxy, 1 instance",)
    text = '[{"box_2d": [100, 50, 900, 450], "label": "a cat"}, {"point": [1, 2], "label": "a nose"},]'
    (shown,) = LayoutFromText.execute(text, **FROM_TEXT).ui.as_dict()["text"]
    first, *warnings = shown.splitlines()
    assert first == "language model JSON (llm), grid1000, yxyx, 1 instance"
    assert [line.split(":")[0] for line in warnings] == ["warning", "warning"]
    assert "mended" in shown
    assert "shape 2 is left out" in shown
    (shown,) = LayoutFromText.execute("0 0.5 0.5 0.05 0.05", **FROM_TEXT).ui.as_dict()["text"]
    assert "the names of the classes 0 are not told" in shown
    assert 'Instance "1" ("class 0"), box: covers 0.25%' in shown


def test_a_picture_of_a_batch_of_boxes_is_chosen_by_its_number():
    frames = [[{"x": 64 * n, "y": 0, "width": 64, "height": 64, "label": f"cat {n}"}] for n in range(2)]
    told = {**FROM_TEXT, "width": 512, "height": 512}
    for name in ("auto", "bounding-boxes"):
        made = LayoutFromText.execute(json.dumps(frames), **{**told, "format": name, "picture": "1"}).result[
            0
        ]
        assert [one.caption for one in made.instances] == ["cat 1"]
    for picture, words in (
        ("", "boxes for 2 pictures"),
        ("7", "frame 7 does not exist"),
        ("a", "whole number"),
    ):
        with pytest.raises(ValueError, match=words):
            LayoutFromText.execute(json.dumps(frames), **{**told, "picture": picture})
    with pytest.raises(LayoutError, match="frame 3 does not exist"):
        LayoutFromText.execute(json.dumps(frames[0]), **{**told, "picture": "3"})


def test_options_that_a_format_does_not_know_are_refused():
    with pytest.raises(LayoutError, match="order has no meaning for the format lines"):
        LayoutFromText.execute("0.1 0.2 0.5 0.9: a book", **{**FROM_TEXT, "order": "xyxy"})


def test_a_language_models_boxes_read_with_the_order_told():
    text = json.dumps({"objects": [{"bbox": [10, 20, 30, 60], "label": "a cat"}]})
    told = {**FROM_TEXT, "order": "yxyx", "units": "percent", "width": 512, "height": 512}
    made = LayoutFromText.execute(text, **told).result[0]
    assert list(made.instances[0].box) == pytest.approx([0.2, 0.1, 0.6, 0.3])


def test_combined_layouts_keep_the_first_canvas_and_stack_upwards(layout):
    other = InstanceLayout.execute(512, 256, layout.to_json()).result[0]
    combined = CombineLayouts.execute(other, layout, fourth=layout).result[0]
    assert (combined.canvas.width, len(combined.instances)) == (512, 9)
    assert len({instance.id for instance in combined.instances}) == 9


def test_an_untouched_transform_changes_nothing(layout):
    assert TransformLayout.execute(layout, **IDENTITY).result[0] == layout


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mirror": "horizontal"}, [0.25, 0.3, 0.95, 0.95]),
        ({"mirror": "vertical"}, [0.05, 0.05, 0.75, 0.7]),
        ({"mirror": "both"}, [0.25, 0.05, 0.95, 0.7]),
        ({"crop_right": 0.75}, [0.05 / 0.75, 0.3, 1.0, 0.95]),
        ({"scale": 0.5}, [0.275, 0.4, 0.625, 0.725]),
        ({"move_right": 0.1, "move_down": -0.1}, [0.15, 0.2, 0.85, 0.85]),
    ],
)
def test_transforms(layout, change, expected):
    made = TransformLayout.execute(layout, **{**IDENTITY, **change}).result[0]
    assert list(made.instances[0].box) == pytest.approx(expected)


def test_what_a_transform_leaves_out_is_named(layout, caplog):
    made = TransformLayout.execute(layout, **{**IDENTITY, "scale": 3.0, "move_right": 1.0}).result[0]
    gone = [one.id for one in layout.instances if one.id not in {left.id for left in made.instances}]
    assert gone
    assert f"{len(gone)} of {len(layout.instances)} instances" in caplog.text
    assert all(name in caplog.text for name in gone)
    caplog.clear()
    TransformLayout.execute(layout, **IDENTITY)
    assert not caplog.text


def test_a_crop_without_area_is_refused(layout):
    with pytest.raises(LayoutError, match="the crop must lie on the canvas"):
        TransformLayout.execute(layout, **{**IDENTITY, "crop_left": 0.8, "crop_right": 0.2})


def test_the_preview_is_drawn_over_every_picture_and_shown(layout):
    pictures = torch.rand(2, 96, 128, 3, generator=torch.Generator().manual_seed(0))
    out = LayoutPreview.execute(layout, 0.35, pictures)
    drawn = out.result[0]
    assert drawn.shape == pictures.shape
    assert len(out.ui.as_dict()["images"]) == 2
    left, top = round(0.05 * 128) + 8, round(0.3 * 96) + 20
    assert (drawn[0, top, left] - pictures[0, top, left]).abs().max() > 0.02
    assert LayoutPreview.execute(layout, 0.35).result[0].shape == (1, 1024, 1024, 3)


def test_the_preview_of_nothing_over_a_picture_is_the_picture():
    empty = InstanceLayout.execute(64, 64, "").result[0]
    picture = (torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    torch.testing.assert_close(LayoutPreview.execute(empty, 0.35, picture).result[0], picture)
