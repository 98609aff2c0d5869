"""How far a LoRA for one instance shows on the others: two LoRAs of `scripts/look_loras.py` in one picture.

`python scripts/identity_bleed.py ROWS` draws 40 held-out layouts of two and three plain things with the demo
model: without LoRA, with both LoRAs on the whole picture (Load LoRA), and with LoRA for Instance, "dotted"
for one thing and "purple" for the next. No caption says dotted or purple. ROWS gets one of JSON a picture,
beside it `.png` the first pictures; the table of docs/repair.md goes to the screen. A run that is broken off
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from demo_in_comfyui import OVERLAP, Demo, add_comfyui, draw, load_demo, prompts, read, share, to_bytes
from numpy.typing import NDArray
from PIL import Image

from instance_composer.demo import FOLDER
from instance_composer.layout import Layout
from instance_composer.models.weights import digest_of_weights
from instance_composer.shapes_world import ShapesWorld, parse_figure
from instance_composer.shapes_world.judge import match, read_things

SIDE, FIGURES, PICTURES, STEPS = 128, (2, 3), 40, 12
WORLD, SHOWN = 16_180, 8
METHODS = ("without LoRA", "Load LoRA, both", "LoRA for Instance, one each")
FIELDS = {"dotted": "pattern", "purple": "color"}

Picture = NDArray[np.uint8]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, help="rows, one of JSON a picture")
    parser.add_argument("--loras", type=Path, default=FOLDER / "loras", help="folder of both (the demo's)")
    parser.add_argument("--pictures", type=int, default=PICTURES, help=f"layouts ({PICTURES})")
    add_comfyui(parser)
    arguments = parser.parse_args()
    files = [arguments.loras / f"{name}.safetensors" for name in FIELDS]
    done = read(arguments.rows, loras=digest_of_weights(files))
    demo = load_demo(arguments.comfyui)
    for number in range(len(done), arguments.pictures):
        done.append(one(demo, number, arguments.loras.resolve(), arguments.rows.with_suffix(".png")))
        with arguments.rows.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
    print(table(done))
    return 0


def one(demo: Demo, number: int, loras: Path, sheet: Path) -> dict[str, Any]:
    """What the judge reads of each thing by method, and whose LoRAs they are."""
    import torch

    from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter

    figures = FIGURES[number % len(FIGURES)]
    none = (("purple", 1e-9),)
    layout = ShapesWorld(WORLD, SIDE, SIDE, "held-out", figures, pattern="plain", weights=none)[number].layout
    own = {"dotted": number % figures, "purple": (number + 1) % figures}
    row: dict[str, Any] = {"number": number, "own": own}
    column: list[Picture] = []
    with torch.inference_mode():
        for method, model in models(demo, layout, own, loras):
            trio = apply_ifadapter(model, demo.clip, demo.adapter, layout, *prompts(demo, layout))
            column.append(to_bytes(draw(demo, trio, layout, number, STEPS)[0]))
            row[method] = looks(column[-1], layout) | {"outside": outside(column[-1], column[0], layout)}
    if number < SHOWN:
        before = [np.asarray(Image.open(sheet))] if number else []
        Image.fromarray(np.concatenate([*before, np.concatenate(column)], 1)).save(sheet)
    return row


def models(demo: Demo, layout: Layout, own: dict[str, int], loras: Path) -> Sequence[tuple[str, Any]]:
    import folder_paths

    from instance_composer.hosts.comfyui.checkpoints.unet import with_lora
    from instance_composer.hosts.comfyui.instance_lora.apply import lora_for_instance

    folder_paths.add_model_folder_path("loras", str(loras))
    whole = each = demo.model
    for name, index in own.items():
        whole = with_lora(whole, loras / f"{name}.safetensors")
        each = lora_for_instance(each, layout, str(index + 1), f"{name}.safetensors")[0]
    return list(zip(METHODS, (demo.model, whole, each), strict=True))


def looks(picture: Picture, layout: Layout) -> dict[str, Any]:
    """For each thing: what it is like, None where nothing is, and whether it is as its caption says."""
    found = match(read_things(picture), [instance.bounds for instance in layout.instances])
    words = [
        reading and {name: getattr(reading, field) for name, field in FIELDS.items()} for reading, _ in found
    ]
    right = []
    for instance, (reading, overlap) in zip(layout.instances, found, strict=True):
        look = parse_figure(instance.caption).look
        same = reading is not None and (reading.shape, reading.color, reading.pattern) == tuple(look)
        right.append(same and overlap >= OVERLAP)
    return {"looks": words, "right": right}


def outside(picture: Picture, plain: Picture, layout: Layout) -> float:
    """The mean change, of 255, of what lies in no box."""
    free = np.ones((SIDE, SIDE), bool)
    for instance in layout.instances:
        x0, y0, x1, y1 = (round(value * SIDE) for value in instance.bounds)
        free[max(y0, 0) : y1, max(x0, 0) : x1] = False
    return float(np.abs(picture.astype(float) - plain)[free].mean())


def table(rows: list[dict[str, Any]]) -> str:
    """Shares of things that have a look, its own ones and the others, with 95 % intervals (Wilson)."""
    lines = []
    for method in METHODS:
        cells = []
        for name in FIELDS:
            for mine in (True, False):
                things = [
                    one
                    for row in rows
                    for index, one in enumerate(row[method]["looks"])
                    if one is not None and (index == row["own"][name]) == mine
                ]
                cells.append(share(sum(one[name] == name for one in things), len(things)))
        free = [
            right
            for row in rows
            for index, right in enumerate(row[method]["right"])
            if index not in row["own"].values()
        ]
        changed = np.mean([row[method]["outside"] for row in rows])
        lines.append(f"| {method} | {' | '.join(cells)} | {share(sum(free), len(free))} | {changed:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
