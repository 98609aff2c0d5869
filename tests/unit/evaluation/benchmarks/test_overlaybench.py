"""OverLayBench's rows as cases: boxes, captions, and files as its authors' meter reads them."""

from __future__ import annotations

import json

import pytest

from instance_composer.evaluation.benchmark import PlanError
from instance_composer.evaluation.benchmarks.published import BENCHMARKS
from instance_composer.evaluation.benchmarks.published.overlaybench_judge import questions
from instance_composer.evaluation.scorers.world_answers import values_in
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


@pytest.mark.parametrize("moved", ["*.json", "*.jsonl", "*"])
def test_rows_and_layouts_are_read_wherever_they_lie_in_a_folder(moved, tmp_path):
    overlap = BENCHMARKS["overlap"]
    data, _ = overlap.write_tiny(tmp_path, 4)
    (data / ".hidden").mkdir()
    (data / ".hidden" / "hard.jsonl").write_text("no rows")
    (data / "more").mkdir()
    for file in [one for one in data.glob(moved) if one.is_file()]:
        file.rename(data / "more" / file.name)
    found = overlap.read(data)
    assert found.source.startswith("2 layouts and 2 rows of OverLayBench")
    assert len(found.cases) == 4
    # What is said is what is taken.
    assert overlap.read(data, 3).source.startswith("2 layouts and 1 rows of OverLayBench")
    assert overlap.read(data, 1).source.startswith("1 layouts of ")
    for file in (data / "more").glob("*.json"):
        file.unlink()
    for file in data.glob("*.json"):
        file.unlink()
    assert overlap.read(data, 1).source.startswith("1 rows of OverLayBench")


def judged(case, **answers):
    said = {kind: json.dumps(one) for kind, one in answers.items()}
    return {
        "boxes": {"size": [512, 512], "boxes": [None, None]},
        "judge": {"size": [512, 512], "answers": said},
        "clip_local": [0.25, 0.35],
    }


def read_case(tmp_path, **changes):
    file = tmp_path / "hard.jsonl"
    file.write_text(json.dumps({"image_id": "0007", "annotation": {**ANNOTATION, **changes}}) + "\n")
    return BENCHMARKS["overlap"].read(file).cases[0]


def test_the_judges_answers_are_the_benchmarks_own_measures(tmp_path):
    overlap, case = BENCHMARKS["overlap"], read_case(tmp_path)
    found = judged(
        case,
        # In pixels of a picture of 512: the first is found, the second in half of its box.
        boxes={"cat": [[0, 128, 256, 512], [128, 128, 256, 512]], "dog": [[0, 0, 9, 9]]},
        entities={"cat_1": "Yes", "cat_2": "No"},
        relations={"(cat_1, cat_2)": "yes"},
    )
    parts = overlap.scored(case, found).parts
    assert parts["judge_miou"] == (0.75, 1.0)
    assert parts["judge_shared"] == (1.0, 1.0)
    assert parts["entities"] == (1.0, 2.0)
    assert parts["relations"] == (1.0, 1.0)
    assert parts["clip_local"] == pytest.approx((60.0, 2.0))
    nothing = {
        **found,
        "judge": {"size": [512, 512], "answers": {"boxes": "no", "entities": "", "relations": "?"}},
    }
    assert overlap.scored(case, nothing).parts["judge_miou"] == (0.0, 1.0)
    assert overlap.scored(case, nothing).parts["entities"] == (0.0, 2.0)
    without = read_case(tmp_path, relations={}, valid_overlap=[])
    measured = overlap.scored(without, judged(without, boxes={}, entities={})).parts
    assert {"relations", "judge_shared"}.isdisjoint(measured)


def test_questions_name_what_was_to_be_shown_in_pixels_of_the_picture(tmp_path):
    asked = questions(read_case(tmp_path), (512, 512))
    assert list(asked) == ["boxes", "entities", "relations"]
    assert "512 pixels wide" in asked["boxes"]
    assert values_in(asked["boxes"]) == [["cat"]]
    assert values_in(asked["entities"])[0]["cat_1"] == {
        "box": [0, 128, 256, 512],
        "description": "a grey cat",
    }
    assert values_in(asked["relations"])[1] == {"(cat_1, cat_2)": "beside"}
    assert "relations" not in questions(read_case(tmp_path, relations={}), (512, 512))


def test_published_rows_stand_beside_their_own_split_alone(tmp_path):
    rows = BENCHMARKS["overlap"].quoted
    assert {row.group for row in rows} == {"simple", "medium", "hard"}
    (gligen,) = [row for row in rows if row.label == "GLIGEN, hard"]
    assert gligen.values["judge_shared"] == pytest.approx(0.2385)
    assert gligen.values["fid"] == 57.32


def test_a_row_without_what_the_judge_is_asked_is_refused(tmp_path):
    file = tmp_path / "hard.jsonl"
    annotation = {name: value for name, value in ANNOTATION.items() if name != "relations"}
    file.write_text(json.dumps({"image_id": "1", "annotation": annotation}) + "\n")
    with pytest.raises(PlanError, match="relations"):
        BENCHMARKS["overlap"].read(file)
