"""Binding: what a picture shows of its prompt wherever things are, plans with strengths, and the report."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from instance_composer.cli import main
from instance_composer.cli.evaluate.binding import _LAYERS
from instance_composer.evaluation.benchmark import PlanError, Point, check_methods
from instance_composer.evaluation.benchmarks.binding.plan import (
    BindingPlan,
    Guidance,
    Lora,
    Sweep,
    entity_words,
    make_sweeps,
    point_at,
)
from instance_composer.evaluation.benchmarks.binding.report import write_report
from instance_composer.evaluation.benchmarks.placement.plan import PlacementPlan
from instance_composer.evaluation.harness.run_folder import Shard
from instance_composer.evaluation.records import SCORES, Evaluation
from instance_composer.evaluation.scenes import Scenes
from instance_composer.evaluation.scorers.binding import assign, bindings, score
from instance_composer.evaluation.statistics import (
    binding_rate,
    extra_things,
    missing_rate,
    present_rate,
)
from instance_composer.generation.binding_methods import BASELINES, METHODS, WITH_BOXES, WITH_LORA
from instance_composer.generation.methods import NOT_SAMPLED
from instance_composer.layout import Box
from instance_composer.shapes_world import Look, parse
from instance_composer.shapes_world.judge import UNKNOWN, Reading

PLAN = BindingPlan(tuple(METHODS))
SCENES = PLAN.scenes
SWEEP = Sweep("local", (1.0, 1.0), (0.0, 1.0, 2.0))
ONCE = np.ones((1, 1))
CIRCLE, SQUARE = Look("circle", "red", "striped"), Look("square", "blue", "plain")


def reading(shape, color, pattern):
    return Reading(Box(0, 0, 1, 1), shape, color, pattern, 0.9, np.ones((1, 1), dtype=bool))


def shares(readings, things):
    """Bound, missing and swapped of one picture."""
    scores = [{"bindings": bindings(readings, things)}]
    rates = binding_rate(scores, ONCE), missing_rate(scores, ONCE), present_rate(scores, ONCE, "swapped")
    return tuple(float(rate[0]) for rate in rates)


def test_what_is_there_is_found_in_any_order():
    assert shares([reading(*SQUARE), reading(*CIRCLE)], [CIRCLE, SQUARE]) == (1, 0, 0)


def test_exchanged_attributes_are_swaps_of_both_and_no_exchange_of_shapes():
    # By the number of equal words alone the blue circle would stand for the blue square.
    exchanged = [reading("circle", "blue", "plain"), reading("square", "red", "striped")]
    assert [one.shape for one in assign(exchanged, [CIRCLE, SQUARE])] == ["circle", "square"]
    assert shares(exchanged, [CIRCLE, SQUARE]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("seen", "swapped"),
    [
        (("circle", "blue", "striped"), True),  # the square's colour
        (("circle", "green", "striped"), False),  # nobody's
        (("circle", "red", "plain"), False),  # its own pattern is lost, but plain is no word of the prompt
        (("circle", "red", "dotted"), False),
        (("circle", UNKNOWN, UNKNOWN), False),
    ],
)
def test_a_swap_is_an_attribute_that_the_prompt_gives_to_another_thing(seen, swapped):
    found = bindings([reading(*seen), reading(*SQUARE)], [CIRCLE, SQUARE])
    assert found[0]["present"]
    assert found[0]["swapped"] == swapped
    assert found[1] == {"present": True, "color": True, "pattern": True, "swapped": False}


def test_a_pattern_that_leaks_is_a_swap():
    (_, square) = bindings([reading(*CIRCLE), reading("square", "blue", "striped")], [CIRCLE, SQUARE])
    assert square == {"present": True, "color": True, "pattern": False, "swapped": True}


def test_a_thing_is_missing_without_its_shape_whatever_else_is_there():
    assert shares([], [CIRCLE, SQUARE])[:2] == (0, 1)
    assert shares([reading(*CIRCLE)], [CIRCLE, SQUARE]) == (1 / 2, 1 / 2, 0)
    assert shares([reading(*CIRCLE), reading(UNKNOWN, "blue", "plain")], [CIRCLE, SQUARE]) == (
        1 / 2,
        1 / 2,
        0,
    )
    # One thing serves one: two circles need two.
    other = Look("circle", "green", "plain")
    assert shares([reading(*CIRCLE)], [other, CIRCLE]) == (1 / 2, 1 / 2, 0)


def test_things_of_one_shape_get_what_is_wholly_right_before_what_shares_more_words():
    other = Look("circle", "red", "dotted")
    seen = [reading("circle", "red", "plain"), reading(*CIRCLE)]
    for things in ([CIRCLE, other], [other, CIRCLE]):
        assigned = dict(zip(things, assign(seen, things), strict=True))
        assert assigned[CIRCLE] is seen[1]
        assert assigned[other] is seen[0]


def test_the_assignment_does_not_depend_on_the_order_of_readings():
    random = np.random.default_rng(2)
    for _ in range(50):
        looks = [
            Look(
                *(
                    str(random.choice(words))
                    for words in (("circle", "star"), ("red", "blue"), ("plain", "striped"))
                )
            )
            for _ in range(7)
        ]
        things, seen = list(dict.fromkeys(looks[:3])), [reading(*look) for look in looks[3:]]
        assert shares(seen, things)[:2] == shares(seen[::-1], things)[:2]


def test_a_real_picture_binds_everything_and_an_empty_one_nothing():
    for number in range(3):
        sample = SCENES.sample(number)
        scored = score(sample.image, sample.layout)
        assert binding_rate([scored], ONCE) == 1
        assert extra_things([scored], ONCE) == 0
        assert all(one["overlap"] > 0.9 for one in scored["instances"])
    empty = score(np.full((128, 128, 3), 204, dtype=np.uint8), sample.layout)
    assert missing_rate([empty], ONCE) == 1
    assert np.isnan(present_rate([empty], ONCE, "color"))


def test_a_first_picture_says_where_its_things_are_and_not_what_they_look_like():
    point = Point("local-found", (("strength", 2.0),))
    assert PLAN.first(point) == Point("plain")
    assert [name for name in METHODS if PLAN.first(Point(name))] == ["local-found"]
    for number in range(6):
        sample, job = SCENES.sample(number), PLAN.job(point, number)
        captions = [one.caption for one in job.layout.instances]
        # In other colours it is in the same places.
        for picture in (sample.image, sample.image[..., ::-1].copy()):
            seen = PLAN.after(job, picture)
            assert replace(seen, layout=job.layout) == job
            assert [one.caption for one in seen.layout.instances] == captions
            for one, true in zip(seen.layout.instances, sample.masks, strict=True):
                mask = np.frombuffer(one.mask.raster(128, 128), np.uint8).reshape(128, 128) > 0
                assert (mask & true).sum() / (mask | true).sum() > 0.9
        gone = np.where(sample.masks[0, ..., None], sample.image[0, 0], sample.image)
        assert captions[0] not in [one.caption for one in PLAN.after(job, gone).layout.instances]
    assert PLAN.after(job, np.full((128, 128, 3), 204, dtype=np.uint8)).layout.instances == ()


def test_more_than_the_prompt_names_is_extra():
    sample = SCENES.sample(1)
    prompt = f"{sample.layout.instances[0].caption} on {sample.scene.background}"
    fewer = type(sample.layout)(sample.layout.instances[:1], sample.layout.canvas, prompt)
    scored = score(sample.image, fewer)
    assert scored["extra"] == 2
    assert binding_rate([scored], ONCE) == 1


def test_entities_are_the_words_of_the_grammar():
    for number in range(60):
        prompt = SCENES.sample(number).layout.prompt
        found = [[prompt[start:end] for start, end in words] for words in entity_words(prompt)]
        phrases, _ = parse(prompt)
        assert found == [
            [
                word
                for word in (size, look.color, "" if look.pattern == "plain" else look.pattern, look.shape)
                if word
            ]
            for look, size in phrases
        ]


def test_a_job_says_what_guides():
    job = PLAN.job(point_at(PLAN.guidance, "local", 2, (1, 0)), 2)
    assert job.method == "local"
    assert job.options["concentration"] == {
        "strength": 2,
        "token_weight": 1,
        "pixel_weight": 0,
        "start": 0,
        "end": 1,
        "layers": "middle and decoder",
    }
    assert len(job.options["entities"]) == len(job.layout.instances) == 4
    sent = json.loads(json.dumps(job.to_dict()))["options"]
    assert sent["entities"][0][0] == list(job.options["entities"][0][0])
    own = PLAN.job(Point("latent-boxes"), 2).options["concentration"]
    assert own["strength"] == PLAN.guidance.strength


def test_several_loras_share_an_evaluation_by_name_content_and_strength(tmp_path):
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for file in files:
        file.write_bytes(file.name.encode())
    first, second = Lora("whole", files[0], 0.5), Lora("without", files[1])
    plan = replace(PLAN, methods=("plain", "lora"), sweeps=(), loras=(first, second))
    plain, whole, without = plan.points()
    assert plain == Point("plain")
    assert plan.job(whole, 0).options["lora"] == {"file": str(files[0]), "strength": 0.5}
    assert plan.job(without, 0).options["lora"] == {"file": str(files[1]), "strength": 1.0}
    assert "lora" not in plan.job(plain, 0).options
    with pytest.raises(PlanError, match="lora draws with a LoRA, and none is given"):
        PLAN.job(Point("lora"), 0)
    plan = replace(plan, count=1)
    evaluation = Evaluation(tmp_path / "run", plan)
    for point in plan.points():
        evaluation.run.open_findings(point.name, SCORES, Shard()).add({"00000": {}})
    evaluation.collect()
    # What was drawn stays true with other LoRAs and without; other contents or strengths are other pictures.
    again = Evaluation(tmp_path / "run", plan)
    assert again.missing() == []
    assert Evaluation(tmp_path / "run", replace(plan, count=1, loras=(second,))).missing() == []
    files[1].write_bytes(b"changed")
    changed = replace(plan, count=1, loras=(Lora("whole", files[0], 1.0), Lora("without", files[1])))
    assert [point.method for point, _ in Evaluation(tmp_path / "run", changed).missing()] == ["lora", "lora"]
    folders = {evaluation.picture(point, 0).parent.name for point in (*plan.points(), *changed.points())}
    assert len(folders) == 5


def test_pictures_that_would_be_the_same_are_made_once():
    guidance = Guidance(strength=2, pixel_weight=0.5)
    assert point_at(guidance, "local", 2, (1, 0.5)) == Point("local")
    assert point_at(guidance, "local", 0, (1, 0.5)) == Point("plain")
    assert point_at(guidance, "local", 3, (0, 0)) == Point("plain")
    assert point_at(guidance, "ifadapter+local", 0, (1, 1)) == Point("ifadapter")
    assert point_at(guidance, "lora+local", 0, (1, 1)) == Point("lora")
    assert point_at(guidance, "attend-and-excite", 2, (0, 0)) == Point("attend-and-excite")
    settings = [(strength, (1, pixel)) for strength in (0.5, 1, 4) for pixel in (0, 1)]
    points = [point_at(guidance, "local", *one) for one in settings]
    assert len({point.name for point in points}) == 6
    for point, (strength, weights) in zip(points, settings, strict=True):
        assert list(dict(point.settings).values()) == [strength, *weights]
    plan = BindingPlan(("plain", "local"), sweeps=(SWEEP, replace(SWEEP, strengths=(1.0, 3.0))))
    assert [point.name for point in plan.points()] == ["plain", "local", "local@2,1,1", "local@3,1,1"]


def test_sweeps_are_of_guided_methods():
    swept = make_sweeps(["local", "attend-and-excite"], [2, 0.5, 2], [(1, 0), (0, 1)])
    assert [(one.method, one.weights) for one in swept] == [
        ("local", (1, 0)),
        ("local", (0, 1)),
        ("attend-and-excite", (1, 1)),
    ]
    assert swept[0].strengths == (0.5, 2)
    with pytest.raises(PlanError, match="ifadapter has no strength to vary; choose from local, latent"):
        make_sweeps(["ifadapter"], [1], [(1, 1)])


def test_methods_are_known_and_in_the_order_of_the_tables():
    assert check_methods(reversed(METHODS), METHODS) == tuple(METHODS)
    assert set(WITH_BOXES) | set(BASELINES) | {*NOT_SAMPLED, "plain", "lora"} == set(METHODS)
    assert {name for name in METHODS if "lora" in name} == set(WITH_LORA)
    assert PLAN.guidance.layers == _LAYERS[0]
    with pytest.raises(PlanError, match="no method area; choose from real, reconstructed, plain, local"):
        check_methods(["area"], METHODS)


def thing(bound=True, present=True, swapped=False):
    return {"present": present, "color": bound, "pattern": present, "swapped": swapped}


@pytest.fixture
def evaluation(tmp_path):
    """Records by hand: of every four things the plain method binds one, local two, what has boxes three."""
    loras = tuple(Lora(name, tmp_path / name) for name in ("first", "second"))
    for lora in loras:
        lora.file.write_bytes(lora.name.encode())
    evaluation = Evaluation(tmp_path / "run", replace(PLAN, sweeps=(SWEEP,), loras=loras))
    random = np.random.default_rng(1)
    for point in evaluation.plan.points():
        method = point.method
        bound = 4 if method in NOT_SAMPLED else 3 if method in WITH_BOXES else 1 + (method != "plain")
        for number in range(8):
            evaluation.records[point, number] = {
                "method": method,
                "number": number,
                "things": 4,
                "seconds": None if method in NOT_SAMPLED else {"cpu": 2.0 + (method == "latent")},
                "bindings": [thing(n < bound, n < 3 or bound == 4, n >= bound and n == 2) for n in range(4)],
                "extra": number % 2,
                "instances": [{"overlap": 0.9, "shape": True, "color": True, "pattern": True}],
                "detections": [],
                "features": random.normal(size=4).tolist(),
            }
    return evaluation


def reference(count):
    return np.random.default_rng(2).normal(size=(count, 4))


def test_the_report_holds_both_groups_differences_and_the_sweep(evaluation, tmp_path):
    target = tmp_path / "out" / "binding.md"
    assert write_report(evaluation, reference, target) == 8
    text = target.read_text()
    without, boxes = text.split("With boxes:")
    assert "8 prompts of held-out looks, 2 to 4 things each, 32 in all" in text
    assert "one picture a prompt" in text
    assert "| no guidance | 25.0 [25.0, 25.0] | 25.0 [25.0, 25.0] | 33.3 [33.3, 33.3] |" in without
    assert "| local, own maps | 50.0 [50.0, 50.0] |" in without
    assert "located" not in without
    assert (
        "| method | binding accuracy | missing | swapped | colour right | pattern right | located |" in boxes
    )
    assert "| no guidance | 25.0" in boxes
    assert "| local, own maps | 50.0 [50.0, 50.0] | 25" not in boxes.split("By strength")[0]
    assert "| latent, own maps | no guidance | 25.0 [25.0, 25.0] | 1.50 |" in boxes
    assert "| LoRA (first) | no guidance | 25.0 [25.0, 25.0] | 1.00 |" in boxes
    assert "| LoRA, local, own maps (first) | local, own maps | 0.0 [0.0, 0.0] | 1.00 |" in boxes
    assert "| LoRA, local, own maps (second) | LoRA (second) | 0.0 [0.0, 0.0] | 1.00 |" in boxes
    assert "| LoRA (second) | LoRA (first) | 0.0 [0.0, 0.0] | 1.00 |" in boxes
    assert "| local, boxes | no guidance | 50.0 [50.0, 50.0] | 1.00 |" in boxes
    assert "| local, own maps, 1 : 1 | 0 | 25.0 [25.0, 25.0] |" in boxes
    assert "| local, own maps, 1 : 1 | 2 | 50.0 [50.0, 50.0] |" in boxes
    for plot in ("binding.svg", "binding-strength.svg"):
        assert plot in text
        assert (target.parent / plot).read_text().startswith("<?xml")


def test_a_report_counts_what_every_method_has_and_tells_what_is_missing(evaluation, tmp_path):
    del evaluation.records[Point("plain"), 3]
    target = tmp_path / "binding.md"
    evaluation.plan = BindingPlan(("plain", "local"))
    assert write_report(evaluation, reference, target) == 7
    assert "With boxes" not in target.read_text()
    assert "By strength" not in target.read_text()
    evaluation.plan = replace(evaluation.plan, sweeps=(Sweep("local", (1.0, 0.0), (0.0, 2.0)),))
    with pytest.raises(ValueError, match="0 layouts have been run with all of plain, local@2,1,0; 3 are"):
        write_report(evaluation, reference, target)


def test_an_evaluation_of_placement_is_not_gone_on_with(tmp_path):
    Evaluation(tmp_path, PlacementPlan(scenes=Scenes((2, 3, 4))))
    with pytest.raises(PlanError, match="holds another evaluation: strength was None and is now 1"):
        Evaluation(tmp_path, BindingPlan())


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--methods", "mask"], "no method mask"),
        (["--strengths", "1,often"], "--strengths: a number from 0 to 20 is needed"),
        (
            ["--strengths", "1", "--weights", "1"],
            '--weights: token and pixel weight are needed, such as "1:0"',
        ),
        (["--weights", "1:0"], "--strengths"),
        (["--strengths", "1", "--sweep", "plain"], "plain has no strength to vary"),
        (["--methods", "plain,lora"], "--lora: name the LoRA file that lora draw with"),
        (
            ["--methods", "plain", "--lora", "{}/a.lora"],
            "add lora or lora+local",
        ),
        (["--methods", "lora", "--lora", "{}/none"], "--lora: there is no file"),
        (["--methods", "lora", "--lora", "a/b={}/a.lora"], '"a/b" is no name'),
        (
            ["--methods", "lora", "--lora", "{}/a.lora", "--lora", "a={}/a.lora"],
            "two are called a; give each a name",
        ),
        (["--start", "0.5", "--end", "0.5"], "--start 0.5 must come before --end 0.5"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_made(words, complaint, tmp_path, capsys):
    words = [word.format(tmp_path) for word in words]
    (tmp_path / "a.lora").write_bytes(b"")
    assert main(["evaluate", "binding", str(tmp_path / "run"), *words]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
