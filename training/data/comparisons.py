"""Preferences for reward models: pictures of one prompt, in the order people or a judge put them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from PIL import Image

from ...models.rewards import ASPECTS, pairs_of_ranks
from ...pictures.reading import PictureError, read_picture
from ...shapes_world import paint
from ...shapes_world.preferences import (
    Comparison,
    Comparisons,
    content_of,
    word_places,
    word_truths,
)
from ...shapes_world.relation_pairs import RelationPairs
from ..engine.fingerprint import of_texts
from .errors import SourceError


class Ranked(NamedTuple):
    """Pictures and prompts; `pairs` are (aspect, prompt, better picture, worse picture), by their numbers.

    `words`, where known, says for (prompt, picture) of each token whether it is true of the picture; nan is
    neither. `places`, likewise, where in the picture (x, y in 0..1) the thing is that the token is about.
    """

    pictures: list[Image.Image]
    prompts: list[str]
    pairs: list[tuple[int, int, int, int]]
    words: Mapping[tuple[int, int], list[float]] = {}
    places: Mapping[tuple[int, int], list[tuple[float, float]]] = {}


class RankedSource(Protocol):
    """Numbered comparisons, the same ones under the same number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Ranked: ...

    def has_pair(self, number: int) -> bool:
        """Whether a comparison has a pair, which is told without opening its pictures."""
        ...

    def describe(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class WorldPreferences:
    """The first `count` comparisons of Shapes World, or of its relation pairs, in some aspects."""

    comparisons: Comparisons | RelationPairs
    count: int
    aspects: tuple[str, ...] = ASPECTS

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Ranked:
        comparison, pictures = _painted(self.comparisons, number)
        pairs = self._pairs(comparison)
        contents = [content_of(scene) for scene in comparison.scenes]
        wishes = comparison.wishes
        candidates = [*product(range(len(wishes)), range(len(contents)))]
        words = {(p, n): word_truths(wishes[p], contents[n]) for p, n in candidates}
        places = {(p, n): word_places(wishes[p], contents[n]) for p, n in candidates}
        return Ranked([*pictures], [wish.prompt for wish in wishes], pairs, words, places)

    def has_pair(self, number: int) -> bool:
        return bool(self._pairs(_painted(self.comparisons, number)[0]))

    def _pairs(self, comparison: Comparison) -> list[tuple[int, int, int, int]]:
        return [
            (place, *pair)
            for place, aspect in enumerate(self.aspects)
            for pair in comparison.pairs(ASPECTS.index(aspect))
        ]

    def describe(self) -> dict[str, Any]:
        world = self.comparisons
        return {
            "world": "shapes",
            "seed": world.seed,
            "size": [world.width, world.height],
            "count": self.count,
            "aspects": list(self.aspects),
            **({"pairs": "relations"} if isinstance(world, RelationPairs) else {}),
        }


@dataclass(frozen=True)
class Alternating:
    """Comparisons of several sources in turn, until the shortest has none left."""

    sources: tuple[RankedSource, ...]

    def __len__(self) -> int:
        return len(self.sources) * min(len(one) for one in self.sources)

    def __getitem__(self, number: int) -> Ranked:
        turn, source = divmod(number, len(self.sources))
        return self.sources[source][turn]

    def has_pair(self, number: int) -> bool:
        turn, source = divmod(number, len(self.sources))
        return self.sources[source].has_pair(turn)

    def describe(self) -> dict[str, Any]:
        return {"in turn": [one.describe() for one in self.sources]}


@lru_cache(maxsize=4096)
def _painted(
    comparisons: Comparisons | RelationPairs, number: int
) -> tuple[Comparison, tuple[Image.Image, ...]]:
    """Painting takes longer than learning from it, and pictures come again every epoch."""
    comparison = comparisons[number]
    return comparison, tuple(Image.fromarray(paint(scene).image) for scene in comparison.scenes)


class PreferenceFile:
    """Comparisons of a JSON Lines file, one object a line; picture files relative to its folder.

    A pair: `{"prompt", "better", "worse", "aspect"}`. A ranking: `{"prompt", "images": [file, …],
    "ranks": {aspect: [place of each image, 1 is best, equal is a tie]}}`. Lines that say nothing of the
    aspect are left out; where none is left, that is an error if it is `needed`. `rankings` are prompts, their
    picture files, and pairs (better, worse) of these. Raises `SourceError` naming the line.
    """

    def __init__(self, path: Path, aspect: str, *, needed: bool = True) -> None:
        self.path, self.aspect = path, aspect
        # A prompt may hold what other programs end lines with (U+2028).
        lines = path.read_text(encoding="utf-8").split("\n")
        read = (self._line(number, line) for number, line in enumerate(lines, 1) if line.strip())
        self.rankings = [ranking for ranking in read if ranking is not None]
        if needed and not self.rankings:
            raise SourceError(f'{path} has no pair that differs in the aspect "{aspect}"')

    def __len__(self) -> int:
        return len(self.rankings)

    def __getitem__(self, number: int) -> Ranked:
        prompt, files, pairs = self.rankings[number]
        return Ranked([open_picture(file) for file in files], [prompt], [(0, 0, *pair) for pair in pairs])

    def has_pair(self, number: int) -> bool:
        return bool(self.rankings[number][2])

    def describe(self) -> dict[str, Any]:
        """What is compared, in which order, and how large each picture's file is."""
        compared = (
            json.dumps([prompt, [[file.name, file.stat().st_size] for file in files], pairs])
            for prompt, files, pairs in self.rankings
        )
        return {"file": self.path.name, "comparisons": of_texts(compared)}

    def _line(self, number: int, line: str) -> tuple[str, list[Path], list[tuple[int, int]]] | None:
        where = f"{self.path}, line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise SourceError(f"{where} is no JSON: {error}") from error
        if not isinstance(entry, dict) or not isinstance(entry.get("prompt"), str):
            raise SourceError(f'{where} needs "prompt", a text')
        files, ranks = _pair(entry, where) if "better" in entry else _ranking(entry, where)
        if self.aspect not in ranks:
            return None
        paths = [self.path.parent / file for file in files]
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            raise SourceError(f"{where}: there is no file {', '.join(missing)}")
        pairs = pairs_of_ranks(ranks[self.aspect])
        return (entry["prompt"], paths, pairs) if pairs else None


def _pair(entry: dict[str, Any], where: str) -> tuple[list[str], dict[str, list[float]]]:
    files = [entry.get(name) for name in ("better", "worse")]
    if not _texts(files) or entry.get("aspect") not in ASPECTS:
        raise SourceError(
            f'{where} needs "better" and "worse", picture files, and "aspect", one of {", ".join(ASPECTS)}'
        )
    return files, {entry["aspect"]: [1, 2]}  # pyright: ignore[reportReturnType]


def _ranking(entry: dict[str, Any], where: str) -> tuple[list[str], dict[str, list[float]]]:
    files, ranks = entry.get("images"), entry.get("ranks")
    if not isinstance(files, list) or not _texts(files) or not isinstance(ranks, dict):
        raise SourceError(
            f'{where} needs "images", a list of picture files, and "ranks", one list of places for each of '
            f"{', '.join(ASPECTS)}; or a pair with better, worse and aspect"
        )
    for aspect, places in ranks.items():
        fits = isinstance(places, list) and len(places) == len(files)
        if aspect not in ASPECTS or not fits or not all(type(p) in (int, float) for p in places):
            raise SourceError(
                f"{where}: the ranks of {aspect!r} are {places!r}; {len(files)} places are needed, one for "
                f"each image, for {', '.join(ASPECTS)}"
            )
    return files, ranks


def _texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def open_picture(path: Path) -> Image.Image:
    """A picture to learn from; `SourceError` says why it cannot be read."""
    try:
        return read_picture(path)
    except PictureError as error:
        raise SourceError(f"{path} {error}") from error
