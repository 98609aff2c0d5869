"""Records of an evaluation on disk: what was measured of each picture, and what is still missing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..generation.methods import NOT_SAMPLED
from .benchmark import WEIGHTS, Plan, PlanError, Point, Record, other_weights
from .harness.cases import FILE, Case, CaseList
from .harness.drawing import SECONDS
from .harness.run_folder import RunFolder

AnyPlan = TypeVar("AnyPlan", bound=Plan)
# What scorers found in a picture, all of them together.
SCORES = "scores"
# Settings that were once written into a method's name, as "local@2,1,0", in their order.
_SETTINGS_IN_NAMES = ("strength", "token_weight", "pixel_weight")


class Evaluation(Generic[AnyPlan]):
    """The run folder of a plan, with `plan.json` and `records.jsonl` (one line a picture) besides.

    A point's way is called by its name, picture n of the plan is case n. It continues where it stopped:
    methods and numbers may be added at any time, what is there is kept. Two processes may share the folder as
    long as no method is run by both. A record stands for its picture, even where that is gone: folders of
    versions that kept records alone are continued. `PlanError` for the folder of another evaluation, and
    without `begin` for one that has none: a report begins nothing.
    """

    def __init__(self, folder: Path, plan: AnyPlan, *, begin: bool = True) -> None:
        self.folder, self.plan = folder, plan
        file = folder / "plan.json"
        if not begin and not file.is_file():
            raise PlanError(
                f"{folder} has no plan.json, so nothing has been run there, and of each method 3 are needed "
                "for a report; name the folder of an evaluation, or leave --report-only out to begin one"
            )
        folder.mkdir(parents=True, exist_ok=True)
        self._check_plan(file)
        self.records = {(_point(one), int(one["number"])): one for one in self._read()}

    @cached_property
    def run(self) -> RunFolder:
        """Cases, pictures and findings; the cases that the folder does not have are made and frozen."""
        file, count = self.folder / FILE, self.plan.count
        frozen = CaseList.read(file).cases if file.is_file() else ()
        if len(frozen) < count:
            frozen = (*frozen, *(self._case(number) for number in range(len(frozen), count)))
            self._list(frozen).write(file)
        return RunFolder(self.folder, self._list(frozen[:count]))

    @property
    def reached(self) -> int:
        """How many pictures a point has at most: one more than the last number that has a record."""
        return max((number for _, number in self.records), default=-1) + 1

    def missing(self) -> list[tuple[Point, int]]:
        """Point and number of every picture of the plan without a record, number by number.

        So that a run that is stopped has as many pictures of each point.
        """
        wanted = ((point, number) for number in range(self.plan.count) for point in self.plan.points())
        return [one for one in wanted if one not in self.records]

    def picture(self, point: Point, number: int) -> Path:
        """The file of a picture; its folder is made."""
        file = self.run.picture(point.name, self.run.cases[number])
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def collect(self) -> None:
        """Make records of what was found in pictures that have none, in plain JSON values."""
        missing = self.missing()
        points = dict.fromkeys(point for point, _ in missing)
        scores = {point: self.run.findings(point.name, SCORES) for point in points}
        seconds = self.seconds()
        for point, number in missing:
            case = self.run.cases[number]
            if case.id in scores[point]:
                taken = None if point.method in NOT_SAMPLED else self._taken(seconds, point, case.id)
                things = len(case.layout.active)
                self._add(point, number, {"things": things, "seconds": taken, **scores[point][case.id]})

    def seconds(self) -> dict[Point, dict[str, Any]]:
        """What is known of how long the plan's pictures took, by case, and those that they begin with."""
        points = {each for point in self.plan.points() for each in (point, self.plan.first(point)) if each}
        return {point: self.run.findings(point.name, SECONDS) for point in points}

    def _taken(self, seconds: Mapping[Point, Mapping[str, Any]], point: Point, case: str) -> Any:
        """The seconds of a picture, with those of the one before it."""
        own, first = seconds[point].get(case), self.plan.first(point)
        before = None if first is None else seconds[first].get(case)
        return own if own is None or before is None else {kind: own[kind] + before[kind] for kind in own}

    def _add(self, point: Point, number: int, values: Mapping[str, Any]) -> None:
        settings = {"settings": dict(point.settings)} if point.settings else {}
        lora = {"lora": point.lora} if point.lora else {}
        record: Record = {"method": point.method, "number": number, **settings, **lora, **values}
        with (self.folder / "records.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(record)}\n")
        self.records[point, number] = record

    def complete(self, points: Sequence[Point]) -> dict[Point, list[Record]]:
        """For each point its records of the plan's numbers that all of them have.

        Raises ValueError for fewer than 3, which say nothing.
        """
        done = [{n for one, n in self.records if one == point} for point in points]
        numbers = [number for number in sorted(set.intersection(*done)) if number < self.plan.count]
        if len(numbers) < 3:
            names = ", ".join(point.name for point in points)
            raise ValueError(f"{len(numbers)} layouts have been run with all of {names}; 3 are needed")
        return {point: [self.records[point, number] for number in numbers] for point in points}

    def _case(self, number: int) -> Case:
        name = f"{number:05d}"
        layout, seed = self.plan.layout(number), self.plan.job(self.plan.points()[0], number).sampling.seed
        return Case(name, f"{name}.png", layout, seed, name)

    def _list(self, cases: Sequence[Case]) -> CaseList:
        return CaseList(self.plan.family, "Shapes World", tuple(cases))

    def _check_plan(self, file: Path) -> None:
        now = self.plan.identity()
        if not file.is_file():
            unfinished = file.with_name(f".plan-{os.getpid()}")
            unfinished.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
            unfinished.replace(file)
            return
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [
            f"{name} was {before.get(name)} and is now {now[name]}"
            for name in now
            if name != WEIGHTS and before.get(name) != now[name]
        ]
        changed += other_weights(before, now)
        if changed:
            raise PlanError(
                f"{self.folder} holds another evaluation: {'; '.join(changed)}. Name another folder, or "
                "continue with the same settings and model"
            )

    def _read(self) -> Iterator[Record]:
        """The records; what a run that was killed left of its last line is taken out of the file."""
        file = self.folder / "records.jsonl"
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            file.write_text(whole, encoding="utf-8")
        yield from map(json.loads, whole.splitlines())


def _point(record: Record) -> Point:
    """The point of a record."""
    method, _, values = record["method"].partition("@")
    if values:
        return Point(method, tuple(zip(_SETTINGS_IN_NAMES, map(float, values.split(",")), strict=True)))
    return Point(method, tuple(record.get("settings", {}).items()), record.get("lora", ""))
