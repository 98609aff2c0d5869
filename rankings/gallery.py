"""The gallery: one readable file that names prompts, and models of different strengths that draw them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import GalleryError
from .kinds import KINDS, PATHS, check_options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "gallery.toml"
ASPECTS = ("attribute", "spatial", "non-spatial")
# Names are folders and columns of a table; what begins with `tuned-` are the base's own versions.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")
TUNED = "tuned-"
_SIDES = range(8, 16_385)


@dataclass(frozen=True)
class Member:
    """One way of making pictures; `joins` is the iteration, from 0, in which it comes into the gallery."""

    name: str
    kind: str
    options: Mapping[str, Any]
    joins: int = 0

    def path(self, name: str) -> Path | None:
        """The value of an option that is a path."""
        value = self.options.get(name)
        return None if value is None else Path(value)


@dataclass(frozen=True)
class Prompt:
    """A prompt of one aspect, by its number in the aspect's file, from 0.

    `shared` is the aspect that named the same file before: its pictures are this prompt's too.
    """

    aspect: str
    number: int
    text: str
    shared: str = ""

    @property
    def drawn_for(self) -> str:
        """The aspect under which the pictures are kept."""
        return self.shared or self.aspect


@dataclass(frozen=True)
class Gallery:
    """Members by name, prompts of each aspect, and what all pictures have in common.

    `base` names the member that is tuned. `size` is (width, height) in pixels. A picture's seed is `seed`
    plus its prompt's number. Every `held_out`-th prompt of an aspect is kept for measuring alone.
    """

    path: Path
    members: Mapping[str, Member]
    prompts: tuple[Prompt, ...]
    base: str
    size: tuple[int, int]
    seed: int = 0
    held_out: int = 10

    def is_held_out(self, prompt: Prompt) -> bool:
        """Whether a prompt is for measuring alone."""
        return prompt.number % self.held_out == self.held_out - 1

    def held_out_texts(self) -> frozenset[str]:
        """The texts of prompts for measuring: one may stand in another aspect's file, or twice in its own."""
        return frozenset(one.text for one in self.prompts if self.is_held_out(one))

    def of_aspect(self, aspect: str) -> list[Prompt]:
        """The prompts of an aspect."""
        return [one for one in self.prompts if one.aspect == aspect]

    def with_members(self, more: Sequence[Member]) -> Gallery:
        """The same gallery with more members, behind its own."""
        return replace(self, members={**self.members, **{one.name: one for one in more}})

    def joined(self, iteration: int) -> list[Member]:
        """The members that are in the gallery in an iteration, in the file's order."""
        return [one for one in self.members.values() if one.joins <= iteration]

    @property
    def aspects(self) -> list[str]:
        """The aspects that have prompts."""
        return [aspect for aspect in ASPECTS if self.of_aspect(aspect)]


def looks_like_a_hub_name(name: str) -> bool:
    """Whether a text is owner/model, as models on Hugging Face's hub are called."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def read_gallery(path: Path) -> Gallery:
    """The gallery of a TOML file, or of a run's folder; `GalleryError` says what is wrong and what to do."""
    path = path / FILE if path.is_dir() else path
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise GalleryError(
            f"there is no gallery {path}; write one (docs/itercomp-loop.md shows how), or name it "
            "with --gallery"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GalleryError(f"{path} is no TOML file: {error}") from error
    known = ("base", "size", "seed", "held-out", "prompts", "members")
    if unknown := sorted(set(values) - set(known)):
        raise GalleryError(f"{path}: {', '.join(unknown)} is not known; there are {', '.join(known)}")
    members = _members(path, values.get("members"))
    base = values.get("base")
    if base not in members or members[base].kind != "diffusers" or members[base].joins:
        raise GalleryError(
            f'{path}: "base" is {base!r}; name the member of kind "diffusers" that is tuned and is in the '
            "gallery from the beginning"
        )
    prompts = _prompts(path, values.get("prompts"))
    return Gallery(
        path,
        members,
        prompts,
        base,
        _size(path, values.get("size", "512x512")),
        _whole(path, "seed", values.get("seed", 0), 0),
        _whole(path, "held-out", values.get("held-out", 10), 2),
    )


def _members(path: Path, tables: Any) -> dict[str, Member]:
    if not isinstance(tables, dict) or not tables:
        raise GalleryError(f"{path} has no members; write a table [members.NAME] with a kind for each")
    members: dict[str, Member] = {}
    for name, table in tables.items():
        where = f"{path}, member {name}"
        if not _NAME.fullmatch(name) or name.startswith(TUNED):
            raise GalleryError(
                f"{where}: a name is made of letters, digits, spaces, - . and _, begins with a letter or a "
                f'digit, has 64 characters at most and does not begin with "{TUNED}"'
            )
        if not isinstance(table, dict) or table.get("kind") not in KINDS:
            given = table.get("kind") if isinstance(table, dict) else table
            raise GalleryError(f'{where}: "kind" is {given!r}; there are {", ".join(KINDS)}')
        options = {key: value for key, value in table.items() if key not in ("kind", "joins")}
        if wrong := check_options(table["kind"], options):
            raise GalleryError(f"{where}: {'; '.join(wrong)}")
        joins = _whole(path, f"joins of {name}", table.get("joins", 0), 0)
        members[name] = Member(name, table["kind"], _resolved(path.parent, options), joins)
    same = {name.lower(): name for name in members}
    if len(same) < len(members):
        raise GalleryError(f"{path}: two members differ in upper and lower case alone; rename one")
    return members


def _resolved(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Options with paths as seen from here; a model that is not there may be a name on the hub."""
    found = dict(options)
    for name in PATHS & options.keys():
        path = folder / options[name]
        # "owner/model" may also be a path that is misspelt: then its first folder is here.
        on_the_hub = looks_like_a_hub_name(options[name]) and not path.parent.is_dir()
        if name != "model" or not on_the_hub:
            found[name] = str(path)
    return found


def _prompts(path: Path, tables: Any) -> tuple[Prompt, ...]:
    if not isinstance(tables, dict) or not tables:
        raise GalleryError(
            f"{path} has no prompts; write a table [prompts] that names a text file, one prompt a line, for "
            f"each of {', '.join(ASPECTS)}"
        )
    found: list[Prompt] = []
    named: dict[Path, str] = {}
    for aspect, name in tables.items():
        if aspect not in ASPECTS or not isinstance(name, str):
            raise GalleryError(
                f"{path}: the prompts of {aspect!r} are {name!r}; there are {', '.join(ASPECTS)}, each with "
                "the name of a text file"
            )
        file = path.parent / name
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise GalleryError(f"{path}: {file} cannot be read as a text of prompts: {error}") from error
        texts = [line.strip() for line in lines if line.strip()]
        if not texts:
            raise GalleryError(f"{file} has no prompts; write one on each line")
        first = named.setdefault(file.resolve(), aspect)
        shared = "" if first == aspect else first
        found += [Prompt(aspect, number, text, shared) for number, text in enumerate(texts)]
    return tuple(found)


def _size(path: Path, value: Any) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value) if isinstance(value, str) else None
    if match is None or int(match[1]) not in _SIDES or int(match[2]) not in _SIDES:
        raise GalleryError(f'{path}: "size" is {value!r}; write width x height in pixels, as "512x512"')
    return int(match[1]), int(match[2])


def _whole(path: Path, name: str, value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise GalleryError(f'{path}: "{name}" is {value!r}; it must be a whole number from {least}')
    return value
