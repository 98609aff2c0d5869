"""Best of N pictures of Shapes World's model, chosen in different ways, and how much better it is.

`best`: for each prompt ("a red striped circle left of a blue square on grey") eight pictures are drawn,
relation included. Chosen by

- `reward`: the mean of the three composition rewards on their common scale;
- `likelihood`: how much better the demo model predicts noise in the picture with the caption than without
  (diffusion classifier, arXiv 2303.16203): the text-image similarity the demo's own encoders and UNet give;
- `chance`: the mean over all pictures;
- `truth`: what the judge measures, the most any way of choosing can reach.

What is chosen is measured by the judge: `attribute` is binding (share of named shapes, colours and
patterns on the right things), `spatial` whether the relation holds, `non-spatial` number, sizes and
background. Means over prompts with 95 % intervals; "reward less chance" is the difference on the same
pictures. For N below eight the eight pictures are cut into groups.

`pairs`: accuracy of the rewards on held-out pairs of renders, of known looks and of combinations never seen;
"alone" are pairs of pictures that differ in this aspect and in no other; "spatial relations" are pictures in
which two things have exchanged their places and nothing else is different, two pairs a comparison.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ...hosts.diffusers_sdxl import load_sdxl
from ...hosts.diffusers_sdxl.pipeline import generate_base
from ...models.rewards import (
    ASPECTS,
    RewardModel,
    RewardTokenizer,
    combine,
    find_tokenizer,
    prepare_pictures,
    reward_files,
    share_with_error,
)
from ...shapes_world import ShapesWorld, Split, paint
from ...shapes_world.preferences import (
    FEW_THINGS,
    Comparisons,
    Wish,
    measure,
    read_content,
    wish_for,
)
from ...shapes_world.relation_pairs import RelationPairs

# Reward models are trained on pictures of seed 11 and chosen by those of 12.
_SEED = 13
PICTURES = 8
# A prompt with a relation names two of the things of a scene, and a scene of the world has up to eight.
MOST_THINGS = 8
NUMBERS = (1, 2, 4, 8)
_RELATIONS = "spatial relations"
# Where noise hides neither everything nor nothing.
TIMESTEPS = (200, 400, 600, 800)

Reward = tuple[RewardModel, RewardTokenizer]


def load_rewards(folder: Path) -> dict[str, Reward]:
    rewards: dict[str, Reward] = {}
    for aspect, path in reward_files(folder).items():
        model = RewardModel.load(path)
        config = model.config
        rewards[aspect] = model, find_tokenizer(path, model.metadata, config.vocabulary, config.tokens)
    return rewards


@torch.no_grad()
def reward_scores(rewards: Mapping[str, Reward], pictures: Sequence[Image.Image], prompt: str) -> Tensor:
    """Combined rewards (N,), all aspects alike."""
    scores: dict[str, Tensor] = {}
    for aspect, (model, tokenizer) in rewards.items():
        ids, mask, _ = tokenizer([prompt] * len(pictures))
        scores[aspect] = model.score(prepare_pictures(pictures, model.config.image_size), ids, mask)
    return combine(scores, dict.fromkeys(scores, 1.0))


@torch.no_grad()
def likelihoods(pipeline: Any, pictures: NDArray[np.uint8], caption: str) -> Tensor:
    """Fall (N,) of the error of predicted noise when the caption is given."""
    count, height, width, _ = pictures.shape
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
    prompt, _, pooled, _ = pipeline.encode_prompt(caption, do_classifier_free_guidance=False)
    # SDXL's six numbers of an uncropped picture.
    sizes = torch.tensor([(height, width, 0, 0, height, width)] * count, dtype=torch.float32)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    gain = torch.zeros(count)
    kept = pipeline.scheduler.alphas_cumprod
    for step in TIMESTEPS:
        share = kept[step]
        noisy = share.sqrt() * latents + (1 - share).sqrt() * noise
        errors = []
        for scale in (0.0, 1.0):
            conditions = {"text_embeds": (scale * pooled).expand(count, -1), "time_ids": sizes}
            words = (scale * prompt).expand(count, -1, -1)
            found = pipeline.unet(noisy, torch.tensor([step]), words, added_cond_kwargs=conditions).sample
            if pipeline.scheduler.config.prediction_type == "v_prediction":
                found = share.sqrt() * found + (1 - share).sqrt() * noisy
            errors.append((found - noise).square().mean(dim=(1, 2, 3)))
        gain += errors[0] - errors[1]
    return gain / len(TIMESTEPS)


def wishes(count: int, things: int) -> list[Wish]:
    """Prompts with a relation, of looks known from training."""
    world = ShapesWorld(_SEED, figures=things)
    found: list[Wish] = []
    number = 0
    while len(found) < count:
        wish = wish_for(np.random.default_rng([_SEED, number]), world.scene(number))
        if wish.relation:
            found.append(wish)
        number += 1
    return found


def measure_best_of_n(arguments: argparse.Namespace) -> dict[str, Any]:
    pipeline = load_sdxl(arguments.model)
    rewards = load_rewards(arguments.rewards)
    truths: list[Tensor] = []
    choices: dict[str, list[Tensor]] = {"reward": [], "likelihood": [], "truth": []}
    for number, wish in enumerate(tqdm(wishes(arguments.prompts, arguments.things), unit="prompt")):
        pictures = generate_base(
            pipeline,
            [wish.prompt] * PICTURES,
            128,
            128,
            steps=arguments.steps,
            guidance=arguments.guidance,
            seed=1000 * number,
        )
        truth = torch.tensor([measure(wish, read_content(picture)) for picture in pictures])
        truths.append(truth)
        shown = [Image.fromarray(picture) for picture in pictures]
        choices["reward"].append(reward_scores(rewards, shown, wish.prompt))
        choices["likelihood"].append(likelihoods(pipeline, pictures, wish.prompt))
        choices["truth"].append(truth.sum(dim=1))
    stacked = torch.stack(truths)
    chosen = {"chance": dict.fromkeys(NUMBERS, stacked.mean(dim=1))}
    for name, scores in choices.items():
        chosen[name] = {n: _chosen(stacked, torch.stack(scores), n) for n in NUMBERS}
    return {
        "prompts": len(truths),
        "things": arguments.things,
        "table": {name: {n: _mean(own) for n, own in of.items()} for name, of in chosen.items()},
        "gain": {
            name: {n: _mean(chosen["reward"][n] - chosen[name][n]) for n in NUMBERS[1:]}
            for name in ("chance", "likelihood")
        },
    }


def _chosen(truth: Tensor, scores: Tensor, number: int) -> Tensor:
    """Truth (prompts, aspects) of the best of each group of `number` pictures, averaged over groups."""
    groups = scores.unflatten(1, (-1, number))
    best = groups.argmax(dim=2, keepdim=True)
    values = truth.unflatten(1, (-1, number))
    picked = values.gather(2, best[..., None].expand(-1, -1, -1, truth.shape[-1]))
    return picked[:, :, 0].mean(dim=1)


def _mean(values: Tensor) -> list[tuple[float, float]]:
    """Mean and half the 95 % interval of values (prompts, aspects) for each aspect."""
    error = 1.96 * values.std(dim=0) / math.sqrt(len(values))
    return [
        (round(m, 4), round(e, 4)) for m, e in zip(values.mean(dim=0).tolist(), error.tolist(), strict=True)
    ]


@torch.no_grad()
def measure_pairs(arguments: argparse.Namespace) -> dict[str, Any]:
    rewards = load_rewards(arguments.rewards)
    found: dict[str, Any] = {}
    for split in ("train", "held-out"):
        world = Comparisons(_SEED, split=split, figures=FEW_THINGS)
        shares: dict[str, list[tuple[int, int]]] = {name: [] for name in (*ASPECTS, *map(_alone, ASPECTS))}
        for number in tqdm(range(arguments.comparisons), desc=split, unit="comparison"):
            comparison = world[number]
            pictures = [Image.fromarray(paint(scene).image) for scene in comparison.scenes]
            prompts = [wish.prompt for wish in comparison.wishes]
            for place, aspect in enumerate(ASPECTS):
                pairs = comparison.pairs(place)
                if not pairs or aspect not in rewards:
                    continue
                values = _rewards(rewards[aspect], pictures, prompts)
                right = [bool(values[p, better] > values[p, worse]) for p, better, worse in pairs]
                alone = [
                    r
                    for r, pair in zip(right, pairs, strict=True)
                    if _differs_alone(comparison.truth, place, *pair)
                ]
                shares[aspect].append((sum(right), len(right)))
                shares[_alone(aspect)].append((sum(alone), len(alone)))
        if "spatial" in rewards:
            shares[_RELATIONS] = _relation_shares(rewards["spatial"], split, arguments.comparisons)
        found[split] = {}
        for name, own in shares.items():
            share, error = share_with_error([one for one in own if one[1]])
            count = sum(total for _, total in own)
            found[split][name] = {
                "accuracy": round(share, 4),
                "error": round(1.96 * error, 4),
                "pairs": count,
            }
    return found


def _relation_shares(reward: Reward, split: Split, count: int) -> list[tuple[int, int]]:
    """Of each relation pair's two prompts, how many the spatial reward has right."""
    world = RelationPairs(_SEED, split=split)
    shares: list[tuple[int, int]] = []
    for number in tqdm(range(count), desc=f"{split}, {_RELATIONS}", unit="comparison"):
        comparison = world[number]
        pictures = [Image.fromarray(paint(scene).image) for scene in comparison.scenes]
        values = _rewards(reward, pictures, [wish.prompt for wish in comparison.wishes])
        pairs = comparison.pairs(ASPECTS.index("spatial"))
        shares.append((sum(bool(values[p, a] > values[p, b]) for p, a, b in pairs), len(pairs)))
    return shares


def _alone(aspect: str) -> str:
    return f"{aspect} alone"


def _differs_alone(truth: NDArray[np.float64], place: int, prompt: int, better: int, worse: int) -> bool:
    """Whether two pictures are as true of a prompt in both other aspects."""
    others = [n for n in range(len(ASPECTS)) if n != place]
    return np.array_equal(truth[prompt, better, others], truth[prompt, worse, others], equal_nan=True)


def _rewards(reward: Reward, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
    """Raw rewards (prompts, pictures) of all pictures for all prompts; a picture is seen once."""
    model, tokenizer = reward
    seen = model.see(prepare_pictures(pictures, model.config.image_size))
    ids, mask, _ = tokenizer(prompts)
    rows = ((part[n].expand(len(seen), -1) for part in (ids, mask)) for n in range(len(prompts)))
    return torch.stack([model.reward(model.read(seen, *row))[:, 0] for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    best = commands.add_parser("best", help="the best of N generated pictures")
    best.add_argument("--model", type=Path, required=True, help="diffusers folder of the demo model")
    # Of one prompt there is no interval, and of one thing no relation, which every prompt has.
    best.add_argument("--prompts", type=_number(int, 2), default=100, help="how many prompts (100)")
    best.add_argument("--things", type=_number(int, 2, MOST_THINGS), default=2, help="things in a prompt (2)")
    best.add_argument("--steps", type=_number(int, 1, 1000), default=25, help="sampling steps (25)")
    best.add_argument("--guidance", type=_number(float, 0), default=5.0, help="guidance scale (5)")
    best.set_defaults(run=measure_best_of_n)
    pairs = commands.add_parser("pairs", help="accuracy on held-out pairs of renders")
    pairs.add_argument(
        "--comparisons", type=_number(int, 1), default=300, help="comparisons of each split (300)"
    )
    pairs.set_defaults(run=measure_pairs)
    for command in (best, pairs):
        command.add_argument("--rewards", type=Path, required=True, help="folder of the reward models")
        command.add_argument("--out", type=Path, help="JSON file for the numbers")
    arguments = parser.parse_args()
    found = arguments.run(arguments)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    _print(found)


def _number(kind: type[int] | type[float], lowest: int, highest: int = 1_000_000) -> Callable[[str], float]:
    """A reader of numbers in a range, both ends allowed."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest:
            whole = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f'a {whole} from {lowest} to {highest} is needed, got "{text}"')
        return value

    return read


def _print(found: dict[str, Any]) -> None:
    if "table" not in found:
        for split, aspects in found.items():
            for aspect, own in aspects.items():
                print(
                    f"{split:9} {aspect:18} {own['accuracy']:.3f} ± {own['error']:.3f} ({own['pairs']} pairs)"
                )
        return
    print(f"{found['prompts']} prompts of {found['things']} things")
    for place, aspect in enumerate(ASPECTS):
        print(f"\n{aspect:12}" + "".join(f"{f'best of {n}':>18}" for n in NUMBERS))
        for name, own in found["table"].items():
            cells = (f"{own[n][place][0]:.3f} ± {own[n][place][1]:.3f}" for n in NUMBERS)
            print(f"{name:12}" + "".join(f"{cell:>18}" for cell in cells))
        for name, own in found["gain"].items():
            gains = (f"{own[n][place][0]:+.3f} ± {own[n][place][1]:.3f}" for n in NUMBERS[1:])
            print(f"reward less {name:<18}" + "".join(f"{gain:>18}" for gain in gains))


if __name__ == "__main__":
    sys.exit(main())
