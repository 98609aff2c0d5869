"""Layouts whose boxes overlap: is everything in its box, and the right thing in front."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ....models.vision.interfaces import Detection
from ....shapes_world import Sample
from ...benchmark import PlanError
from ...harness.cases import Case, CaseList
from ...harness.measuring import Item, Measure, Stage
from ...harness.results import Column, Quoted, Scored
from ...harness.run_folder import Found
from ...rules import occlusion as rule
from ...rules.boxes import overlap
from ...scorers.models import Models
from . import overlaybench_judge
from .caption_stages import boxes_stage, similarity_stage
from .detecting import pixels, with_scores
from .ifg import read_layouts
from .overlaybench import SIDE as ROW_SIDE
from .overlaybench import UNORDERED, read_rows
from .world_data import SIDE, samples, write_layouts

name, title, main = "overlap", "Overlap", "miou"
DATA = (
    "a folder of layouts in any format that is read, of which those with overlapping boxes are taken, or "
    "OverLayBench's Parquet files (with pyarrow), or its rows without pictures as JSON lines, which may also "
    "lie among layouts"
)
# The largest share of one thing that another covers, in scenes of Shapes World.
_COVERED = 0.6
_SPLIT = "hard"
columns = (
    Column("miou", "mIoU", percent=True),
    Column("shared", "O-mIoU", percent=True),
    Column("order", "right one in front", percent=True),
    Column("clip", "CLIP score", in_world="shapes there"),
    *overlaybench_judge.columns,
)
quoted: tuple[Quoted, ...] = overlaybench_judge.quoted
notes = (
    "mIoU and O-mIoU without a word are by the detector, which looks for every phrase: over all instances, "
    "and over what pairs of boxes share. The order is ours: of pairs that share a fifth of the smaller box "
    "and are both found, the share whose later instance is the nearer by a map of depth. CLIP's end of a "
    "text that is longer than it reads is left out, as OverLayBench does.",
    *overlaybench_judge.notes,
)


def read(data: Path, limit: int | None = None) -> CaseList:
    """Layouts of a folder in which boxes overlap, rows of OverLayBench, or both; `PlanError` without any."""
    if data.is_file() or any(data.rglob("*.parquet")):
        if data.is_dir() and (beside := next(data.rglob("*.json"), None)):
            raise PlanError(
                f"{data} has Parquet files of OverLayBench and {beside.name}; give the rows and the layouts "
                "each a folder of their own"
            )
        rows = read_rows(data, limit)
        return CaseList(name, f"{len(rows)} rows of OverLayBench, {data.name}", tuple(rows))
    rows = [row for file in _files(data, "jsonl") for row in read_rows(file)]
    if rows and not _files(data, "json"):
        rows = rows[:limit]
        return CaseList(name, f"{len(rows)} rows of OverLayBench, {data.name}", tuple(rows))
    layouts = {key: one for key, one in read_layouts(data).items() if rule.pairs(_corners(one.active))}
    if not layouts:
        raise PlanError(f"in no layout of {data} do two boxes overlap")
    cases = [Case(key, f"{key}.png", one, number, key) for number, (key, one) in enumerate(layouts.items())]
    cases = cases[:limit]
    rows = rows[: None if limit is None else limit - len(cases)]
    also = f" and {len(rows)} rows of OverLayBench" if rows else ""
    return CaseList(name, f"{len(cases)} layouts{also} of {data.name}", (*cases, *rows))


def _files(data: Path, ending: str) -> list[Path]:
    """The files of an ending in a folder and those in it, without what is hidden, as layouts are read."""
    found = sorted(data.rglob(f"*.{ending}"))
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(data).parts)]


def write_tiny(folder: Path, number: int) -> tuple[Path, dict[str, Sample]]:
    """Scenes whose things cover each other, every second one as OverLayBench's row; samples by case."""
    data = folder / "overlapping"
    found = samples(number, (2, 3), lambda s: bool(rule.deep_pairs(_corners(s.layout.active))), _COVERED)
    scenes = list(found)
    shown = write_layouts(data, scenes[::2])
    rows = [_row(f"scene-{place:03d}", sample) for place, sample in enumerate(scenes[1::2])]
    if rows:
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (data / f"{_SPLIT}.jsonl").write_text(lines, encoding="utf-8")
    keys = [f"{_SPLIT}/{row['image_id']}" for row in rows]
    return data, {**shown, **dict(zip(keys, scenes[1::2], strict=True))}


def _row(image: str, sample: Sample) -> dict[str, Any]:
    """A scene in the columns of OverLayBench."""
    active, shapes = sample.layout.active, [figure.look.shape for figure in sample.scene.figures]
    names = [f"{shape}_{place}" for place, shape in enumerate(shapes, 1)]
    boxes = [[round(value) for value in pixels(one.bounds, ROW_SIDE, ROW_SIDE)] for one in active]
    things = {
        name: {"category": shape, "bbox": box, "local_prompts": one.caption}
        for name, shape, box, one in zip(names, shapes, boxes, active, strict=True)
    }
    annotation = {
        "caption": sample.layout.prompt,
        "annotations": things,
        "relations": {
            f"({names[pair.front]}, {names[pair.behind]})": "in front of" for pair in rule.deep_pairs(boxes)
        },
        "valid_overlap": [{"overlap_box": list(pair)} for pair in rule.pairs(boxes)],
    }
    return {"image_id": image, "split": _SPLIT, "annotation": str(annotation)}


def stages(models: Models, shared: Mapping[str, Any]) -> Sequence[Stage]:
    """The best box of each instance, which of a pair is nearer, similarity to the caption."""

    def load_order() -> Measure:
        estimator = models.depth()

        def order(items: Sequence[Item]) -> list[Any]:
            depths = estimator.depths([item.picture for item in items])
            return [_orders(item, one.cpu().numpy()) for item, one in zip(items, depths, strict=True)]

        return order

    return (
        boxes_stage(models, _best),
        Stage("order", load_order, lambda case, found: bool(_found_pairs(case, found))),
        similarity_stage(models),
        *overlaybench_judge.stages(models),
    )


def _best(item: Item, seen: Mapping[str, Sequence[Detection]]) -> dict[str, Any]:
    """Size of the picture, and for each instance the detection of its phrase that overlaps it most."""
    size = item.picture.size
    boxes: list[list[float] | None] = []
    for one in item.case.layout.active:
        target = pixels(one.bounds, *size)
        best = max(
            with_scores(seen[one.caption], *size), key=lambda box: overlap(box[:4], target), default=None
        )
        boxes.append(best[:4] if best is not None and overlap(best[:4], target) > 0 else None)
    return {"size": list(size), "boxes": boxes}


def _orders(item: Item, depth: NDArray[Any]) -> list[bool | None]:
    """For each pair that is found, whether the later one is the nearer; None where nothing can be told."""
    boxes = item.found["boxes"]["boxes"]
    orders: list[bool | None] = []
    for behind, front in _found_pairs(item.case, item.found):
        far, near = (rule.nearness(depth, boxes[a], boxes[b]) for a, b in ((behind, front), (front, behind)))
        orders.append(None if far is None or near is None or far == near else near > far)
    return orders


def scored(case: Case, found: Found) -> Scored:
    """The parts of a picture."""
    own = found["boxes"]["boxes"]
    targets = _targets(case, found["boxes"]["size"])
    overlaps = [overlap(target, box) if box else 0.0 for target, box in zip(targets, own, strict=True)]
    pairs = rule.pairs(targets)
    shared = [
        rule.shared_overlap((targets[p.behind], targets[p.front]), (own[p.behind], own[p.front]))
        for p in pairs
    ]
    told = [right for right in found.get("order", []) if right is not None]
    parts = {
        "miou": (sum(overlaps), float(len(overlaps))),
        "shared": (sum(shared), float(len(shared))),
        "order": (float(sum(told)), float(len(told))),
    }
    if "clip" in found:
        parts["clip"] = (100 * found["clip"], 1.0)
    return Scored({**parts, **overlaybench_judge.parts(case, found)})


def official_files(rows: Sequence[tuple[Case, Found]]) -> Mapping[str, Any]:
    """None: these rules are no official scorer's."""
    return {}


def _found_pairs(case: Case, found: Found) -> list[rule.Pair]:
    if "boxes" not in found or case.facts.get(UNORDERED):
        return []
    own = found["boxes"]["boxes"]
    pairs = rule.deep_pairs(_targets(case, found["boxes"]["size"]))
    return [pair for pair in pairs if own[pair.behind] and own[pair.front]]


def _targets(case: Case, size: Sequence[float]) -> list[list[float]]:
    return [pixels(one.bounds, size[0], size[1]) for one in case.layout.active]


def _corners(instances: Sequence[Any]) -> list[list[float]]:
    return [pixels(one.bounds, SIDE, SIDE) for one in instances]
