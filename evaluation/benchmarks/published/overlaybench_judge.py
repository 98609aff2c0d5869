"""OverLayBench's measures by a vision-language model and CLIP: what is asked, and what counts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ....models.vision.interfaces import QuestionAnswerer
from ...harness.cases import Case
from ...harness.measuring import Item, Measure, Stage
from ...harness.results import Column, Quoted
from ...harness.run_folder import Found
from ...rules import overlaybench as rule
from ...scorers.models import Models
from .detecting import pixels
from .overlaybench import CATEGORIES, NAMES, PAIRS, RELATIONS

# A crowded picture is answered with a line for each thing; the authors allow the same.
ANSWER_TOKENS = 1024
# In our own words: with the authors' wording numbers are near and not equal.
BOXES = (
    "This picture is {width} pixels wide and {height} pixels high. Find every thing of these kinds in it: "
    "{kinds}. Answer with JSON alone: under each kind a list of boxes [left, top, right, bottom] in "
    "pixels, one box for each single thing and none for a group."
)
THINGS = (
    "This picture was to show these things, each in its box [left, top, right, bottom] in pixels: "
    "{things}. For each of them: is it there, whole, and with the looks that are described? Answer with "
    'JSON alone: each name with "Yes" or "No".'
)
BETWEEN = (
    "This picture was to show these things in these boxes [left, top, right, bottom] in pixels: {boxes}. "
    "Between pairs of them this was to be seen: {relations}. For each pair: does the picture show it, with "
    "both things whole and not grown together? Where only nearness is asked for, being near is enough; "
    "what is in front of or behind must be seen, since boxes do not tell it. Answer with JSON alone: each "
    'pair, written as here, with "Yes" or "No".'
)
columns = (
    Column("judge_miou", "mIoU, judge", percent=True),
    Column("judge_shared", "O-mIoU, judge", percent=True),
    Column("entities", "SR_E", percent=True),
    Column("relations", "SR_R", percent=True),
    Column("clip_local", "local CLIP score", in_world="shapes in boxes"),
)
notes = (
    "OverLayBench's own measures, on its rows and where a judge is named (--vlm): mIoU and O-mIoU of boxes "
    "that the judge finds by category, averaged over pictures; SR_E and SR_R, the shares of things and of "
    "relations that it says yes to; the CLIP score of boxes with their descriptions. The authors' judge is "
    "Qwen2.5-VL-32B-Instruct, which says boxes in pixels; one that counts to 1000 instead (Qwen2-VL, "
    f"Qwen3-VL) is no judge of boxes. Questions are in our words. Asked was: {BOXES} {THINGS} {BETWEEN}",
)
_TABLE = "OverLayBench's leaderboard"
_MEASURES = ("judge_miou", "judge_shared", "entities", "relations", "clip", "clip_local", "fid")
_SHARES = 4
# Those of the leaderboard whose kind is drawn here, and the best of its others; simple, medium, hard in turn.
_ROWS: dict[str, tuple[tuple[float, ...], ...]] = {
    "BoxDiff": (
        (24.48, 7.71, 42.03, 69.94, 36.78, 21.33, 34.65),
        (19.40, 5.33, 37.58, 71.81, 36.50, 19.97, 55.41),
        (20.02, 5.21, 33.52, 76.41, 36.92, 19.91, 59.70),
    ),
    "Regional Prompting (FLUX)": (
        (42.54, 20.10, 73.49, 75.81, 35.45, 27.40, 23.94),
        (32.72, 12.29, 63.74, 67.08, 34.46, 25.82, 43.13),
        (28.35, 9.05, 53.56, 60.37, 33.34, 25.29, 49.41),
    ),
    "GLIGEN": (
        (60.54, 36.22, 49.99, 78.72, 34.17, 24.75, 31.27),
        (52.46, 26.53, 44.88, 77.46, 33.93, 23.42, 52.22),
        (50.79, 23.85, 41.70, 79.93, 33.92, 22.75, 57.32),
    ),
    "MIGC": (
        (58.64, 32.15, 63.41, 81.60, 33.07, 26.49, 31.64),
        (47.42, 20.06, 56.67, 77.85, 32.72, 24.99, 54.24),
        (40.04, 13.26, 47.80, 74.48, 31.93, 24.20, 66.52),
    ),
    "InstanceDiffusion": (
        (71.21, 49.99, 77.71, 87.49, 34.25, 27.69, 36.17),
        (60.08, 34.15, 72.51, 83.36, 33.09, 26.19, 59.73),
        (53.68, 25.63, 66.02, 80.34, 32.33, 25.53, 66.32),
    ),
    "EliGen": (
        (68.17, 43.72, 86.50, 89.67, 36.65, 28.29, 28.87),
        (58.56, 32.62, 80.85, 84.42, 36.27, 27.05, 45.65),
        (52.53, 26.19, 74.03, 84.09, 36.18, 25.92, 50.41),
    ),
    "CreatiLayout (FLUX)": (
        (71.17, 49.80, 84.35, 90.87, 37.40, 20.18, 23.79),
        (59.72, 35.51, 77.20, 86.39, 36.73, 26.21, 41.51),
        (54.50, 28.97, 69.72, 86.45, 36.72, 24.85, 45.66),
    ),
}


def _quoted(values: Sequence[float]) -> dict[str, float]:
    shares = [value / 100 for value in values[:_SHARES]]
    return dict(zip(_MEASURES, [*shares, *values[_SHARES:]], strict=True))


quoted = tuple(
    Quoted(f"{label}, {split}", _quoted(rows[place]), _TABLE, split)
    for place, split in enumerate(("simple", "medium", "hard"))
    for label, rows in _ROWS.items()
)


def is_row(case: Case) -> bool:
    """Whether a case is a row of OverLayBench, which has what the judge is asked about."""
    return CATEGORIES in case.facts


def stages(models: Models) -> Sequence[Stage]:
    """What the judge says, as it says it, and the likeness of boxes to their descriptions."""

    def load_judge() -> Measure:
        judge = models.judge(ANSWER_TOKENS)
        return lambda items: _answers(items, judge)

    def load_likeness() -> Measure:
        similarity = models.similarity(cut=True)

        def likeness(items: Sequence[Item]) -> list[list[float]]:
            crops = [
                item.picture.crop(_visible(pixels(one.bounds, *item.picture.size), item.picture.size))
                for item in items
                for one in item.case.layout.instances
            ]
            texts = [one.caption for item in items for one in item.case.layout.instances]
            values = iter(similarity.similarities(crops, texts))
            return [[round(next(values), 6) for _ in item.case.layout.instances] for item in items]

        return likeness

    return (
        Stage("judge", load_judge, lambda case, found: is_row(case), "vlm"),
        Stage("clip_local", load_likeness, lambda case, found: is_row(case)),
    )


def questions(case: Case, size: tuple[int, int]) -> dict[str, str]:
    """What is asked about a picture of this size, by kind; relations only where there are some."""
    names: list[str] = case.facts[NAMES]
    places = [list(map(round, pixels(one.bounds, *size))) for one in case.layout.instances]
    described = {
        name: {"box": box, "description": one.caption}
        for name, box, one in zip(names, places, case.layout.instances, strict=True)
    }
    relations: Mapping[str, str] = case.facts[RELATIONS]
    kinds = sorted(set(case.facts[CATEGORIES]))
    asked = {
        "boxes": BOXES.format(width=size[0], height=size[1], kinds=_json(kinds)),
        "entities": THINGS.format(things=_json(described)),
    }
    if relations:
        boxes = dict(zip(names, places, strict=True))
        asked["relations"] = BETWEEN.format(boxes=_json(boxes), relations=_json(relations))
    return asked


def parts(case: Case, found: Found) -> dict[str, tuple[float, float]]:
    """The parts of a picture, of what has been measured of it."""
    measured: dict[str, tuple[float, float]] = {}
    if "judge" in found:
        measured |= _judged(case, found["judge"])
    if "clip_local" in found:
        measured["clip_local"] = (100 * sum(found["clip_local"]), float(len(found["clip_local"])))
    return measured


def _judged(case: Case, said: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    answers = {kind: rule.read_answer(text) for kind, text in said["answers"].items()}
    targets = [pixels(one.bounds, rule.SIDE, rule.SIDE) for one in case.layout.instances]
    seen = rule.read_boxes(answers["boxes"], said["size"])
    found = rule.matched(targets, case.facts[CATEGORIES], seen)
    there = rule.confirmed(answers["entities"], case.facts[NAMES])
    between = rule.confirmed(answers.get("relations", {}), case.facts[RELATIONS])
    measured = {
        # Means over pictures, as the authors take them.
        "judge_miou": _mean(rule.overlaps(targets, found)),
        "judge_shared": _mean(rule.shared_overlaps(targets, found, case.facts[PAIRS])),
        "entities": (float(sum(there)), float(len(there))),
        "relations": (float(sum(between)), float(len(between))),
    }
    return {name: part for name, part in measured.items() if part[1]}


def _mean(values: Sequence[float]) -> tuple[float, float]:
    return (sum(values) / len(values), 1.0) if values else (0.0, 0.0)


def _answers(items: Sequence[Item], judge: QuestionAnswerer) -> list[dict[str, Any]]:
    asked = [questions(item.case, item.picture.size) for item in items]
    pictures = [item.picture for item, own in zip(items, asked, strict=True) for _ in own]
    said = iter(judge.answer(pictures, [text for own in asked for text in own.values()]))
    return [
        {"size": list(item.picture.size), "answers": {kind: next(said) for kind in own}}
        for item, own in zip(items, asked, strict=True)
    ]


def _visible(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Whole pixels of a box, at least one in the picture."""
    x0, y0 = (min(max(0, int(box[n])), size[n] - 1) for n in (0, 1))
    return x0, y0, max(x0 + 1, int(box[2])), max(y0 + 1, int(box[3]))


def _json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False)
