"""Pictures of the demo model, six of each prompt, and their rankings by the judge of Shapes World.

`python scripts/ranked_pictures.py runs/demo/ranked` writes the pictures and `rankings.jsonl`, from which
`train feedback --rankings` made `demo/composition_lora.safetensors`. Prompts are of two to four things with
looks that training shows, most of them with a relation. With `--rewards` reward models rank in place of the
judge. A quarter of an hour of one core; what is there already is not drawn again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_with import check_made_with
from PIL import Image
from tqdm import tqdm

from instance_composer.demo import FOLDER
from instance_composer.evaluation.benchmarks.best_of_n import Reward, load_rewards
from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.hosts.diffusers_sdxl.pipeline import generate_base
from instance_composer.models.rewards import ASPECTS, prepare_pictures
from instance_composer.models.weights import digest_of_model
from instance_composer.shapes_world import ShapesWorld
from instance_composer.shapes_world.preferences import Wish, measure, read_content, wish_for

SIDE, PICTURES = 128, 6
# The demo model is trained on scenes of seed 1, rewards on 11 and 12, options of feedback are measured on 14,
# the loop draws those of 15.
SEED = 21


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where pictures and rankings go")
    parser.add_argument("--model", type=Path, default=FOLDER, help="diffusers folder (demo)")
    parser.add_argument("--rewards", type=Path, help="folder of reward models that rank (the judge does)")
    parser.add_argument("--prompts", type=int, default=240, help="how many (240)")
    parser.add_argument("--steps", type=int, default=12, help="sampling steps (12)")
    arguments = parser.parse_args()
    pictures = arguments.folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    asked = {"model": digest_of_model(arguments.model), "steps": arguments.steps}
    check_made_with(arguments.folder / "made-with.json", asked, any(pictures.glob("*.png")))
    pipeline = load_sdxl(arguments.model)
    rewards = None if arguments.rewards is None else load_rewards(arguments.rewards)
    lines: list[str] = []
    for number in tqdm(range(arguments.prompts), unit="prompt"):
        wish = wanted(number)
        files = draw(pipeline, wish.prompt, number, arguments)
        drawn = [Image.open(file) for file in files]
        scores = truths(wish, drawn) if rewards is None else rewarded(rewards, wish, drawn)
        ranks = {
            aspect: [1 + sum(other > own for other in values) for own in values]
            for aspect, values in scores.items()
        }
        names = [file.relative_to(arguments.folder).as_posix() for file in files]
        lines.append(json.dumps({"prompt": wish.prompt, "images": names, "ranks": ranks}))
    beginning = arguments.folder / "rankings.jsonl.part"
    beginning.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    beginning.replace(arguments.folder / "rankings.jsonl")
    return 0


def wanted(number: int) -> Wish:
    """The wish of this number; the same on every machine."""
    world = ShapesWorld(SEED, SIDE, SIDE, figures=2 + number % 3)
    return wish_for(np.random.default_rng([SEED, number]), world.scene(number))


def draw(pipeline: Any, prompt: str, number: int, arguments: argparse.Namespace) -> list[Path]:
    """The files of a prompt's pictures, drawn now or earlier."""
    files = [arguments.folder / "pictures" / f"{number:05d}-{one}.png" for one in range(PICTURES)]
    if not all(file.is_file() for file in files):
        seed = 100_000 + number * PICTURES
        drawn = generate_base(
            pipeline, [prompt] * PICTURES, SIDE, SIDE, steps=arguments.steps, guidance=3.0, seed=seed
        )
        for file, picture in zip(files, drawn, strict=True):
            beginning = file.with_suffix(".part")
            Image.fromarray(picture).save(beginning, "png")
            beginning.replace(file)
    return files


def truths(wish: Wish, pictures: Sequence[Image.Image]) -> dict[str, list[float]]:
    """What the judge measures of each picture in each aspect that the wish says something of."""
    measured = [measure(wish, read_content(np.asarray(picture.convert("RGB")))) for picture in pictures]
    return {
        aspect: [one[place] for one in measured]
        for place, aspect in enumerate(ASPECTS)
        if not any(math.isnan(one[place]) for one in measured)
    }


@torch.no_grad()
def rewarded(
    rewards: Mapping[str, Reward], wish: Wish, pictures: Sequence[Image.Image]
) -> dict[str, list[float]]:
    """Each picture's reward in the same aspects."""
    scores: dict[str, list[float]] = {}
    for aspect, (model, tokenizer) in rewards.items():
        if aspect == "spatial" and not wish.relation:
            continue
        ids, mask, _ = tokenizer([wish.prompt] * len(pictures))
        scores[aspect] = model.score(prepare_pictures(pictures, model.config.image_size), ids, mask).tolist()
    return scores


if __name__ == "__main__":
    sys.exit(main())
