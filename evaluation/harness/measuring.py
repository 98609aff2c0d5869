"""Measuring: what models find in a benchmark's pictures, one model at a time, in batches, kept at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, Protocol

from PIL.Image import Image

from ...pictures.reading import PictureError, read_picture
from .cases import Case
from .run_folder import Found, RunFolder, Shard


class Item(NamedTuple):
    """A picture with its case and what earlier stages found in it."""

    case: Case
    picture: Image
    found: Found


class Measure(Protocol):
    """A model that is loaded and looks at pictures."""

    def __call__(self, items: Sequence[Item], /) -> Sequence[Any]:
        """What is found in each picture, in plain JSON values."""
        ...


@dataclass(frozen=True)
class Stage:
    """One look at the pictures: `load` reads its model, `asks` says whether a picture needs it at all.

    A look with an `option` is left out where no model is named by that option.
    """

    name: str
    load: Callable[[], Measure]
    asks: Callable[[Case, Found], bool] = lambda case, found: True
    option: str = ""


@dataclass
class Outcome:
    """Numbers of pictures that are measured and that are not there, and what cannot be read, with reasons."""

    measured: int = 0
    missing: int = 0
    broken: dict[str, str] = field(default_factory=dict[str, str])


def measure(
    run: RunFolder,
    way: str,
    stages: Sequence[Stage],
    *,
    batch: int = 1,
    shard: Shard | None = None,
    on_pictures: Callable[[int], object] = lambda count: None,
) -> Outcome:
    """Make what is missing of the findings of a part of the cases, stage by stage; pictures that were
    replaced are looked at anew.

    A model is loaded for its stage, if anything is missing there, and let go after it. A picture that cannot
    be read costs its own row: it is named in the outcome and tried again by the next run. `on_pictures` is
    called with numbers of pictures done, for each stage anew.
    """
    part, outcome = shard or Shard(), Outcome()
    cases = part.of(run.cases)
    there = [case for case in cases if run.picture(way, case).is_file()]
    outcome.missing = len(cases) - len(there)
    earlier: dict[str, dict[str, Any]] = {}
    for place, stage in enumerate(stages):
        # What the last stage finds is asked for by none, and may be large.
        last = place == len(stages) - 1
        known = {case: None if last else value for case, value in run.each_finding(way, stage.name)}
        waiting = [
            case
            for case in there
            if case.id not in known
            and case.file not in outcome.broken
            and stage.asks(case, found_of(case, earlier))
        ]
        on_pictures(len(there) - len(waiting))
        if waiting:
            file = run.open_findings(way, stage.name, part)
            # The model is held by nothing but this loop.
            for some, values in _look(run, way, stage, waiting, earlier, batch, outcome, on_pictures):
                new = {item.case.id: value for item, value in zip(some, values, strict=True)}
                sizes = {item.case.id: run.picture(way, item.case).stat().st_size for item in some}
                file.add(new, sizes)
                if not last:
                    known.update(new)
        earlier[stage.name] = known
    outcome.measured = len(there) - len(outcome.broken)
    return outcome


def found_of(case: Case, findings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What each stage found in one picture; stages that did not look at it are left out."""
    return {stage: own[case.id] for stage, own in findings.items() if case.id in own}


def _look(
    run: RunFolder,
    way: str,
    stage: Stage,
    waiting: Sequence[Case],
    earlier: dict[str, dict[str, Any]],
    batch: int,
    outcome: Outcome,
    on_pictures: Callable[[int], object],
) -> Iterator[tuple[list[Item], Sequence[Any]]]:
    model: Measure | None = None
    rest = iter(waiting)
    while cases := list(islice(rest, batch)):
        items: list[Item] = []
        for case in cases:
            try:
                picture = read_picture(run.picture(way, case))
            except PictureError as error:
                outcome.broken[case.file] = str(error)
                continue
            items.append(Item(case, picture, found_of(case, earlier)))
        if items:
            # Nothing is loaded for pictures of which none can be read.
            model = model or stage.load()
            yield items, model(items)
        on_pictures(len(cases))
