"""What silhouettes change: boxes to the end against silhouettes from a share of the run on, paired.

`python scripts/silhouettes.py ROWS` draws 40 held-out layouts of 2 to 5 things with the demo model, half of
them with boxes that overlap, one seed each: Apply IFAdapter, and Attribute Concentration without adapter,
each with boxes and with silhouettes_from 0.3. ROWS gets one of JSON a picture, beside it `.png` the first
pictures; the table of docs/repair.md goes to the screen. A run that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from demo_in_comfyui import OVERLAP, Demo, add_comfyui, draw, load_demo, prompts, read, to_bytes
from numpy.typing import NDArray
from PIL import Image

from instance_composer.evaluation.benchmarks.binding.plan import entity_words
from instance_composer.evaluation.scorers.placement import ATTRIBUTES, placement
from instance_composer.evaluation.statistics import interval, resamplings
from instance_composer.layout import Layout
from instance_composer.shapes_world import Sample, ShapesWorld
from instance_composer.shapes_world.judge import read_background, read_things
from instance_composer.shapes_world.vocabulary import BACKGROUNDS

SIDE, FIGURES, PICTURES, STEPS = 128, (2, 3, 4, 5), 40, 12
# Layouts of these seeds: held out, and for choosing thresholds.
HELD_OUT, DEVELOPMENT, COVERED, SHOWN = 14_142, 27_182, 0.4, 8
SINCE, STRENGTH = 0.3, 2.0
WAYS = ("adapter", "concentration")
# A pixel stands out from the background, and a thing is one of the world, from these values of the judge on.
STANDS_OUT, RECOGNISABLE = 64, 0.7
RESAMPLINGS = 4000

Picture = NDArray[np.uint8]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, help="rows, one of JSON a picture")
    parser.add_argument("--pictures", type=int, default=PICTURES, help=f"layouts ({PICTURES})")
    parser.add_argument("--development", action="store_true", help="layouts that are not held out")
    parser.add_argument("--since", type=float, default=SINCE, help=f"silhouettes_from ({SINCE})")
    add_comfyui(parser)
    arguments = parser.parse_args()
    world = DEVELOPMENT if arguments.development else HELD_OUT
    done = read(arguments.rows, world=world, since=arguments.since)
    demo = load_demo(arguments.comfyui)
    for number in range(len(done), arguments.pictures):
        done.append(one(demo, world, number, arguments.since, arguments.rows.with_suffix(".png")))
        with arguments.rows.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
    print(table(done))
    return 0


def one(demo: Demo, world: int, number: int, since: float, sheet: Path) -> dict[str, Any]:
    """The reading of a layout's picture by way, with boxes and with silhouettes."""
    import torch

    figures = FIGURES[number % len(FIGURES)]
    overlap = COVERED if number // len(FIGURES) % 2 else 0.0
    sample = ShapesWorld(world, SIDE, SIDE, "held-out", figures, overlap=overlap)[number]
    said: list[str] = []
    row: dict[str, Any] = {"number": number, "said": said}
    column: list[Picture] = []
    with torch.inference_mode():
        for way in WAYS:
            for share in (0.0, since):
                trio = placed(demo, sample.layout, way, share, said.append)
                picture = to_bytes(draw(demo, trio, sample.layout, number, STEPS)[0])
                row[f"{way} {'silhouettes' if share else 'boxes'}"] = reading(picture, sample)
                column.append(picture)
    if number < SHOWN:
        before = [np.asarray(Image.open(sheet))] if number else []
        Image.fromarray(np.concatenate([*before, np.concatenate(column)], 1)).save(sheet)
    return row


def placed(demo: Demo, layout: Layout, way: str, since: float, tell: Callable[[str], None]) -> Sequence[Any]:
    from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
    from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
    from instance_composer.hosts.comfyui.methods.binding import BindingRequest, find_entities

    positive, negative = prompts(demo, layout)
    if way == "adapter":
        return apply_ifadapter(
            demo.model, demo.clip, demo.adapter, layout, positive, negative, silhouettes_from=since, tell=tell
        )
    words = tuple(tuple(map(tuple, spans)) for spans in entity_words(layout.prompt))
    entities = find_entities(demo.clip, BindingRequest(layout, (), SIDE, SIDE, entities=words))
    settings = Concentration(strength=STRENGTH, silhouettes_from=since)
    model, positive = apply_concentration(demo.model, positive, entities, settings, layout, tell=tell)
    return model, positive, negative


def reading(picture: Picture, sample: Sample) -> dict[str, Any]:
    """The judge's score of every thing, whether its box overlaps another, and crumbs in boxes."""
    layout, things = sample.layout, read_things(picture)
    found = placement(things, layout)["instances"]
    masks = [box_mask(one.bounds) for one in layout.instances]
    boxes = np.any(masks, 0)
    background = np.array(BACKGROUNDS[read_background(picture)], np.float32)
    away = np.linalg.norm(picture.astype(np.float32) - background, axis=-1) > STANDS_OUT
    whole = [thing.mask for thing in things if thing.overlap >= RECOGNISABLE]
    known = np.any(whole, 0) if whole else np.zeros_like(boxes)
    crumbs = away & ~known & boxes
    return {
        "right": [one["overlap"] >= OVERLAP and all(one[name] for name in ATTRIBUTES) for one in found],
        "located": [one["overlap"] >= OVERLAP for one in found],
        "overlapping": [
            any((mask & other).any() for at, other in enumerate(masks) if at != index)
            for index, mask in enumerate(masks)
        ],
        "fit": [one["overlap"] for one in found],
        "crumbs": float(crumbs.sum() / boxes.sum()),
    }


def box_mask(box: Sequence[float]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = (round(value * SIDE) for value in box)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[max(y0, 0) : y1, max(x0, 0) : x1] = True
    return mask


def table(rows: list[dict[str, Any]]) -> str:
    """Means over things and pictures, and the paired difference with its 95 % interval over pictures."""
    weights = resamplings(len(rows), RESAMPLINGS)
    lines = []
    for way in WAYS:
        for name, of in MEASURES.items():
            values = []
            for kind in ("boxes", "silhouettes"):
                pairs = [of(row[f"{way} {kind}"]) for row in rows]
                sums, counts = (weights @ np.array(part, float) for part in zip(*pairs, strict=True))
                values.append(sums / counts)
            scale, sign = (1, "") if name == "fit" else (100, " %")
            change = interval(scale * (values[1] - values[0]))
            means = " | ".join(f"{scale * value[0]:.{2 if scale == 1 else 1}f}{sign}" for value in values)
            digits = 3 if scale == 1 else 1
            ends = f"{change.value:+.{digits}f} ({change.low:+.{digits}f} to {change.high:+.{digits}f})"
            lines.append(f"| {way} | {name} | {means} | {ends} |")
    lines.append(f"{sum(len(row['adapter boxes']['right']) for row in rows)} things in {len(rows)} pictures")
    return "\n".join(lines)


# From a reading to a sum and a count.
MEASURES: dict[str, Callable[[dict[str, Any]], tuple[float, float]]] = {
    "right": lambda one: (sum(one["right"]), len(one["right"])),
    "right, box overlaps another": lambda one: (
        sum(ok for ok, over in zip(one["right"], one["overlapping"], strict=True) if over),
        sum(one["overlapping"]),
    ),
    "in its place": lambda one: (sum(one["located"]), len(one["located"])),
    "fit": lambda one: (sum(one["fit"]), len(one["fit"])),
    "crumbs in boxes": lambda one: (one["crumbs"], 1),
}


if __name__ == "__main__":
    sys.exit(main())
