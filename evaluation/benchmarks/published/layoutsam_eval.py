"""LayoutSAM-Eval (CreatiLayout, arXiv 2412.03859): a judge is asked about the crop of every region."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....layout import Box, Canvas, Instance, Layout
from ....models.vision.interfaces import QuestionAnswerer
from ....shapes_world import Sample
from ...benchmark import PlanError
from ...harness.cases import Case, CaseList
from ...harness.measuring import Item, Measure, Stage
from ...harness.results import Column, Quoted, Scored
from ...harness.run_folder import Found
from ...rules import layoutsam as rule
from ...scorers.models import Models
from . import table_rows
from .world_data import samples

name, title, main = "layoutsam-eval", "LayoutSAM-Eval", "spatial"
DATA = "the data set's Parquet files (with pyarrow), or its rows without pictures as JSON lines"
_COLUMNS = (
    "file_name",
    "width",
    "height",
    "global_caption",
    "bbox_list",
    "region_captions",
    "detail_region_captions",
)
_SEED, _SIDE = 42, 1024
columns = tuple(Column(one, one, percent=True) for one in rule.QUESTIONS)
_TABLE = "ContextGen's Table 2"
quoted = tuple(
    Quoted(label, dict(zip(rule.QUESTIONS, (value / 100 for value in values), strict=True)), _TABLE)
    for label, values in (
        ("GLIGEN", (77.35, 54.86, 59.38, 57.75)),
        ("InstanceDiffusion", (86.39, 71.39, 76.73, 75.37)),
        ("MIGC", (86.04, 71.07, 74.88, 73.37)),
        ("3DIS", (88.34, 80.97, 82.52, 81.30)),
        ("CreatiLayout", (93.59, 77.43, 79.62, 78.89)),
        ("EliGen", (94.05, 83.84, 87.31, 87.01)),
        ("ContextGen", (93.96, 87.44, 89.26, 88.36)),
    )
)
# In our own words: the official wording is not ours to repeat, so that numbers are near and not equal.
SPATIAL = 'Is there "{short}" in this picture? Answer with one word, Yes or No.'
ATTRIBUTE = (
    'Does the {property} of "{short}" in this picture agree with this description of it: "{detailed}"? '
    "If the description does not mention it, answer Yes. Answer with one word, Yes or No."
)
_PROPERTIES = {"color": "colour", "texture": "texture", "shape": "shape"}
notes = (
    "The judge and the wording of its questions are ours, so that rows of published systems are near and not "
    f"to be compared digit by digit. Asked was: {SPATIAL} {ATTRIBUTE}",
)


def read(data: Path, limit: int | None = None) -> CaseList:
    """The cases of rows with the data set's columns, see `table_rows`; `PlanError` for another form."""
    cases: list[Case] = []
    for place, row in table_rows.rows(data, _COLUMNS, limit):
        try:
            cases.append(_case(row))
        except (KeyError, TypeError, ValueError, SyntaxError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise PlanError(f"{place} is no row of LayoutSAM-Eval: {reason}") from error
    if not cases:
        raise PlanError(f"{data} has no rows")
    return CaseList(name, f"{len(cases)} rows of {data.name}", tuple(cases))


def write_tiny(folder: Path, number: int) -> tuple[Path, dict[str, Sample]]:
    """Scenes in the columns of the data set; the file, and the sample of each picture by case."""
    rows: list[str] = []
    shown: dict[str, Sample] = {}
    for index, sample in enumerate(samples(number, (2, 3, 4))):
        side = sample.scene.width
        boxes = [[round(value * side) for value in item.box] for item in sample.layout.instances]
        file = f"scene_{index}.jpg"
        row = {
            "height": str(side),
            "width": str(side),
            "global_caption": sample.layout.prompt,
            "bbox_list": str(boxes),
            "region_captions": str([figure.look.shape for figure in sample.scene.figures]),
            "detail_region_captions": str([item.caption for item in sample.layout.instances]),
            "file_name": file,
        }
        rows.append(json.dumps(row))
        shown[file] = sample
    target = folder / "layoutsam-eval.jsonl"
    target.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return target, shown


def stages(models: Models, shared: Mapping[str, Any]) -> Sequence[Stage]:
    """Answers about every region."""

    def load() -> Measure:
        judge = models.judge()
        return lambda items: [_answers(item, judge) for item in items]

    return (Stage("answers", load),)


def _answers(item: Item, judge: QuestionAnswerer) -> list[dict[str, str]]:
    """The answers about each region, on crops that are neither resized nor padded."""
    picture = item.picture
    if picture.width != picture.height:
        # Crops are those of a square picture.
        picture = picture.resize((max(picture.size), max(picture.size)))
    instances = item.case.layout.instances
    crops = [picture.crop(_visible(rule.crop(list(one.box), picture.width))) for one in instances]
    shorts = [rule.caption(text) for text in item.case.facts["short"]]
    first = judge.answer(crops, [SPATIAL.format(short=short) for short in shorts])
    answers = [{"spatial": answer} for answer in first]
    tasks = [
        (index, question)
        for index, answer in enumerate(first)
        if rule.is_yes(answer)
        for question in rule.QUESTIONS[1:]
    ]
    texts = [
        ATTRIBUTE.format(
            property=_PROPERTIES[question],
            short=shorts[index],
            detailed=rule.caption(instances[index].caption),
        )
        for index, question in tasks
    ]
    if tasks:
        said = judge.answer([crops[index] for index, _ in tasks], texts)
        for (index, question), answer in zip(tasks, said, strict=True):
            answers[index][question] = answer
    return answers


def _visible(crop: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """At least a pixel, since an empty crop cannot be looked at."""
    x0, y0, x1, y1 = crop
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _record(found: Found) -> dict[str, Any]:
    return rule.record([rule.verdicts(answers) for answers in found["answers"]])


def scored(case: Case, found: Found) -> Scored:
    """The parts of a picture: sums over its regions."""
    record = _record(found)
    return Scored({one: (record[f"score_{one}"], float(record["bbox_count"])) for one in rule.QUESTIONS})


def official_files(rows: Sequence[tuple[Case, Found]]) -> Mapping[str, Any]:
    """A record for each picture, and the averages."""
    records = {case.file: _record(found) for case, found in rows}
    return {"records.json": records, "averages.json": rule.averages(list(records.values()))}


def _case(row: Mapping[str, Any]) -> Case:
    width, height = float(row["width"]), float(row["height"])
    boxes, shorts, detailed = (
        _listed(row[key]) for key in ("bbox_list", "region_captions", "detail_region_captions")
    )
    if not len(boxes) == len(shorts) == len(detailed):
        raise ValueError(f"{len(boxes)} boxes, {len(shorts)} captions and {len(detailed)} detailed ones")
    instances = tuple(
        Instance(str(number), Box(*rule.fractions(box, width, height)), text)
        for number, (box, text) in enumerate(zip(boxes, detailed, strict=True), 1)
    )
    layout = Layout(instances, Canvas(_SIDE, _SIDE), row["global_caption"])
    file = str(row["file_name"])
    return Case(file, file, layout, _SEED, file, "", {"short": list(shorts)})


def _listed(value: Any) -> list[Any]:
    """A list, which the data set holds as text."""
    found = ast.literal_eval(value) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise ValueError(f"a list is needed, got {value!r:.60}")
    return list(found)
