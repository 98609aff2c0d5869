"""A gallery of Shapes World for IterComp's loop: prompts in all aspects, their layouts, six ways of drawing.

`python scripts/shapes_world_loop.py runs/loop` writes `gallery.toml` and what it names into the run's folder;
nothing is drawn. Then `instance-composer train itercomp runs/loop --rewards demo/rewards --judge world
--iterations 3` is the loop. Prompts are of two or three things with looks that training shows, every
third held out; those of the spatial aspect say a relation. `tuning.txt` has others to tune on. What is
there already is not written over.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from instance_composer.demo import ADAPTER
from instance_composer.models.rewards import ASPECTS
from instance_composer.shapes_world import Scene, ShapesWorld, make_sample
from instance_composer.shapes_world.preferences import Wish, wish_for

DEMO = Path(__file__).resolve().parents[1] / "demo"
SIDE = 128
# The demo model is trained on scenes of seed 1, rewards on 11 and 12, options of feedback are measured on 14.
SEED = 15
# Only two and three things: with more the demo model is so often wrong that all members tie.
FIGURES = (2, 3)
# Prompts to tune on for each one of an aspect, unless said otherwise: they need no layout, and no picture of
# other members.
TUNING = 6


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the loop's folder")
    parser.add_argument(
        "--model",
        type=Path,
        default=DEMO,
        help="packed model with its adapter and composition LoRA, else with the demo's (demo)",
    )
    parser.add_argument("--prompts", type=int, default=120, help="prompts of each aspect (120)")
    parser.add_argument("--tuning", type=int, help=f"prompts to tune on ({TUNING} for each of an aspect)")
    parser.add_argument(
        "--held-out", type=int, default=3, help="of so many prompts one is for measuring alone (3)"
    )
    parser.add_argument("--steps", type=int, default=12, help="sampling steps of all members but one (12)")
    arguments = parser.parse_args()
    file = arguments.folder / "gallery.toml"
    if file.exists():
        print(f"{file} is there already; choose another folder, or remove it first", file=sys.stderr)
        return 2
    write_prompts(arguments.folder, arguments.prompts)
    count = TUNING * arguments.prompts if arguments.tuning is None else arguments.tuning
    wanted = asked(len(ASPECTS), count)
    text = "".join(f"{wish.prompt}\n" for wish, _ in wanted)
    (arguments.folder / "tuning.txt").write_text(text, encoding="utf-8")
    file.write_text(gallery(arguments.model.resolve(), arguments.steps, arguments.held_out), encoding="utf-8")
    print(f"{file}: {arguments.prompts} prompts of each aspect, one of {arguments.held_out} held out")
    return 0


def write_prompts(folder: Path, count: int) -> None:
    """A text file of prompts for each aspect, and a layout for each prompt."""
    (folder / "layouts").mkdir(parents=True, exist_ok=True)
    for place, aspect in enumerate(ASPECTS):
        wanted = asked(place, count)
        text = "".join(f"{wish.prompt}\n" for wish, _ in wanted)
        (folder / f"{aspect}.txt").write_text(text, encoding="utf-8")
        for number, (_, scene) in enumerate(wanted):
            # Without a prompt of its own a layout is drawn with that of the gallery.
            layout = replace(make_sample(scene).layout, prompt="")
            (folder / "layouts" / f"{aspect}-{number:05d}.json").write_text(layout.to_json(), "utf-8")


def asked(place: int, count: int) -> list[tuple[Wish, Scene]]:
    """Wishes and the scenes they come from, of an aspect or after them; the same on every machine."""
    found: list[tuple[Wish, Scene]] = []
    number = 0
    while len(found) < count:
        world = ShapesWorld(SEED + 100 * place, SIDE, SIDE, figures=FIGURES[number % len(FIGURES)])
        scene = world.scene(number)
        wish = wish_for(np.random.default_rng([SEED, place, number]), scene)
        # Spatial prompts and those to tune on say a relation; the others say one or none, as it comes.
        if wish.relation or place not in (ASPECTS.index("spatial"), len(ASPECTS)):
            found.append((wish, scene))
        number += 1
    return found


def gallery(model: Path, steps: int, held_out: int) -> str:
    """The gallery's file: plain, hasty, tuned by rewards, attention in place, placed, and one that joins."""
    plain = f'model = "{model}"\nguidance = 3.0\n'
    tuned = f'lora = "{beside(model, "composition_lora.safetensors")}"\n'
    members = {
        "demo": f'kind = "diffusers"\n{plain}steps = {steps}',
        "hasty": f'kind = "diffusers"\n{plain}steps = {max(steps // 3, 1)}',
        "composed": f'kind = "diffusers"\n{plain}{tuned}steps = {steps}',
        "bound": f'kind = "concentration"\n{plain}layouts = "layouts"\nsteps = {steps}',
        "placed": f'kind = "ifadapter"\n{plain}adapter = "{beside(model, ADAPTER)}"\n'
        f'layouts = "layouts"\nsteps = {steps}',
        "bound-and-composed": f'kind = "concentration"\n{plain}{tuned}layouts = "layouts"\nsteps = {steps}\n'
        "joins = 1",
    }
    head = f'base = "demo"\nsize = "{SIDE}x{SIDE}"\nseed = {SEED}\nheld-out = {held_out}\n\n[prompts]\n'
    prompts = "".join(f'{aspect} = "{aspect}.txt"\n' for aspect in ASPECTS)
    tables = "".join(f"\n[members.{name}]\n{table}\n" for name, table in members.items())
    return head + prompts + tables


def beside(model: Path, name: str) -> Path:
    """The file of this name that a packed model has, else the demo's."""
    return next(file for file in (model / name, DEMO / name) if file.is_file())


if __name__ == "__main__":
    sys.exit(main())
