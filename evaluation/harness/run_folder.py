"""Folder of a run: cases, the pictures of each way of drawing, and what models found in them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pictures.reading import ALL_ENDINGS
from ..benchmark import WEIGHTS, PlanError, other_weights
from .cases import FILE, Case, CaseList

_NAME = re.compile(r"[\w][\w.+-]*")
# Findings of a start that was stopped before its first picture: those of `drawing`, which measure nothing.
_SECONDS = "seconds."
# In a line of findings: how large the picture was in which they were found.
_SIZE = "bytes"
# A way's settings that earlier versions noted without knowing them, or not at all, and what they noted then.
_UNKNOWN = {"dtype": "", "config": None}
# Settings that are noted where they are given, and what a way has that does not note them.
_DEFAULTS = {"strength": 1.0}
# In `models.json`: in which precision models measured, of those that have a choice.
_PRECISIONS = "precisions"
Found = Mapping[str, Any]


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the cases, which as many processes or machines share."""

    index: int = 0
    count: int = 1

    def of(self, cases: tuple[Case, ...]) -> tuple[Case, ...]:
        """The cases of this part: every `count`-th, so that parts are alike."""
        return cases[self.index :: self.count]


class RunFolder:
    """`cases.jsonl`, `ways/<way>.json`, `pictures/<way>/…`, `models.json`, `findings/<way>/…`.

    `cases` are those of the file, where they were read already.
    """

    def __init__(self, folder: Path, cases: CaseList | None = None) -> None:
        self.folder = folder
        self.list = cases or CaseList.read(folder / FILE)
        # Notes of ways as last read, and when they were written: those of real pictures name all of them.
        self._notes: dict[str, tuple[int, dict[str, Any]]] = {}

    @property
    def cases(self) -> tuple[Case, ...]:
        return self.list.cases

    def ways(self) -> dict[str, dict[str, Any]]:
        """What is known of each way of drawing, in the order of their names."""
        files = sorted((self.folder / "ways").glob("*.json"))
        return {file.stem: self.ways_of(file.stem) for file in files}

    def add_way(self, name: str, about: Mapping[str, Any]) -> None:
        """Note how a way draws; `PlanError` if pictures of that name were drawn otherwise.

        Before there are any, nor findings, an earlier note gives way: a start that failed binds nobody.
        """
        if not _NAME.fullmatch(name):
            raise PlanError(f'"{name}" cannot be the name of a folder; use letters, digits, - and _')
        file = self.folder / "ways" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        about = self._movable(about)
        if file.is_file():
            before = self._movable(json.loads(file.read_text(encoding="utf-8")))
            if self._has_begun(name):
                _check_same(name, before, about)
                return
        unfinished = file.with_name(f".{name}-{os.getpid()}")
        unfinished.write_text(json.dumps(dict(about), indent=2) + "\n", encoding="utf-8")
        unfinished.replace(file)

    def _has_begun(self, way: str) -> bool:
        """Whether there are pictures of a way, or findings in them."""
        pictures = (self.folder / "pictures" / way).rglob("*")
        drawn = any(
            file.suffix.lower() in ALL_ENDINGS and not file.name.startswith(".unfinished-")
            for file in pictures
        )
        findings = self._findings(way).glob("*.jsonl")
        return drawn or any(not one.name.startswith(_SECONDS) and one.stat().st_size for one in findings)

    def _movable(self, about: Mapping[str, Any]) -> Mapping[str, Any]:
        """As it is noted: a folder in this run is told from the run, so that a copy has its own pictures."""
        root, folder = self.folder.resolve(), Path(about.get("folder", ""))
        if not folder.is_absolute() or not folder.is_relative_to(root):
            return about
        return {**about, "folder": folder.relative_to(root).as_posix()}

    def models(self) -> dict[str, str]:
        """The names of the models that measured, by what they are for; nothing of what is not known."""
        noted = self._noted_models()
        return {use: name for use, name in noted.items() if use not in (WEIGHTS, _PRECISIONS)}

    def precisions(self) -> dict[str, str]:
        """In which precision models measured, by what they are for; nothing of what is not known."""
        return dict(self._noted_models().get(_PRECISIONS, {}))

    def check_models(
        self,
        names: Mapping[str, str],
        weights: Mapping[str, str] | None = None,
        precisions: Mapping[str, str] | None = None,
    ) -> None:
        """`PlanError` if other models measured before, or in another precision, whose findings are kept.

        Notes nothing.
        """
        before, weights = self._noted_models(), weights or {}
        changed = [
            f"{use} was {before[use]} and is now {name}"
            for use, name in names.items()
            if before.get(use, name) != name
        ]
        changed += other_weights(before, {WEIGHTS: weights})
        if changed:
            raise PlanError(
                f"{self.folder} was measured by other models: {'; '.join(changed)}. Their findings are kept, "
                "so copy the folder without findings/ and models.json to measure with these"
            )
        known = before.get(_PRECISIONS, {})
        others = [
            f"{use} in {known[use]} and now in {precision}"
            for use, precision in (precisions or {}).items()
            if known.get(use, precision) != precision
        ]
        if others:
            raise PlanError(
                f"{self.folder} was measured in another precision: {'; '.join(others)}. Say the same with "
                "--dtype, or copy the folder without findings/ and models.json to measure in this one"
            )

    def add_models(
        self,
        names: Mapping[str, str],
        weights: Mapping[str, str] | None = None,
        precisions: Mapping[str, str] | None = None,
    ) -> None:
        """Note by which models is measured, with digests and precisions of those that have some; `PlanError`
        if others did before, whose findings are kept.
        """
        self.check_models(names, weights, precisions)
        before = self._noted_models()
        noted = {**before, **names}
        for key, values in ((WEIGHTS, weights or {}), (_PRECISIONS, precisions or {})):
            # What measured before its digest or precision was noted may have had another.
            new = {use: value for use, value in values.items() if use not in before}
            known = {**before.get(key, {}), **new}
            noted |= {key: known} if known else {}
        if noted == before:
            return
        unfinished = self.folder / f".models-{os.getpid()}"
        unfinished.write_text(json.dumps(noted, indent=2) + "\n", encoding="utf-8")
        unfinished.replace(self.folder / "models.json")

    def _noted_models(self) -> dict[str, Any]:
        file = self.folder / "models.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def picture(self, way: str, case: Case) -> Path:
        """The file of a picture. Of a folder of somebody else's any picture of that name counts."""
        about = self.ways_of(way)
        folder = Path(about["folder"]) if "folder" in about else self.folder / "pictures" / way
        file = folder / case.file
        if "folder" in about and not file.is_file():
            others = (file.with_suffix(ending) for ending in ALL_ENDINGS)
            return next((other for other in others if other.is_file()), file)
        return file

    def ways_of(self, way: str) -> dict[str, Any]:
        """What is known of one way, its folder whole; nothing for one that is new."""
        file = self.folder / "ways" / f"{way}.json"
        if not file.is_file():
            return {}
        written = file.stat().st_mtime_ns
        if self._notes.get(way, (0, {}))[0] != written:
            about = json.loads(file.read_text(encoding="utf-8"))
            if "folder" in about:
                about["folder"] = str(self.folder.resolve() / about["folder"])
            self._notes[way] = written, about
        return self._notes[way][1]

    def findings(self, way: str, stage: str) -> dict[str, Any]:
        """What a stage found, by case, whatever part of the cases found it."""
        return dict(self.each_finding(way, stage))

    def each_finding(self, way: str, stage: str) -> Iterator[tuple[str, Any]]:
        """The case and the finding of each that a stage kept, one after the other; a later one counts.

        What was found in a picture that has another one in its place now is left out.
        """
        files = sorted(self._findings(way).glob(f"{stage}.*.jsonl"))
        sizes = self._sizes(way) if files else {}
        for file in files:
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    # A run that was killed, or is at it, leaves a part of a line.
                    if not line.endswith("\n"):
                        continue
                    kept = json.loads(line)
                    # Nothing was noted by earlier versions, and a picture that is gone was not replaced.
                    size = sizes.get(kept["case"])
                    if size is None or kept.get(_SIZE, size) == size:
                        yield kept["case"], kept["found"]

    def _sizes(self, way: str) -> dict[str, int]:
        """The size of each picture that is there, in bytes: hardly ever the same for another picture."""
        files = {case.id: self.picture(way, case) for case in self.cases}
        return {case: file.stat().st_size for case, file in files.items() if file.is_file()}

    def open_findings(self, way: str, stage: str, shard: Shard) -> Findings:
        """The file to which this part of the cases adds what it finds."""
        folder = self._findings(way)
        folder.mkdir(parents=True, exist_ok=True)
        return Findings(folder / f"{stage}.{shard.index + 1}-of-{shard.count}.jsonl")

    def _findings(self, way: str) -> Path:
        return self.folder / "findings" / way


def _check_same(name: str, before: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """`PlanError` where a way that has begun was drawn otherwise, as far as both are known."""
    known = sorted({*before, *about} - {WEIGHTS})
    unknown = {key for key, value in _UNKNOWN.items() if before.get(key) == value}
    then, now = ({key: noted.get(key, _DEFAULTS.get(key)) for key in known} for noted in (before, about))
    changed = [
        f"{key} was {_shown(then[key])} and is now {_shown(now[key])}"
        for key in known
        if then[key] != now[key] and key not in unknown
    ]
    changed += other_weights(before, about)
    if not changed:
        return
    if "folder" in about:
        raise PlanError(
            f"{name} has other pictures: {'; '.join(changed)}. Give these another name in "
            "--pictures NAME=FOLDER, or continue with the same folder"
        )
    raise PlanError(
        f"{name} was drawn otherwise: {'; '.join(changed)}. Give it another name with "
        "--label, or continue with the same settings and weights"
    )


def _shown(value: Any) -> Any:
    """A setting as an error tells it: nothing where a way has none."""
    return "nothing" if value in (None, "") else value


class Findings:
    """A file of findings that grows line by line, so that a run may be killed at any time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        # What a run that was killed left of its last line is taken out.
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            file.write_text(whole, encoding="utf-8")

    def add(self, found: Mapping[str, Any], sizes: Mapping[str, int] | None = None) -> None:
        """Keep what was found of some cases, in plain JSON values, and their pictures' sizes in bytes."""
        with self._file.open("a", encoding="utf-8") as file:
            for case, values in found.items():
                size = {} if sizes is None else {_SIZE: sizes[case]}
                file.write(f"{json.dumps({'case': case, **size, 'found': values})}\n")
