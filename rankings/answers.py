"""Answers of annotators: one file for each, to which every answer is added as a line at once.

`answers/<name>.jsonl` in a run's folder. A line is an answer, `{"aspect", "number", "prompt", "places",
"pictures", "at"}`, places from the best down as lists of members that share one, empty for "cannot tell",
pictures (which older lines have not) a digest of each member's; or `{"undo": true, "at"}`, which takes back
the one before, or `{"undo": [aspect, number], "at"}`, the last one to this question; or `{"judge", "at"}`,
which model's answers these are. The last answer to a question counts.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from .errors import GalleryError
from .gallery import ASPECTS, Prompt

FOLDER = "answers"
_SUFFIX = ".jsonl"
_LONGEST_NAME = 60
# What file systems take, in bytes.
_LONGEST_STEM = 255 - len(_SUFFIX)
# Devices on Windows, whatever follows the dot.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9]) *(\.|$)", re.IGNORECASE)
# Of all files: an annotator may have several windows, and people's pace leaves nobody waiting.
_LOCK = threading.Lock()

# (aspect, number of the prompt)
Question = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """The places of members in one question, from the best down; none for "cannot tell".

    `pictures` is a digest of each member's picture that was shown; none where nobody wrote it down.
    """

    aspect: str
    number: int
    prompt: str
    places: tuple[tuple[str, ...], ...]
    pictures: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)

    @property
    def question(self) -> Question:
        return self.aspect, self.number

    @property
    def members(self) -> frozenset[str]:
        """All members that have a place."""
        return frozenset(member for place in self.places for member in place)

    def is_of(self, digests: Mapping[str, str]) -> bool:
        """Whether it was given to these pictures, by member, as far as it says."""
        return all(self.pictures.get(member, digest) == digest for member, digest in digests.items())

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
    """The answers of one annotator; safe to use from several threads, and files of others are not touched.

    Names that differ in upper and lower case alone are one annotator's: on some systems they are one file's.
    """

    def __init__(self, run: Path, annotator: str) -> None:
        name, files = check_name(annotator), _files(run)
        same = next((one for one in files if one.casefold() == name.casefold()), name)
        self.annotator = name if name in files else same
        self.path = files.get(self.annotator) or run / FOLDER / f"{_stem(name)}{_SUFFIX}"

    def add(self, answer: Answer) -> None:
        """Write an answer down before anything else happens."""
        entry: dict[str, Any] = {
            "aspect": answer.aspect,
            "number": answer.number,
            "prompt": answer.prompt,
            "places": [list(place) for place in answer.places],
        }
        if answer.pictures:
            entry["pictures"] = dict(answer.pictures)
        with _LOCK:
            self._write(entry)

    def is_of_judge(self, model: str) -> bool:
        """Whether the answers are this model's; a file that names no model is its own from now on."""
        with _LOCK:
            named = next((entry["judge"] for entry in _entries(self.path) if "judge" in entry), None)
            if named is None:
                self._write({"judge": model})
            return named in (None, model)

    def undo(self, asked: Mapping[Question, str] | None = None) -> Answer | None:
        """Take back the last answer that was not taken back; None if there is none.

        `asked`: only an answer to one of these questions about this prompt.
        """
        with _LOCK:
            standing = _standing(self.path)
            if asked is not None:
                standing = [one for one in standing if asked.get(one.question) == one.prompt]
            if standing:
                self._write({"undo": True if asked is None else list(standing[-1].question)})
            return standing[-1] if standing else None

    def answers(self) -> dict[Question, Answer]:
        """The answer that counts for each question."""
        with _LOCK:
            return _counting(self.path)

    def _write(self, entry: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with self.path.open("ab") as file:
            # A last line without its end must not swallow this one.
            if file.tell() and not self._ends_with_newline():
                *_, tail = _pieces(self.path)
                if _is_json(tail):
                    file.write(b"\n")
                else:
                    file.truncate(file.tell() - len(tail))
            file.write((json.dumps({**entry, "at": now}, ensure_ascii=False) + "\n").encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"


def check_name(name: str) -> str:
    """An annotator's name as it is kept; `GalleryError` for one that is none."""
    name = " ".join(name.split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise GalleryError(f"an annotator's name has 1 to {_LONGEST_NAME} characters; {name!r} has not")
    if (length := len(_stem(name))) > _LONGEST_STEM:
        raise GalleryError(
            f"the annotator's name {name!r} is too long for the name of a file: it takes {length} of "
            f"{_LONGEST_STEM} characters, of which a Chinese or Thai letter takes 9; give a shorter one"
        )
    return name


def annotators(run: Path) -> list[str]:
    """Names of all who have answered."""
    return sorted(_files(run))


def all_answers(run: Path) -> dict[str, dict[Question, Answer]]:
    """The answers that count, by annotator."""
    return {name: _counting(path) for name, path in sorted(_files(run).items())}


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


def _stem(name: str) -> str:
    """An annotator's name as that of a file, whatever is in it."""
    quoted = quote(name, safe=" ")
    if quoted.startswith(".") or _DEVICE.match(quoted):
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    return quoted


def _files(run: Path) -> dict[str, Path]:
    """The files of answers by whose they are; `GalleryError` where two are the same annotator's."""
    found: dict[str, Path] = {}
    for path in sorted((run / FOLDER).glob(f"*{_SUFFIX}")):
        # macOS puts companions beside files on other disks, and editors their locks.
        if path.name.startswith("."):
            continue
        name = unquote(path.stem)
        if name in found:
            raise GalleryError(
                f"{found[name]} and {path} are both of {name!r}; put their lines into one file"
            )
        found[name] = path
    return found


def _counting(path: Path) -> dict[Question, Answer]:
    return {one.question: one for one in _standing(path)}


def _standing(path: Path) -> list[Answer]:
    """The answers of a file in their order, without those that were taken back."""
    standing: list[Answer] = []
    for number, entry in enumerate(_entries(path), 1):
        if undone := entry.get("undo"):
            _take_back(standing, undone)
        elif "judge" not in entry:
            standing.append(_answer(entry, path, number))
    return standing


def _take_back(standing: list[Answer], undone: Any) -> None:
    """Leave out the last answer, or the last to the question that a line names."""
    for place in range(len(standing) - 1, -1, -1):
        if not isinstance(undone, list) or list(standing[place].question) == undone:
            del standing[place]
            return


def _entries(path: Path) -> list[Mapping[str, Any]]:
    try:
        *lines, tail = _pieces(path)
    except FileNotFoundError:
        return []
    # What a process that was killed left of its last line never was an answer; a whole line, to which an
    # editor gave no end, is one.
    if _is_json(tail):
        lines.append(tail)
    return [_entry(line, path, number) for number, line in enumerate(lines, 1)]


def _pieces(path: Path) -> list[bytes]:
    """The lines of a file, and what follows the last of them, without a byte order mark."""
    return path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return True


def _entry(line: bytes, path: Path, number: int) -> Mapping[str, Any]:
    try:
        entry = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise GalleryError(
            f"{path}, line {number} is not UTF-8 text ({error.reason}); mend or delete the line"
        ) from error
    except json.JSONDecodeError as error:
        raise GalleryError(f"{path}, line {number} is no JSON ({error}); mend or delete the line") from error
    if not isinstance(entry, dict):
        raise GalleryError(f"{path}, line {number} is no answer; mend or delete the line")
    return entry


def _answer(entry: Mapping[str, Any], path: Path, number: int) -> Answer:
    try:
        places = tuple(tuple(str(one) for one in place) for place in entry["places"])
        pictures = {str(member): str(digest) for member, digest in dict(entry.get("pictures", {})).items()}
        found = Answer(str(entry["aspect"]), int(entry["number"]), str(entry["prompt"]), places, pictures)
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryError(
            f"{path}, line {number} is no answer ({error} is wrong or missing); mend or delete the line"
        ) from error
    if found.aspect not in ASPECTS or any(not place for place in places):
        raise GalleryError(f"{path}, line {number} is no answer of {', '.join(ASPECTS)}; mend or delete it")
    return found
