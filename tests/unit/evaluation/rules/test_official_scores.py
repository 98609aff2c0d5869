"""Rules of the published benchmarks against what the official scorers said of the same findings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden_files import BENCH_DATA, GOLDEN, HOW_TO_GET_GOLDEN, REFERENCES, TRIMMED, read_facts

from instance_composer.evaluation.rules import (
    attribute_binding,
    coco_mig,
    ifg,
    layoutsam,
    numeracy,
    prompt_objects,
    spatial,
    three_in_one,
)
from instance_composer.evaluation.rules.prompt_objects import RELATIONS_2D, RELATIONS_3D, Objects
from instance_composer.evaluation.rules.spatial import Found
from instance_composer.evaluation.statistics import average_precision
from instance_composer.models.entities.pipelines import parse_sentences

# Confidences come out of the official scorers in float32.
FLOAT32 = 3e-7


@pytest.fixture(params=REFERENCES)
def golden(request) -> Path:
    return request.param / "benchmarks"


def nouns(golden: Path) -> numeracy.Nouns:
    folder = golden if golden.is_relative_to(TRIMMED) else BENCH_DATA / "t2i_compbench"
    return numeracy.Nouns.read((folder / "new_objects.txt").read_text(encoding="utf-8"))


def found(case: dict) -> list[Found]:
    return [Found(*one) for one in zip(case["labels"], case["boxes"], case["scores"], strict=True)]


def depth(grid: list[list[int]]) -> np.ndarray:
    return np.kron(np.array(grid), np.ones((40, 40))).astype(np.float32) / 255


def test_questions_and_binding_scores_are_those_of_blip_vqa(golden):
    facts = read_facts(golden / "t2i_blip_vqa.json")
    for category in facts["categories"].values():
        docs = parse_sentences([row["prompt"] for row in category["rows"]])
        scores = []
        for row, doc in zip(category["rows"], docs, strict=True):
            questions = attribute_binding.questions(doc)
            assert questions == row["questions"], row["prompt"]
            assert list(map(attribute_binding.as_asked, questions)) == row["questions_as_asked"]
            scores.append(attribute_binding.score([float(one) for one in row["p_yes"]]))
            assert attribute_binding.printed(scores[-1]) == row["score"], row["prompt"]
        assert np.mean(scores) == pytest.approx(category["average"], abs=1e-12)


def test_questions_are_cleaned_and_answers_weighed_as_by_blip_vqa(golden):
    facts = read_facts(golden / "t2i_blip_vqa.json")
    for case in facts["extra_question_text"]:
        assert attribute_binding.as_asked(case["question"]) == case["asked"]
    for case in facts["p_yes_from_logits"]:
        probability = attribute_binding.probability(case["logit_yes"], case["logit_no"])
        assert probability == pytest.approx(case["p_yes"], abs=FLOAT32)
        assert attribute_binding.printed(probability) == case["reported"]


@pytest.mark.parametrize("kind", ["simple", "complex", "three_d"])
def test_objects_and_relations_are_those_read_by_the_official_parser(golden, kind):
    cases = read_facts(golden / "t2i_spatial_parse.json")[kind]
    read = {
        "simple": prompt_objects.simple_objects,
        "complex": prompt_objects.complex_objects,
        "three_d": lambda doc: prompt_objects.simple_objects(doc, RELATIONS_3D),
    }[kind]
    docs = parse_sentences([case["prompt"] for case in cases])
    ours = [read(doc) for doc in docs]
    theirs = [Objects(case["obj1"], case["obj2"], case["relation"]) for case in cases]
    assert [(c["prompt"], a, b) for c, a, b in zip(cases, ours, theirs, strict=True) if a != b] == []


def test_relations_of_pairs_of_boxes_score_as_by_the_official_rules(golden):
    facts = read_facts(golden / "t2i_relations.json")
    for pair in facts["pairs_2d"]:
        first, second = (Found("", pair[name], 1.0) for name in ("box1", "box2"))
        for relation, score in pair["scores"].items():
            name = None if relation == "None" else relation
            assert spatial.relation_2d(name, first, second) == pytest.approx(score, abs=1e-6), relation
        assert len(numeracy.thinned([first, second])) == 2 - pair["numeracy_same"]
    for pair in facts["pairs_3d"]:
        first, second = (Found("", pair[name], 1.0) for name in ("box1", "box2"))
        for relation, score in pair["scores"].items():
            ours = spatial.relation_3d(relation, first, second, depth(pair["depth_grid_12"]))
            assert ours == pytest.approx(score, abs=1e-6), relation
    assert set(RELATIONS_2D) < set(facts["pairs_2d"][0]["scores"])


@pytest.mark.parametrize("kind", ["spatial_2d", "spatial_2d_complex", "spatial_3d", "numeracy"])
def test_detections_score_as_by_the_official_scorers(golden, kind):
    facts = read_facts(golden / "t2i_detection_scores.json")[kind]
    cases, known = facts["images"], nouns(golden)
    docs = parse_sentences([case["prompt"] for case in cases])
    for case, doc in zip(cases, docs, strict=True):
        seen = found(case)
        if kind == "spatial_2d":
            ours = spatial.score_2d(prompt_objects.simple_objects(doc), seen)
        elif kind == "spatial_2d_complex":
            ours = spatial.score_2d(prompt_objects.complex_objects(doc), seen)
        elif kind == "spatial_3d":
            objects = prompt_objects.simple_objects(doc, RELATIONS_3D)
            ours = spatial.score_3d(objects, seen, depth(case["depth_grid_12"]))
        else:
            ours = numeracy.score(numeracy.counted_things(case["prompt"], known), seen)
        assert ours == pytest.approx(case["score"], abs=FLOAT32), case["file"]


def test_three_in_one_weighs_what_a_prompt_has(golden):
    facts = read_facts(golden / "t2i_three_in_one.json")
    columns = (facts[name] for name in ("kind_of_prompt", "attribute", "spatial", "action", "total"))
    for kind, attribute, near, action, total in zip(*columns, strict=True):
        ours = three_in_one.score(kind, float(attribute), near, action)
        assert ours == pytest.approx(total, abs=FLOAT32)
    docs = parse_sentences([case["prompt"] for case in facts["clip_text_complex"]])
    assert [three_in_one.action_text(doc) for doc in docs] == [
        case["clip_text"] for case in facts["clip_text_complex"]
    ]


@pytest.mark.skipif(not BENCH_DATA.exists(), reason=HOW_TO_GET_GOLDEN)
def test_every_complex_prompt_is_of_the_official_kind():
    folder = BENCH_DATA / "t2i_compbench"

    def lines(name: str) -> list[str]:
        return [one.strip() for one in (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines()]

    spatial_, action = ({*map(three_in_one.key, lines(f"complex_val_{n}"))} for n in ("spatial", "action"))
    facts = read_facts(GOLDEN / "benchmarks" / "t2i_three_in_one.json")
    ours = [three_in_one.kind(prompt, spatial_, action) for prompt in lines("complex_val")]
    assert ours == facts["kind_of_prompt"]


def painted(image: dict) -> np.ndarray:
    height, width = image["size"]
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[:] = image["background"]
    for row0, row1, column0, column1, color in image["rects"]:
        picture[row0:row1, column0:column1] = color
    return picture


def best_mask(instance: dict) -> np.ndarray:
    mask = np.zeros((coco_mig.SIDE, coco_mig.SIDE), dtype=bool)
    for row0, row1, column0, column1 in instance["masks"][int(np.argmax(instance["mask_scores"]))]:
        mask[row0:row1, column0:column1] = True
    return mask


def test_places_and_colours_are_judged_as_by_mig(golden):
    facts = read_facts(golden / "mig.json")
    verdicts = []
    for image in facts["images"]:
        picture = coco_mig.fitted(painted(image["image"]))
        own = []
        for segment, one in zip(facts["layout"][image["key"]]["segment"], image["instances"], strict=True):
            color, name = coco_mig.split_label(segment["label"])
            assert (color, name) == (one["colour"], one["label"])
            box = [coco_mig.SIDE * value for value in segment["bbox"]]
            best = coco_mig.best_overlap(one["boxes"], one["scores"], box)
            ours = coco_mig.verdict(best, coco_mig.color_share(picture, best_mask(one), color))
            assert ours.located == bool(one["position_ok"]), image["file"]
            assert ours.success == bool(one["colour_ok"]), image["file"]
            assert ours.overlap == pytest.approx(one["miou"], abs=1e-6), image["file"]
            own.append(ours)
        verdicts.append(own)
    ours = coco_mig.metrics(verdicts)
    assert ours.keys() == facts["metrics"].keys()
    for name, value in facts["metrics"].items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name


def test_colours_are_opencvs(golden):
    facts = read_facts(golden / "mig.json")
    assert {name: [[list(end) for end in one] for one in own] for name, own in coco_mig.COLORS.items()} == (
        facts["ranges"]
    )
    for case in facts["colour_table"]:
        pixel = np.array([[case["rgb"]]], dtype=np.uint8)
        assert coco_mig.to_hsv(pixel)[0, 0].tolist() == case["hsv"], case
        whole = np.ones((1, 1), dtype=bool)
        accepting = {name for name in coco_mig.COLORS if coco_mig.color_share(pixel, whole, name)}
        assert accepting == set(case["colours"]), case


def test_crops_and_answers_count_as_in_layoutsam_eval(golden):
    for run in read_facts(golden / "layoutsam.json")["runs"]:
        records = []
        for image in run["images"]:
            for one in image["instances"]:
                box = layoutsam.fractions(one["bbox_pixels"], image["width"], image["height"])
                assert list(layoutsam.crop(box, run["resolution"])) == one["crop"]
            verdicts = [layoutsam.verdicts(one["answers"]) for one in image["instances"]]
            records.append(layoutsam.record(verdicts))
            assert records[-1] == image["record"]
        assert layoutsam.averages(records) == run["averages"]


def test_instances_succeed_and_rank_as_in_ifg(golden):
    facts = read_facts(golden / "ifg.json")
    queries, successes = [], dict.fromkeys(facts["ifs_rate_percent"], 0)
    for image in facts["images"]:
        targets = [ifg.Target(one["phrase"], one["box"]) for one in image["instances"]]
        seen = [ifg.Seen(one["phrase"], one["box"], one["score"]) for one in image["detections"]]
        located = ifg.locate(targets, seen)
        for ours, one in zip(located, image["instances"], strict=True):
            assert ours.best == pytest.approx(one["best_iou"], abs=1e-9)
            assert ours.detection == one["matched_detection"]
            for judge, answer in one["answers"].items():
                right = ours.detection is not None and ifg.is_yes(answer)
                assert right == bool(one["success"][judge])
                successes[judge] += right
        queries += ifg.queries(targets, seen)
    rates = {judge: 100 * n / facts["instances"] for judge, n in successes.items()}
    assert rates == pytest.approx(facts["ifs_rate_percent"])
    alone = np.ones((1, len(queries)))
    assert average_precision(queries, alone)[0] == pytest.approx(facts["ap_50_95"], abs=1e-9)
    assert average_precision(queries, alone, (0.5,))[0] == pytest.approx(facts["ap_50"], abs=1e-9)
    assert average_precision(queries, alone, (0.75,))[0] == pytest.approx(facts["ap_75"], abs=1e-9)
