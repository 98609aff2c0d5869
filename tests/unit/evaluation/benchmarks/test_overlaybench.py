"""OverLayBench's rows as cases: boxes, captions, and files as its authors' meter reads them."""

from __future__ import annotations

import json

import pytest

from instance_composer.evaluation.benchmark import PlanError
from instance_composer.evaluation.benchmarks.published import BENCHMARKS
from instance_composer.layout import Box

ANNOTATION = {
    "caption": "two cats on a sofa",
    "annotations": {
        "cat_1": {"category": "cat", "bbox": [0, 256, 512, 1024], "local_prompts": "a grey cat"},
        "cat_2": {"category": "cat", "bbox": [256, 256, 768, 1024], "local_prompts": "a red cat"},
    },
    "relations": {"(cat_1, cat_2)": "beside"},
    "valid_overlap": [{"overlap_box": [0, 1]}],
}


@pytest.mark.parametrize("annotation", [str(ANNOTATION), ANNOTATION])
def test_a_row_is_a_layout_whose_order_is_not_told(annotation, tmp_path):
    file = tmp_path / "hard.jsonl"
    file.write_text(json.dumps({"image_id": "0007", "annotation": annotation}) + "\n")
    overlap = BENCHMARKS["overlap"]
    (case,) = overlap.read(file).cases
    assert (case.file, case.group, case.layout.prompt) == ("hard/42/0007.png", "hard", "two cats on a sofa")
    assert [one.caption for one in case.layout.active] == ["a grey cat", "a red cat"]
    assert case.layout.active[0].box == Box(0, 0.25, 0.5, 1)
    found = {"boxes": {"size": [1024, 1024], "boxes": [[0, 256, 512, 1024], [256, 256, 512, 1024]]}}
    parts = overlap.scored(case, found).parts
    assert parts["miou"] == (1.5, 2.0)
    assert parts["shared"] == (1.0, 1.0)
    assert parts["order"] == (0.0, 0.0)
    # Nothing is asked of a model of depth.
    order = next(stage for stage in overlap.stages(None, {}) if stage.name == "order")
    assert not order.asks(case, found)


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("rows", {"image_id": "1", "annotation": ANNOTATION}, "split is 'rows'"),
        ("simple", {"image_id": "1"}, "annotation"),
        ("simple", {"image_id": "1", "annotation": "open('x')"}, "no row"),
    ],
)
def test_another_form_is_told(name, row, said, tmp_path):
    file = tmp_path / f"{name}.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(PlanError, match=said):
        BENCHMARKS["overlap"].read(file)
