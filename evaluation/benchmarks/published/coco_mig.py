"""COCO-MIG (MIGC, arXiv 2402.05408): 800 layouts of 2 to 6 coloured things."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ....layout import Box, Canvas, Instance, Layout
from ....models.vision.interfaces import BoxSegmenter
from ....shapes_world import Sample
from ...benchmark import PlanError
from ...harness.cases import Case, CaseList
from ...harness.measuring import Item, Measure, Stage
from ...harness.results import Column, Quoted, Scored
from ...harness.run_folder import Found
from ...rules import coco_mig as rule
from ...scorers.models import Models
from .detecting import detect_alone, pixels, with_scores
from .world_data import samples

name, title, main = "coco-mig", "COCO-MIG", "success"
DATA = "its JSON of 800 prompts (or MIGC's own format of the same name), which may not be handed on"
_SEED = 42
_LEVELS = tuple(f"L{level}" for level in rule.LEVELS)
columns = (
    Column("picture success", "all right", percent=True),
    Column("success", "instance success", percent=True),
    *(Column(f"success {level}", level, percent=True) for level in _LEVELS),
    Column("miou", "mIoU", percent=True),
)
notes = (
    "An instance is right if a detection overlaps its box by half or more and a fifth of its mask is in its "
    "colour; its overlap counts as 0 where the colour is wrong. Averages run over instances, not levels.",
    f"A box of Grounding DINO counts where its surest token of all exceeds {rule.BOX_THRESHOLD:g}, as "
    "officially; the detector is then named so. Named without, it is that of an earlier version, which asked "
    "for the average of the class's tokens as well and found fewer.",
)
_README = "MIG_Bench's README"


def _row(label: str, success: Sequence[int], average: int, miou: int) -> Quoted:
    levels = {f"success {level}": value / 100 for level, value in zip(_LEVELS, success, strict=True)}
    return Quoted(label, {"success": average / 100, **levels, "miou": miou / 100}, _README)


quoted = (
    _row("BoxDiff", (28, 24, 14, 12, 13), 16, 26),
    _row("GLIGEN", (42, 32, 27, 27, 28), 30, 27),
    _row("ReCo", (63, 53, 55, 52, 55), 55, 49),
    _row("InstanceDiffusion", (58, 52, 55, 47, 47), 51, 46),
    _row("MIGC", (74, 67, 67, 63, 66), 66, 56),
    Quoted(
        "ContextGen",
        {"picture success": 0.3312, "success": 0.6972, "miou": 0.6512},
        "ContextGen's Table 2",
    ),
)


def read(data: Path, limit: int | None = None) -> CaseList:
    """The cases of a file in the published form; `PlanError` for another form."""
    try:
        entries = json.loads(data.read_text(encoding="utf-8"))
        cases = [_case(key, entry) for key, entry in list(entries.items())[:limit]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PlanError(
            f"{data} is not COCO-MIG's JSON ({error}); each key holds a caption and a segment of boxes "
            "with labels"
        ) from error
    return CaseList(name, f"{len(cases)} prompts of {data.name}", tuple(cases))


def write_tiny(folder: Path, number: int) -> tuple[Path, dict[str, Sample]]:
    """Scenes in COCO-MIG's form; its file, and the sample of each picture by case."""
    entries: dict[str, Any] = {}
    shown: dict[str, Sample] = {}
    found = samples(number, rule.LEVELS[:3], _has_its_colors)
    for key, sample in enumerate(found):
        looks = [figure.look for figure in sample.scene.figures]
        labels = [f"a {look.color} {look.shape}" for look in looks]
        segments = [
            {"bbox": [round(value, 6) for value in item.box], "label": label}
            for item, label in zip(sample.layout.instances, labels, strict=True)
        ]
        caption = f"a photo of {' and '.join(labels)} "
        entries[str(key)] = {"caption": caption, "segment": segments, "image_id": str(key)}
        shown[str(key)] = sample
    file = folder / "coco-mig.json"
    file.write_text(json.dumps(entries), encoding="utf-8")
    return file, shown


def _has_its_colors(sample: Sample) -> bool:
    return all(figure.look.color in rule.COLORS for figure in sample.scene.figures)


def stages(models: Models, shared: Mapping[str, Any]) -> Sequence[Stage]:
    """Boxes of every class, then colours of what is located."""

    def load_boxes() -> Measure:
        detector = models.phrase_detector(rule.BOX_THRESHOLD)

        def boxes(items: Sequence[Item]) -> list[Any]:
            names = [[rule.split_label(label)[1] for label in _labels(item.case)] for item in items]
            found = detect_alone(detector, [_fitted(item) for item in items], names)
            side = rule.SIDE
            return [{word: with_scores(own, side, side) for word, own in one.items()} for one in found]

        return boxes

    def load_colors() -> Measure:
        segmenter = models.segmenter()

        def colors(items: Sequence[Item]) -> list[Any]:
            return [_color_shares(item, segmenter) for item in items]

        return colors

    return (
        Stage("boxes", load_boxes),
        Stage("colors", load_colors, lambda case, found: any(map(rule.is_located, _overlaps(case, found)))),
    )


def _fitted(item: Item) -> Image.Image:
    """The picture at the size at which everything is measured."""
    return Image.fromarray(rule.fitted(np.asarray(item.picture)))


def _color_shares(item: Item, segmenter: BoxSegmenter) -> list[float | None]:
    """The share of each located instance's mask in its colour; the box asked for leads to the mask."""
    located = [rule.is_located(best) for best in _overlaps(item.case, item.found)]
    instances = [one for one, here in zip(item.case.layout.instances, located, strict=True) if here]
    picture = _fitted(item)
    boxes = [one.box for one in instances]
    masks = iter(segmenter.segment(picture, boxes).numpy())
    return [
        rule.color_share(np.asarray(picture), next(masks), rule.split_label(label)[0]) if here else None
        for here, label in zip(located, _labels(item.case), strict=True)
    ]


def verdicts(case: Case, found: Found) -> list[rule.Verdict]:
    """What became of each instance."""
    shares = found.get("colors") or [None] * len(case.layout.instances)
    return [
        rule.verdict(best, share or 0.0) for best, share in zip(_overlaps(case, found), shares, strict=True)
    ]


def scored(case: Case, found: Found) -> Scored:
    """The parts of a picture."""
    own = verdicts(case, found)
    success, number = float(sum(one.success for one in own)), float(len(own))
    level = f"L{len(own)}"
    return Scored(
        {
            "picture success": (float(success == number), 1.0),
            "success": (success, number),
            f"success {level}": (success, number),
            "miou": (sum(one.overlap for one in own), number),
        }
    )


def official_files(rows: Sequence[tuple[Case, Found]]) -> Mapping[str, Any]:
    """The metrics file."""
    return {"metrics.json": rule.metrics([verdicts(case, found) for case, found in rows])}


def _overlaps(case: Case, found: Found) -> list[float]:
    best: list[float] = []
    for instance, label in zip(case.layout.instances, _labels(case), strict=True):
        seen = found.get("boxes", {}).get(rule.split_label(label)[1], [])
        box = pixels(instance.box, rule.SIDE, rule.SIDE)
        best.append(rule.best_overlap([one[:4] for one in seen], [one[4] for one in seen], box))
    return best


def _labels(case: Case) -> list[str]:
    return [instance.caption for instance in case.layout.instances]


def _case(key: str, entry: Mapping[str, Any]) -> Case:
    segments = entry["segment"]
    for segment in segments:
        color, _ = rule.split_label(segment["label"])
        if color not in rule.COLORS:
            raise ValueError(f'"{segment["label"]}" has none of the colours {", ".join(rule.COLORS)}')
    instances = tuple(
        Instance(str(number), Box(*segment["bbox"]), segment["label"])
        for number, segment in enumerate(segments, 1)
    )
    prompt = entry["caption"].strip()
    layout = Layout(instances, Canvas(rule.SIDE, rule.SIDE), prompt)
    short = "-".join(prompt.split()[3:6]).replace("/", "-") or "picture"
    return Case(key, f"{short}_{key}.png", layout, _SEED, key, f"L{len(segments)}")
