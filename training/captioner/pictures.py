"""Pictures with their truth for a captioner: painted, through an autoencoder, and drawn by a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from numpy.typing import NDArray
from PIL import Image

from ...hosts.diffusers_sdxl import generate_base
from ...pictures.reading import read_picture
from ...shapes_world import Look, Phrase, Sample, ShapesWorld, caption
from ...shapes_world.judge import UNKNOWN, read_background, read_things
from ...shapes_world.vocabulary import size_word
from ..data.pictures import decode, posterior, to_bytes, to_tensor
from ..engine.progress import progress_bar

# Pictures of training; held-out ones have another seed.
TRAINING_SEED, DECODED_SEED, DRAWN_SEED, HELD_OUT_SEED = 21, 22, 23, 24
# At a time through an autoencoder, or drawn.
_TOGETHER = 8


class Captioned(NamedTuple):
    """A picture (height, width, 3) of bytes, the masks of its things (N, height, width), and what they are.

    Each phrase names the size if there is a word for it.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    phrases: tuple[Phrase, ...]
    background: str


class Source(Protocol):
    """Numbered pictures, the same ones under the same number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Captioned: ...


@dataclass(frozen=True)
class Painted:
    """The first `count` pictures of a world, painted when they are needed."""

    world: ShapesWorld
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Captioned:
        return _of_sample(self.world[number])


class Kept:
    """Pictures in files of a folder, whose truth is that of `truth(number, image)`; None leaves one out."""

    def __init__(
        self, folder: Path, count: int, truth: Callable[[int, NDArray[np.uint8]], Captioned | None]
    ) -> None:
        images = (np.asarray(read_picture(_file(folder, number))) for number in range(count))
        found = (truth(number, image) for number, image in enumerate(images))
        self._pictures = [one for one in found if one is not None]

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, number: int) -> Captioned:
        return self._pictures[number]


def decoded_pictures(
    pipeline: StableDiffusionXLPipeline, world: ShapesWorld, count: int, folder: Path
) -> Kept:
    """Painted pictures after the autoencoder of a model, made once, kept in `folder`."""

    @torch.no_grad()
    def make(numbers: Sequence[int]) -> NDArray[np.uint8]:
        pictures = to_tensor(np.stack([world[number].image for number in numbers]))
        return to_bytes(decode(pipeline.vae, posterior(pipeline.vae, pictures.to(pipeline.device)).mode()))

    def truth(number: int, image: NDArray[np.uint8]) -> Captioned:
        return _of_sample(world[number])._replace(image=image)

    _make_once("decode", make, count, folder)
    return Kept(folder, count, truth)


def drawn_pictures(pipeline: StableDiffusionXLPipeline, world: ShapesWorld, count: int, folder: Path) -> Kept:
    """Pictures that a model draws of a world's captions, made once; what is in them is what the judge sees.

    Those in which it sees nothing, or something it cannot name, are left out.
    """

    def make(numbers: Sequence[int]) -> NDArray[np.uint8]:
        prompts = [caption(world.scene(number)) for number in numbers]
        return generate_base(pipeline, prompts, world.height, world.width, seed=numbers[0])

    _make_once("draw", make, count, folder)
    return Kept(folder, count, lambda _, image: read_captioned(image))


def read_captioned(image: NDArray[np.uint8]) -> Captioned | None:
    """A picture with what the judge finds in it; None where that is nothing, or nothing it has words for."""
    readings = read_things(image)
    if not readings or any(UNKNOWN in (one.shape, one.color, one.pattern) for one in readings):
        return None
    height, width, _ = image.shape
    phrases: list[Phrase] = []
    for one in readings:
        x0, y0, x1, y1 = one.box
        size = max((x1 - x0) * width, (y1 - y0) * height) / (width * height) ** 0.5
        phrases.append(Phrase(Look(one.shape, one.color, one.pattern), size_word(size)))
    masks = np.stack([one.mask for one in readings])
    return Captioned(image, masks, tuple(phrases), read_background(image))


def _of_sample(sample: Sample) -> Captioned:
    scene = sample.scene
    side = (scene.width * scene.height) ** 0.5
    phrases = (Phrase(figure.look, size_word(figure.diameter / side)) for figure in scene.figures)
    return Captioned(sample.image, sample.masks, tuple(phrases), scene.background)


def _make_once(
    word: str, make: Callable[[Sequence[int]], NDArray[np.uint8]], count: int, folder: Path
) -> None:
    """Write the pictures that are missing of the first `count`; an interruption leaves whole ones."""
    folder.mkdir(parents=True, exist_ok=True)
    # Always the same ones together: noise may depend on it.
    parts = [range(first, min(first + _TOGETHER, count)) for first in range(0, count, _TOGETHER)]
    with progress_bar(word, "picture", count) as progress:
        for numbers in parts:
            if not all(_file(folder, number).is_file() for number in numbers):
                for number, picture in zip(numbers, make(numbers), strict=True):
                    beginning = _file(folder, number).with_suffix(".part")
                    Image.fromarray(picture).save(beginning, format="PNG")
                    os.replace(beginning, _file(folder, number))
            progress.update(len(numbers))


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.png"
