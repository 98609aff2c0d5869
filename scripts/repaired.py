"""How often Repair Instance repairs: pictures of held-out layouts in which the judge finds a thing wrong.

`python scripts/repaired.py FILE` draws layouts of 2 to 5 things with the demo model until it has 40 pictures
with a thing that failed, draws the first such thing of each again, and writes rows to FILE and the table of
docs/repair.md to the screen. Beside it stands what drawing the whole picture again with another seed gives.
A run that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from demo_in_comfyui import Demo, add_comfyui, draw, load_demo, prompts, read, right, share

from instance_composer.shapes_world import ShapesWorld

SIDE, FIGURES, PICTURES, TRIES, STEPS = 128, (2, 3, 4, 5), 40, 3, 20
# Layouts of these seeds: held out, and for finding out why; no other measurement draws from them.
HELD_OUT, DEVELOPMENT = 31_415, 27_182


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="rows, one of JSON a picture")
    parser.add_argument("--pictures", type=int, default=PICTURES, help=f"with a failed thing ({PICTURES})")
    parser.add_argument("--development", action="store_true", help="layouts that are not held out")
    parser.add_argument("--context", type=float, default=1.0, help="as on the node (1)")
    parser.add_argument("--grow", type=float, default=0.1, help="as on the node (0.1)")
    add_comfyui(parser)
    arguments = parser.parse_args()
    world = DEVELOPMENT if arguments.development else HELD_OUT
    done = read(arguments.file, world=world, context=arguments.context, grow=arguments.grow)
    demo = load_demo(arguments.comfyui)
    number = done[-1]["number"] + 1 if done else 0
    while sum(row["failed"] is not None for row in done) < arguments.pictures:
        done.append(one(demo, world, number, arguments.context, arguments.grow))
        number += 1
        with arguments.file.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
    print(table(done))
    return 0


def one(demo: Demo, world: int, number: int, context: float, grow: float) -> dict[str, Any]:
    """A layout drawn, judged, and where a thing failed drawn again."""
    import torch

    from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
    from instance_composer.hosts.comfyui.repair.redraw import Sampling, Wanted, redraw

    figures = FIGURES[number % len(FIGURES)]
    layout = ShapesWorld(world, SIDE, SIDE, "held-out", figures)[number].layout
    with torch.inference_mode():
        placed = apply_ifadapter(demo.model, demo.clip, demo.adapter, layout, *prompts(demo, layout))
        before = draw(demo, placed, layout, number, STEPS)
        found = right(before[0], layout)
        row: dict[str, Any] = {"number": number, "before": found, "failed": None}
        if all(found):
            return row
        index = found.index(False)
        settings = Sampling(10_000 + number, STEPS, 3.0)
        after = redraw(
            before, demo.vae, *placed, layout, [Wanted(index)], settings,
            context=context, grow=grow, tries=TRIES,
        )  # fmt: skip
        outside = after.mask[0] == 0
        again = draw(demo, placed, layout, 10_000 + number, STEPS)
    same = all(torch.equal(picture[outside], before[0][outside]) for picture in after.images)
    judged = [right(picture, layout) for picture in after.images]
    whole = right(again[0], layout)
    return row | {"failed": index, "after": judged, "outside is bit-equal": same, "whole again": whole}


def table(rows: list[dict[str, Any]]) -> str:
    """Shares with 95 % intervals (Wilson), of the pictures in which a thing failed."""
    drawn, things = len(rows), [found for row in rows for found in row["before"]]
    failed = [row for row in rows if row["failed"] is not None]
    lines = [f"{drawn} pictures, {sum(things)} of {len(things)} things right, {len(failed)} repaired"]
    best = [max(row["after"], key=lambda after, row=row: after[row["failed"]]) for row in failed]
    for name, after in (
        ("one try", [row["after"][0] for row in failed]),
        (f"best of {TRIES}", best),
        ("whole picture again", [row["whole again"] for row in failed]),
    ):
        pairs = list(zip(failed, after, strict=True))
        fixed = sum(now[row["failed"]] for row, now in pairs)
        lost = sum(any(b and not a for b, a in zip(row["before"], now, strict=True)) for row, now in pairs)
        fewer = sum(sum(now) < sum(row["before"]) for row, now in pairs)
        cells = (share(count, len(failed)) for count in (fixed, lost, fewer))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    kept = sum(row["outside is bit-equal"] for row in failed)
    lines.append(f"every pixel outside the mask bit-equal: {kept} of {len(failed)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
