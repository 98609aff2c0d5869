"""IFG (IFAdapter, arXiv 2409.08240): is every instance in its box with its features."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....layout import Layout, LayoutError, formats
from ....models.vision.interfaces import Detection
from ....shapes_world import Sample
from ...benchmark import PlanError
from ...harness.cases import Case, CaseList
from ...harness.distances import FID
from ...harness.measuring import Item, Measure, Stage
from ...harness.results import AVERAGE_PRECISION, Column, Quoted, Scored
from ...harness.run_folder import Found
from ...rules import ifg as rule
from ...scorers.models import Models
from .caption_stages import BOX_THRESHOLD, TEXT_THRESHOLD, boxes_stage, similarity_stage
from .detecting import pixels, with_scores
from .world_data import samples, write_layouts

logger = logging.getLogger("instance_composer")

name, title, main = "ifg", "IFG", "ifs"
DATA = "a folder of layouts, such as `instance-composer annotate` makes of COCO 2014 val"
PICTURES = 1000
_ORDER_SEED = 0
_MOST_DETECTIONS = 100
columns = (
    Column("ifs", "IFS rate", percent=True),
    Column("located", "located", percent=True),
    Column(AVERAGE_PRECISION, "AP", percent=True),
    Column("clip", "CLIP score", in_world="shapes there"),
)
_TABLE = "IFAdapter's Table 1, QwenVL"
quoted = tuple(
    Quoted(label, {"ifs": ifs / 100, AVERAGE_PRECISION: ap / 100, **more}, _TABLE)
    for label, ifs, ap, more in (
        ("real pictures", 92.8, 75.3, {}),
        ("InstanceDiffusion", 69.6, 43.1, {"clip": 23.3, FID: 26.8}),
        ("GLIGEN", 44.8, 18.4, {"clip": 23.5, FID: 29.7}),
        ("MIGC", 62.8, 32.5, {"clip": 22.9, FID: 26.0}),
        ("MultiDiffusion", 58.1, 36.9, {"clip": 22.8, FID: 28.3}),
        ("DenseDiffusion", 38.7, 22.2, {"clip": 20.1, FID: 29.9}),
        ("IFAdapter", 79.7, 49.0, {"clip": 25.1, FID: 22.0}),
    )
)
notes = (
    "The paper's list of pictures was never released: published rows are of other pictures, and compare by "
    "their order at most. Measure real pictures too (`--pictures real=FOLDER`); they tell how far judge and "
    "annotation go. The rules are our reading of the paper's text; thresholds of the detector "
    f"{BOX_THRESHOLD:g} and {TEXT_THRESHOLD:g}. CLIP's end of a caption that is longer than it reads is left "
    f"out. Asked was: {rule.QUESTION}",
)


def read(data: Path, limit: int | None = None) -> CaseList:
    """Layouts of a folder, in an order drawn once from their names; `PlanError` where there are none."""
    layouts = read_layouts(data)
    names = sorted(layouts)
    order = np.random.default_rng(_ORDER_SEED).permutation(len(names)).tolist()
    chosen = [names[index] for index in order[: limit or PICTURES]]
    cases = [Case(one, f"{one}.png", layouts[one], number, one) for number, one in enumerate(chosen)]
    return CaseList(name, f"{len(cases)} of {len(names)} layouts of {data.name}", tuple(cases))


def read_layouts(data: Path) -> dict[str, Layout]:
    """The layouts of a folder and of those in it that place something, by the way to each without ending.

    What a reader assumed or left out is told in the log. `PlanError` names what is no layout.
    """
    if not data.is_dir():
        raise PlanError(f"there is no folder {data}; a folder of layouts is needed")
    found: dict[str, Layout] = {}
    for file in sorted(data.rglob("*.json")):
        way = file.relative_to(data)
        if any(part.startswith(".") for part in way.parts):
            continue
        try:
            reading = formats.read_file(file)
            layout = reading.layout.checked()
        except LayoutError as error:
            raise PlanError(f"{file} is no layout: {error}; take it out of the folder") from error
        for warning in reading.warnings:
            logger.warning("%s: %s", way.as_posix(), warning)
        if layout.active:
            found[way.with_suffix("").as_posix()] = layout
    if not found:
        raise PlanError(f"no layout in {data} places anything; `instance-composer annotate` makes them")
    return found


def write_tiny(folder: Path, number: int) -> tuple[Path, dict[str, Sample]]:
    """Scenes with their layouts, as annotation leaves them; the folder, and samples by case."""
    data = folder / "annotated"
    return data, write_layouts(data, samples(number, (2, 3, 4, 5)))


def stages(models: Models, shared: Mapping[str, Any]) -> Sequence[Stage]:
    """Boxes of every phrase, answers about what is located, similarity to the caption."""

    def load_answers() -> Measure:
        judge = models.judge()

        def answers(items: Sequence[Item]) -> list[Any]:
            located = [_located(item.case, item.found) for item in items]
            tasks = [
                (number, index, one.detection)
                for number, own in enumerate(located)
                for index, one in enumerate(own)
                if one.detection is not None
            ]
            crops: list[Any] = []
            questions: list[str] = []
            for number, index, detection in tasks:
                item = items[number]
                box = _seen(item.found)[detection].box
                crops.append(item.picture.crop(_whole_pixels(box, item.picture.size)))
                questions.append(rule.QUESTION.format(phrase=item.case.layout.active[index].caption))
            said: list[list[str | None]] = [[None] * len(own) for own in located]
            for (number, index, _), answer in zip(tasks, judge.answer(crops, questions), strict=True):
                said[number][index] = answer
            return said

        return answers

    return (
        boxes_stage(models, _kept),
        Stage("answers", load_answers, _any_located),
        similarity_stage(models),
    )


def _kept(item: Item, found: Mapping[str, Sequence[Detection]]) -> dict[str, Any]:
    size = item.picture.size
    phrases = {phrase: with_scores(own, *size)[:_MOST_DETECTIONS] for phrase, own in found.items()}
    return {"size": list(size), "phrases": phrases}


def _any_located(case: Case, found: Found) -> bool:
    return any(one.detection is not None for one in _located(case, found))


def scored(case: Case, found: Found) -> Scored:
    """The parts of a picture."""
    located = _located(case, found)
    answers = found.get("answers") or [None] * len(located)
    right = sum(answer is not None and rule.is_yes(answer) for answer in answers)
    number = float(len(located))
    parts = {
        "ifs": (float(right), number),
        "located": (float(sum(one.detection is not None for one in located)), number),
    }
    if "clip" in found:
        parts["clip"] = (100 * found["clip"], 1.0)
    return Scored(parts, rule.queries(_targets(case, found), _seen(found)))


def official_files(rows: Sequence[tuple[Case, Found]]) -> Mapping[str, Any]:
    """None: there is no official scorer."""
    return {}


def _located(case: Case, found: Found) -> list[rule.Located]:
    return rule.locate(_targets(case, found), _seen(found)) if "boxes" in found else []


def _targets(case: Case, found: Found) -> list[rule.Target]:
    size = found["boxes"]["size"]
    return [rule.Target(one.caption, pixels(one.bounds, *size)) for one in case.layout.active]


def _seen(found: Found) -> list[rule.Seen]:
    return [
        rule.Seen(phrase, one[:4], one[4]) for phrase, own in found["boxes"]["phrases"].items() for one in own
    ]


def _whole_pixels(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixels that a box touches, at least one."""
    x0, y0 = (min(max(0, int(box[n])), size[n] - 1) for n in (0, 1))
    x1, y1 = (min(size[n - 2], max(low + 1, int(np.ceil(box[n])))) for n, low in ((2, x0), (3, y0)))
    return x0, y0, x1, y1
