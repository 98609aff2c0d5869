"""Pictures of a gallery's members: where they are, and what each says of itself.

A picture is `pictures/<member>/<aspect>/<number>.png` in a run's folder; aspects with the same prompts share
those of the first. It holds its own record as JSON in the PNG's text, so that what is there needs no list
that could be wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .errors import GalleryError
from .gallery import Prompt

FOLDER = "pictures"
_KEY = "instance-composer.gallery"


def picture_file(run: Path, member: str, prompt: Prompt) -> Path:
    """Where a member's picture of a prompt is, or will be."""
    return run / FOLDER / member / prompt.drawn_for / f"{prompt.number:05d}.png"


def picture_digests(run: Path, members: Iterable[str], prompt: Prompt) -> dict[str, str]:
    """A short digest of the file of each member's picture of a prompt, of those that are there."""
    found: dict[str, str] = {}
    for member in members:
        file = picture_file(run, member, prompt)
        with suppress(FileNotFoundError):
            now = file.stat()
            found[member] = _digest(file, now.st_ino, now.st_mtime_ns, now.st_size)
    return found


# Aspects share pictures and are asked about again and again; a file that was written anew has another key.
@cache
def _digest(file: Path, *_: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def each_once(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Prompts without those whose pictures are another's."""
    found: dict[tuple[str, int], Prompt] = {}
    for one in prompts:
        found.setdefault((one.drawn_for, one.number), one)
    return [*found.values()]


def write_picture(file: Path, picture: Image.Image, record: dict[str, Any]) -> None:
    """Write a picture with its record, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    info.add_itxt(_KEY, json.dumps(record, ensure_ascii=False, sort_keys=True))
    # Another process may be writing beside this one.
    beginning = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        picture.convert("RGB").save(beginning, "PNG", pnginfo=info)
        os.replace(beginning, file)
    finally:
        beginning.unlink(missing_ok=True)


def read_record(file: Path) -> dict[str, Any]:
    """What a picture says of itself; `GalleryError` for one that this program did not write."""
    try:
        with Image.open(file) as picture:
            picture.load()
            found = json.loads(picture.info.get(_KEY, "null"))
    except (OSError, ValueError, SyntaxError) as error:
        raise GalleryError(f"{file} cannot be read ({error}); delete it, and it is made again") from error
    if not isinstance(found, dict):
        raise GalleryError(
            f"{file} does not say how it was made; move it away (pictures of your own are a member of kind "
            '"folder")'
        )
    return found


def missing(
    run: Path, member: str, prompts: Iterable[Prompt], made_with: dict[str, Any], seed: int | None = None
) -> list[Prompt]:
    """The prompts a member has no picture of; `GalleryError` for a picture made otherwise than asked now.

    `seed` is that of the gallery, where it decides what the member draws.
    """
    found: list[Prompt] = []
    for prompt in prompts:
        file = picture_file(run, member, prompt)
        if not file.is_file():
            found.append(prompt)
            continue
        record = read_record(file)
        asked = {"prompt": prompt.text, **made_with}
        if seed is not None:
            asked["seed"] = seed + prompt.number
        changed = sorted(name for name in asked if record.get(name) != asked[name])
        if changed:
            was = ", ".join(f"{name} was {record.get(name)!r} and is now {asked[name]!r}" for name in changed)
            raise GalleryError(
                f"{file} was made otherwise: {was}. Change it back, or move {file.parents[1]} away to have "
                "the pictures made again"
            )
    return found


def clear_unfinished(run: Path) -> None:
    """Remove what processes that were killed left of pictures; only while none is at work."""
    for file in (run / FOLDER).glob("*/*/*.png.*.part"):
        file.unlink(missing_ok=True)


def index(run: Path, members: Sequence[str], prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """A line for each picture that is there: member, aspect, number, prompt, seed, file within the run."""
    lines: list[dict[str, Any]] = []
    for member in members:
        for prompt in each_once(prompts):
            file = picture_file(run, member, prompt)
            if file.is_file():
                record = read_record(file)
                lines.append(
                    {
                        "member": member,
                        "aspect": prompt.drawn_for,
                        "number": prompt.number,
                        "prompt": prompt.text,
                        "seed": record.get("seed"),
                        "file": file.relative_to(run).as_posix(),
                    }
                )
    return lines


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """JSON Lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beginning = path.with_name(f"{path.name}.part")
    try:
        beginning.write_bytes(as_json_lines(lines))
        os.replace(beginning, path)
    finally:
        beginning.unlink(missing_ok=True)


def as_json_lines(lines: Iterable[dict[str, Any]]) -> bytes:
    """A file of JSON Lines."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode("utf-8")
