"""The data set: any number of pictures, each a function of the seed and its number alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..layout import (
    Box,
    Canvas,
    Instance,
    Layout,
    RunLength,
)
from .captions import caption, describe
from .painting import paint
from .scenes import Scene, draw_scene, state_relation
from .vocabulary import Split, Weights

# How often a picture of training has 1, 2, … 5 figures: mostly several, because one alone binds nothing.
FIGURE_SHARES = (0.15, 0.25, 0.25, 0.2, 0.15)


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture and all that is true of it.

    image (height, width, 3) uint8; masks (instances, height, width) bool, what can be seen of each;
    `layout` has one instance per figure, in the same order, with captions and boxes that bound the masks.
    """

    scene: Scene
    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    layout: Layout


@dataclass(frozen=True)
class ShapesWorld:
    """Pictures numbered from 0; the same seed and settings give the same pictures on every machine.

    width and height in pixels; `figures` fixes the number of things per picture (default: 1 to 5, drawn);
    `overlap` is the largest share of one that another may cover, in the share `overlapping` of the pictures;
    `pattern` leaves only looks with that pattern; `weights` make those with some words more likely.
    `related` is the share of captions of two things or more that say how the first two stand; scenes are the
    same for every share.
    """

    seed: int = 0
    width: int = 128
    height: int = 128
    split: Split = "train"
    figures: int | None = None
    overlap: float = 0.0
    overlapping: float = 1.0
    pattern: str | None = None
    related: float = 0.0
    weights: Weights = ()

    def __post_init__(self) -> None:
        if not 0 <= self.related <= 1:
            raise ValueError(f"the related share of captions is {self.related:g}; it must be from 0 to 1")

    def __getitem__(self, number: int) -> Sample:
        return make_sample(self.scene(number))

    def scene(self, number: int) -> Scene:
        """The scene of picture `number`, not yet painted."""
        random = np.random.default_rng([self.seed, number])
        count = self.figures
        if count is None:
            count = int(random.choice(len(FIGURE_SHARES), p=FIGURE_SHARES)) + 1
        overlap = self.overlap if random.random() < self.overlapping else 0.0
        scene = draw_scene(
            random, self.width, self.height, count, self.split, overlap, self.pattern, self.weights
        )
        # A generator of its own: what captions say must not change what is painted.
        stated = self.related and np.random.default_rng([self.seed, number, 5]).random() < self.related
        return state_relation(scene) if stated else scene


def make_sample(scene: Scene, with_masks: bool = False) -> Sample:
    """Paint a scene and write down its layout; `with_masks` puts the exact masks into it as well as boxes."""
    painting = paint(scene)
    instances = tuple(
        Instance(
            id=str(index + 1),
            box=mask_box(mask),
            caption=describe(figure),
            mask=run_length(mask) if with_masks else None,
        )
        for index, (figure, mask) in enumerate(zip(scene.figures, painting.masks, strict=True))
    )
    layout = Layout(instances, Canvas(scene.width, scene.height), caption(scene))
    return Sample(scene, painting.image, painting.masks, layout)


def mask_box(mask: NDArray[np.bool_]) -> Box:
    """The smallest box around a mask (height, width); a box of no size for an empty one."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return Box(0.0, 0.0, 0.0, 0.0)
    return Box(
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )


def run_length(mask: NDArray[np.bool_]) -> RunLength:
    height, width = mask.shape
    return RunLength.from_raster(mask.astype(np.uint8).tobytes(), width, height)
