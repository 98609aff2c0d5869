"""Pictures with their truth for a captioner: painted, through an autoencoder, and drawn by a model."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

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
from ..data.errors import SourceError
from ..data.pictures import decode, posterior, to_bytes, to_tensor
from ..engine.fingerprint import of_weights
from ..engine.processes import this_process, wait_for_all
from ..engine.progress import progress_bar

# Pictures of training; held-out ones have another seed.
TRAINING_SEED, DECODED_SEED, DRAWN_SEED, HELD_OUT_SEED = 21, 22, 23, 24
# At a time through an autoencoder, or drawn.
_TOGETHER = 8
# Beside pictures of a model: by which they were made.
_ABOUT = "index.json"

logger = logging.getLogger("instance_composer")


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


class Made:
    """Pictures made of a world's by a model, once, and kept in files of a folder.

    `make` makes those of some numbers, `truth` says what one shows, None leaves it out. `about` is what they
    depend on, kept beside them: `SourceError` for a folder in which it is something else. Until all of them
    are there, painted pictures stand in for them; another process may make some.
    """

    def __init__(
        self,
        folder: Path,
        world: ShapesWorld,
        count: int,
        about: Mapping[str, Any],
        make: Callable[[Sequence[int]], NDArray[np.uint8]],
        truth: Callable[[int, NDArray[np.uint8]], Captioned | None],
    ) -> None:
        self.folder, self.world, self.count = folder, world, count
        self._about = {**about, "size": [world.width, world.height], "seed": world.seed}
        self._make: Callable[[Sequence[int]], NDArray[np.uint8]] | None = make
        self._truth = truth
        self._pictures: list[Captioned] | None = None
        self._check()
        if not self.missing:
            self._read()

    @property
    def complete(self) -> bool:
        """Whether these are the pictures themselves."""
        return self._pictures is not None

    @property
    def missing(self) -> int:
        """How many pictures are not there yet."""
        return sum(not _file(self.folder, number).is_file() for number in range(self.count))

    def __len__(self) -> int:
        return self.count if self._pictures is None else len(self._pictures)

    def __getitem__(self, number: int) -> Captioned:
        return _of_sample(self.world[number]) if self._pictures is None else self._pictures[number]

    def prepare(self, word: str) -> None:
        """Make what is missing, each process its share; an interruption leaves whole pictures."""
        if not (self.folder / _ABOUT).is_file():
            self._write_about()
        state = this_process()
        # Always the same ones together: noise may depend on it.
        parts = [
            range(first, min(first + _TOGETHER, self.count)) for first in range(0, self.count, _TOGETHER)
        ]
        mine = parts[state.process_index :: state.num_processes]
        shown = state.is_main_process
        with progress_bar(word, "picture", sum(map(len, mine)), shown=shown) as progress:
            for numbers in mine:
                if self._make and not all(_file(self.folder, number).is_file() for number in numbers):
                    for number, picture in zip(numbers, self._make(numbers), strict=True):
                        beginning = self.folder / f"{number:06d}-{os.getpid()}.part"
                        Image.fromarray(picture).save(beginning, format="PNG")
                        os.replace(beginning, _file(self.folder, number))
                progress.update(len(numbers))
        wait_for_all()
        if self._pictures is None:
            self._read()

    def _read(self) -> None:
        found = (self._truth(number, self._image(number)) for number in range(self.count))
        self._pictures = [one for one in found if one is not None]
        # The model need not be held any longer.
        self._make = None

    def _image(self, number: int) -> NDArray[np.uint8]:
        file = _file(self.folder, number)
        image = np.asarray(read_picture(file))
        height, width, _ = image.shape
        if (height, width) != (self.world.height, self.world.width):
            raise SourceError(
                f"{file} is {width}x{height} pixels and the run's pictures are {self.world.width}x"
                f"{self.world.height}; choose another folder for this run, or delete {self.folder} to have "
                "its pictures made anew"
            )
        return image

    def _check(self) -> None:
        """`SourceError` for pictures of another model or world, where it was written down."""
        file = self.folder / _ABOUT
        if not file.is_file():
            if self.missing < self.count:
                logger.warning(
                    "%s does not say which model made its pictures, as those of earlier versions; they are "
                    "taken for this run's. Delete it to have them made anew",
                    self.folder,
                )
            return
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = sorted(k for k in {*before, *self._about} if before.get(k) != self._about.get(k))
        if changed:
            raise SourceError(
                f"{self.folder} holds pictures that were made otherwise ({', '.join(changed)} differ); "
                "choose another folder for this run, or delete that one to have them made anew"
            )

    def _write_about(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Another process may be writing too: what is there must be all of it.
        beginning = self.folder / f"index-{os.getpid()}.part"
        beginning.write_text(json.dumps(self._about) + "\n", encoding="utf-8")
        os.replace(beginning, self.folder / _ABOUT)


class OfModel:
    """All pictures that a model makes for a run: decoded and drawn ones, and drawn ones to measure on.

    `model` is what it was asked for as, `digest` of its weights. Each kind is left out at 0.
    """

    def __init__(
        self,
        pipeline: StableDiffusionXLPipeline,
        model: Path,
        folder: Path,
        size: int,
        decoded: int,
        drawn: int,
        held_out: int,
    ) -> None:
        self.model = model
        self.digest = of_weights(pipeline.vae, pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2)
        self.decoded = self.drawn = self.drawn_held_out = None
        if decoded:
            world = ShapesWorld(DECODED_SEED, size, size)
            self.decoded = decoded_pictures(pipeline, world, decoded, folder / "decoded", self.digest)
        if drawn:
            world = ShapesWorld(DRAWN_SEED, size, size)
            self.drawn = drawn_pictures(pipeline, world, drawn, folder / "drawn", self.digest)
            world = ShapesWorld(HELD_OUT_SEED, size, size, "held-out")
            place = folder / "drawn-held-out"
            self.drawn_held_out = drawn_pictures(pipeline, world, held_out, place, self.digest)

    @property
    def to_learn_from(self) -> list[Made]:
        return [one for one in (self.decoded, self.drawn) if one is not None]

    @property
    def complete(self) -> bool:
        """Whether all are there."""
        return all(one.complete for one in (*self.to_learn_from, self.drawn_held_out) if one is not None)

    def account(self) -> Iterable[str]:
        """What is still to be made, for people."""
        parts = (
            ("decodes", self.decoded),
            ("draws", self.drawn),
            ("draws to measure on", self.drawn_held_out),
        )
        told = [f"{word} {one.missing}" for word, one in parts if one is not None and one.missing]
        if told:
            yield f"before the first step {self.model} {', '.join(told)} pictures, painted ones stand in here"

    def prepare(self) -> None:
        """Make what is missing; `SourceError` if the judge can read nothing of what is drawn."""
        for word, one in (
            ("decode", self.decoded),
            ("draw", self.drawn),
            ("draw", self.drawn_held_out),
        ):
            if one is not None:
                one.prepare(word)
        if self.drawn is None:
            return
        readable, drawn = len(self.drawn), self.drawn.count
        if not readable:
            raise SourceError(
                f"of {drawn} pictures that {self.model} drew, the judge of Shapes World can read none; give "
                "a model of Shapes World, such as demo, or --drawn 0"
            )
        logger.info("%d of %d drawn pictures have things in them that the judge can name", readable, drawn)


def decoded_pictures(
    pipeline: StableDiffusionXLPipeline, world: ShapesWorld, count: int, folder: Path, model: str
) -> Made:
    """Painted pictures after the autoencoder of a model, kept in `folder`; `model` is its digest."""

    @torch.no_grad()
    def make(numbers: Sequence[int]) -> NDArray[np.uint8]:
        pictures = to_tensor(np.stack([world[number].image for number in numbers]))
        return to_bytes(decode(pipeline.vae, posterior(pipeline.vae, pictures.to(pipeline.device)).mode()))

    def truth(number: int, image: NDArray[np.uint8]) -> Captioned:
        return _of_sample(world[number])._replace(image=image)

    return Made(folder, world, count, {"model": model}, make, truth)


def drawn_pictures(
    pipeline: StableDiffusionXLPipeline, world: ShapesWorld, count: int, folder: Path, model: str
) -> Made:
    """Pictures that a model draws of a world's captions; what is in them is what the judge sees.

    Those in which it sees nothing, or something it cannot name, are left out.
    """

    def make(numbers: Sequence[int]) -> NDArray[np.uint8]:
        prompts = [caption(world.scene(number)) for number in numbers]
        return generate_base(pipeline, prompts, world.height, world.width, seed=numbers[0])

    return Made(folder, world, count, {"model": model}, make, lambda _, image: read_captioned(image))


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


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.png"
