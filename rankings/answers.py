"""Answers of annotators: one file for each, to which every answer is added as a line at once.

`answers/<name>.jsonl` in a run's folder. A line is an answer, `{"aspect", "number", "prompt", "places",
"at"}`, places from the best down as lists of members that share one, empty for "cannot tell"; or `{"undo":
true, "at"}`, which takes back the one before. The last answer to a question counts.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from .errors import GalleryError
from .gallery import ASPECTS, Prompt

FOLDER = "answers"
_LONGEST_NAME = 60

# (aspect, number of the prompt)
Question = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """The places of members in one question, from the best down; none for "cannot tell"."""

    aspect: str
    number: int
    prompt: str
    places: tuple[tuple[str, ...], ...]

    @property
    def question(self) -> Question:
        return self.aspect, self.number

    @property
    def members(self) -> frozenset[str]:
        """All members that have a place."""
        return frozenset(member for place in self.places for member in place)

    @property
    def ranks(self) -> dict[str, float]:
        """The place of each member, those who share places having the mean of them, as statistics count."""
        found: dict[str, float] = {}
        before = 0
        for place in self.places:
            found |= dict.fromkeys(place, before + (len(place) + 1) / 2)
            before += len(place)
        return found


class AnswerFile:
    """The answers of one annotator; safe to use from several threads, and files of others are not touched."""

    def __init__(self, run: Path, annotator: str) -> None:
        self.annotator = check_name(annotator)
        self.path = run / FOLDER / f"{quote(self.annotator, safe=' ')}.jsonl"
        self._lock = threading.Lock()

    def add(self, answer: Answer) -> None:
        """Write an answer down before anything else happens."""
        self._append(
            {
                "aspect": answer.aspect,
                "number": answer.number,
                "prompt": answer.prompt,
                "places": [list(place) for place in answer.places],
            }
        )

    def undo(self) -> Answer | None:
        """Take back the last answer that was not taken back; None if there is none."""
        with self._lock:
            standing = self._standing()
            if standing:
                self._write({"undo": True})
            return standing[-1] if standing else None

    def answers(self) -> dict[Question, Answer]:
        """The answer that counts for each question."""
        with self._lock:
            return {one.question: one for one in self._standing()}

    def _standing(self) -> list[Answer]:
        standing: list[Answer] = []
        for number, line in enumerate(self._lines(), 1):
            entry = _entry(line, self.path, number)
            if entry.get("undo"):
                del standing[-1:]
            else:
                standing.append(_answer(entry, self.path, number))
        return standing

    def _lines(self) -> list[str]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        # What a process that was killed left of its last line never was an answer.
        return text.split("\n")[:-1]

    def _append(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._write(entry)

    def _write(self, entry: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with self.path.open("ab") as file:
            # The half line of a process that was killed must not swallow this one.
            if file.tell() and not self._ends_with_newline():
                file.truncate(self._end_of_whole_lines())
            file.write((json.dumps({**entry, "at": now}, ensure_ascii=False) + "\n").encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"

    def _end_of_whole_lines(self) -> int:
        return self.path.read_bytes().rfind(b"\n") + 1


def check_name(name: str) -> str:
    """An annotator's name as it is kept; `GalleryError` for one that is none."""
    name = " ".join(name.split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise GalleryError(f"an annotator's name has 1 to {_LONGEST_NAME} characters; {name!r} has not")
    return name


def annotators(run: Path) -> list[str]:
    """Names of all who have answered."""
    return sorted(unquote(file.stem) for file in (run / FOLDER).glob("*.jsonl"))


def all_answers(run: Path) -> dict[str, dict[Question, Answer]]:
    """The answers that count, by annotator."""
    return {name: AnswerFile(run, name).answers() for name in annotators(run)}


def check_answer(values: Any, prompt: Prompt, members: Sequence[str]) -> Answer:
    """An answer as a page sends it; `GalleryError` unless each of the members has one place, or none has."""
    places = values if isinstance(values, list) else None
    if places is None or not all(
        isinstance(place, list) and place and all(isinstance(one, str) for one in place) for place in places
    ):
        raise GalleryError(f"an answer is a list of places, each a list of members; got {values!r}")
    placed = [member for place in places for member in place]
    if placed and sorted(placed) != sorted(members):
        raise GalleryError(f"an answer has a place for each of {', '.join(members)}; got {values!r}")
    return Answer(prompt.aspect, prompt.number, prompt.text, tuple(tuple(place) for place in places))


def _entry(line: str, path: Path, number: int) -> Mapping[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise GalleryError(f"{path}, line {number} is no JSON ({error}); mend or delete the line") from error
    if not isinstance(entry, dict):
        raise GalleryError(f"{path}, line {number} is no answer; mend or delete the line")
    return entry


def _answer(entry: Mapping[str, Any], path: Path, number: int) -> Answer:
    try:
        places = tuple(tuple(str(one) for one in place) for place in entry["places"])
        found = Answer(str(entry["aspect"]), int(entry["number"]), str(entry["prompt"]), places)
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryError(
            f"{path}, line {number} is no answer ({error} is wrong or missing); mend or delete the line"
        ) from error
    if found.aspect not in ASPECTS or any(not place for place in places):
        raise GalleryError(f"{path}, line {number} is no answer of {', '.join(ASPECTS)}; mend or delete it")
    return found
