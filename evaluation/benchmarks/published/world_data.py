"""Shapes World as the user's data: what each benchmark reads, written small, with real pictures beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path

from PIL import Image

from ....shapes_world import Sample, ShapesWorld

SIDE = 128
_SEED = 20_261_124


def samples(
    number: int,
    figures: tuple[int, ...],
    fits: Callable[[Sample], bool] = lambda sample: True,
    overlap: float = 0.0,
) -> Iterator[Sample]:
    """Samples with these numbers of things in turn, the first of each that fit.

    `overlap` is the largest share of a thing that another may cover.
    """
    for index in range(number):
        world = ShapesWorld(_SEED + index, SIDE, SIDE, "all", figures[index % len(figures)], overlap)
        yield next(sample for sample in map(world.__getitem__, count()) if fits(sample))


def picture(sample: Sample) -> Image.Image:
    """What a sample shows."""
    return Image.fromarray(sample.image)


def write_layouts(folder: Path, shown: Iterable[Sample]) -> dict[str, Sample]:
    """Layouts with their pictures, as annotation leaves them; the samples by the stems of their files."""
    folder.mkdir(exist_ok=True)
    by_stem = {f"scene-{index:03d}": sample for index, sample in enumerate(shown)}
    for stem, sample in by_stem.items():
        (folder / f"{stem}.json").write_text(sample.layout.to_json(), encoding="utf-8")
        picture(sample).save(folder / f"{stem}.png")
    return by_stem
