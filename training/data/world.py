"""Shapes World as training data: its pictures of one size, encoded once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from diffusers import AutoencoderKL

from ...shapes_world import ShapesWorld, Weights
from .latents import LatentSet, blank_shards, encode_once, is_encoded

# Pictures to train on; samples, calibration and evaluation draw from other seeds.
TRAINING_SEED, HELD_OUT_SEED = 1, 2
# Pictures that stand for all where none is painted.
_FEW = 64


class Pictures(NamedTuple):
    """Encoded pictures of one size, each with so many figures, or with 1 to 5, of one pattern or of any.

    `related` is the share of captions with a relation, `weights` make looks with some words more likely.
    """

    width: int
    height: int
    number: int
    figures: int | None = None
    pattern: str | None = None
    related: float = 0.0
    weights: Weights = ()


def encoded_world(
    autoencoder: AutoencoderKL,
    pictures: Pictures,
    folder: Path,
    *,
    blank: bool = False,
    held_out: bool = False,
) -> LatentSet:
    """The first training pictures of a size, encoded now or earlier, in a folder of their own in `folder`.

    With `blank` nothing is encoded: where not all is there, latents are zero and a few layouts stand for all.
    With `held_out` they are others than those of training, of the same looks.
    """
    seed = HELD_OUT_SEED if held_out else TRAINING_SEED
    width, height, number, figures, pattern, related, weights = pictures
    world = ShapesWorld(
        seed, width, height, figures=figures, pattern=pattern, related=related, weights=weights
    )
    description: dict[str, Any] = {"world": "shapes", "seed": seed, "width": width, "height": height}
    name = f"latents-{width}x{height}"
    if figures is not None:
        description["figures"] = figures
        name += f"-{figures}"
    if pattern is not None:
        description["pattern"] = pattern
        name += f"-{pattern}"
    if related:
        description["related"] = related
        name += f"-related-{related:g}"
    if weights:
        description["weights"] = [[*one] for one in weights]
        name += "".join(f"-{word}-{weight:g}" for word, weight in weights)
    if held_out:
        name += "-held-out"
    place = folder / name
    if blank and is_encoded(place, number, autoencoder, description):
        return LatentSet.load(place)
    if blank:
        few = min(number, _FEW)
        shown = [world[one].layout.to_dict() for one in range(few)]
        note = f"{number} pictures of Shapes World are painted and encoded first"
        if few < number:
            note += f"; here the first {few} stand for all"
        places = [one % few for one in range(number)]
        told = json.dumps(description, sort_keys=True)
        return LatentSet(blank_shards(width, height, shown), places, fingerprint=told, notes=(note,))
    return encode_once(world, number, autoencoder, place, description)
