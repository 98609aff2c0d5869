"""Which pictures of a data set are left out: small ones, stretched ones, and copies of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .fingerprints import Fingerprint, Known
from .writing import replace_whole

FILE = "left-out.tsv"
KEEP, SAME, NEAR = COPIES = ("keep", "same", "near")
# Of 256 levels, how far the colours of two quarters may lie apart in pictures that count as alike: more than
# a scaled and compressed copy differs, less than a thing in another colour.
_COLOR_DISTANCE = 16


class ListError(ValueError):
    """A list of pictures to leave out that cannot be read."""


@dataclass(frozen=True)
class Rules:
    """What stays: pictures with at least `shortest_side` pixels on each side, at most `stretched` times as
    long as wide or as wide as long (0: any), and by `copies` all (`keep`), all with other pixels (`same`), or
    all that look otherwise (`near`: up to `distance` of 128 edges differ, and colours hardly)."""

    shortest_side: int = 0
    stretched: float = 0.0
    copies: str = NEAR
    distance: int = 6


@dataclass(frozen=True)
class Reason:
    """Why a picture is left out: in one word, which is counted, and exactly."""

    kind: str
    text: str


def sift(known: Known, rules: Rules) -> dict[str, Reason]:
    """The pictures that are left out; of copies the largest stays, or the first by name."""
    out: dict[str, Reason] = {}
    rest: dict[str, Fingerprint] = {}
    for name, one in known.items():
        if isinstance(one, str):
            out[name] = Reason("unreadable", one)
        elif min(one.width, one.height) < rules.shortest_side:
            out[name] = Reason("small", f"{one.width} × {one.height} pixels")
        elif rules.stretched and max(one.width, one.height) > rules.stretched * min(one.width, one.height):
            out[name] = Reason("stretched", f"{one.width} × {one.height} pixels")
        else:
            rest[name] = one
    if rules.copies == KEEP:
        return out
    order = sorted(rest, key=lambda name: (-rest[name].width * rest[name].height, name))
    firsts: dict[str, str] = {}
    for name in order:
        first = firsts.setdefault(rest[name].digest, name)
        if first != name:
            out[name] = Reason("copy", f"the same pixels as {first}")
    if rules.copies == NEAR:
        different = {name: rest[name] for name in order if name not in out}
        for name, first in _alike(different, rules.distance):
            out[name] = Reason("alike", f"looks like {first}")
    return out


def _alike(pictures: Mapping[str, Fingerprint], distance: int) -> Iterator[tuple[str, str]]:
    """Those that look like an earlier one that is not alike to another itself, and that one.

    Where at most d bits of two differ, one of d + 1 parts of them is the same, so only those are compared
    that share a part. A part takes bits from all over the picture, because plain backgrounds share a corner.
    """
    names = list(pictures)
    if not names:
        return
    edges = np.frombuffer(bytes.fromhex("".join(one.edges for one in pictures.values())), np.uint8)
    bits = np.unpackbits(edges.reshape(len(names), -1), axis=1)
    colors = np.frombuffer(bytes.fromhex("".join(one.colors for one in pictures.values())), np.uint8)
    colors = colors.reshape(len(names), -1).astype(np.int16)
    whole = [int.from_bytes(row.tobytes(), "big") for row in np.packbits(bits, axis=1)]
    parts = [np.packbits(bits[:, part :: distance + 1], axis=1) for part in range(distance + 1)]
    seen: list[dict[bytes, list[int]]] = [{} for _ in parts]
    for number, name in enumerate(names):
        own = [part[number].tobytes() for part in parts]
        candidates = {one for part, key in zip(seen, own, strict=True) for one in part.get(key, ())}
        near = (one for one in candidates if (whole[one] ^ whole[number]).bit_count() <= distance)
        alike = [one for one in near if abs(colors[one] - colors[number]).max() <= _COLOR_DISTANCE]
        if alike:
            yield name, names[min(alike)]
            continue
        for part, key in zip(seen, own, strict=True):
            part.setdefault(key, []).append(number)


def write_list(out: Mapping[str, Reason], file: Path) -> None:
    """A line for each picture that is left out: its name, a tab, and why."""
    lines = (f"{name}\t{out[name].kind}: {out[name].text}\n" for name in sorted(out))
    text = "".join(line.replace("\r", " ") for line in lines)
    # Names of files may be other bytes than UTF-8, and come back as they are.
    replace_whole(file, lambda unfinished: unfinished.write_text(text, "utf-8", "surrogateescape"))


def read_list(file: Path) -> set[str]:
    """The names in such a list, which may also be one name a line; `ListError` if it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise ListError(f"{file} cannot be read as a list of pictures: {error}") from error
    if "\0" in text:
        raise ListError(f"{file} cannot be read as a list of pictures: it is not UTF-8 text")
    # What stands before a tab is a name to the last blank, and what a person wrote has blanks around it.
    rows = (line.partition("\t") for line in text.split("\n"))
    return {name if tab else name.strip() for name, tab, _ in rows if name.strip()}
