"""A whole COCO file: the layout of every image in it, with captions from COCO's file of captions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..document import Layout
from ..messages import quote
from ..problems import LayoutError
from . import coco
from .collection import CollectionError
from .notes import taken
from .shared import Place, given, require_list, require_object, require_text


class Described(NamedTuple):
    """An image of the file by its name (else its id), and its layout with what is not in it; else why not."""

    name: str
    layout: Layout | None
    reason: str = ""
    warnings: tuple[str, ...] = ()


def read_set(
    file: Path, captions: Path | None = None, *, most: int = 10, smallest: float = 0.01
) -> Iterator[Described]:
    """The images of a file of object annotations, in its order, each with its largest `most` boxes that cover
    at least the share `smallest`.

    The prompt is the first of an image's captions. Outlines are left out, and annotations of crowds, whose
    box is of no single thing. `LayoutError` or `CollectionError` for a file that is
    none.
    """
    data = _read(file)
    annotations = _by_image(data, "annotations", file)
    told = _by_image(_read(captions), "annotations", captions) if captions is not None else {}
    categories = require_list(given(data, "categories", []), Place(f'"categories" of {file.name}'))
    named = [one for one in categories if coco.is_named(one)]
    # Told where they are missed, and not with every image of the file.
    nameless = [one for one in categories if isinstance(one, dict) and not coco.is_named(one)]
    for index, image in enumerate(_objects(data, "images", file)):
        name = f"image {quote(image.get('id'), 40)}"
        own = [
            {key: one.get(key) for key in ("id", "image_id", "category_id", "bbox")}
            for one in annotations.get(str(image.get("id")), ())
            if not one.get("iscrowd")
        ]
        said = next((str(one.get("caption", "")) for one in told.get(str(image.get("id")), ())), "")
        entry = {**image, "caption": " ".join(said.split()) or image.get("caption", "")}
        meant = {str(one["category_id"]) for one in own}
        concerned = [*named, *(one for one in nameless if str(one.get("id")) in meant)]
        try:
            name = require_text(image.get("file_name"), Place(f"{name}: file_name", ("images", index)))
            with taken() as notes:
                layout = coco.read({"images": [entry], "categories": concerned, "annotations": own})
        except LayoutError as error:
            yield Described(name, None, str(error))
            continue
        yield Described(name, _largest(layout, most, smallest), warnings=tuple(map(str, notes.warnings)))


def _largest(layout: Layout, most: int, smallest: float) -> Layout:
    """The largest things, the largest first, as in training data that a detector makes."""
    large = [one for one in layout.instances if one.box.area >= smallest]
    large.sort(key=lambda one: -one.box.area)
    return replace(layout, instances=tuple(large[:most]))


def _read(file: Path) -> dict[str, Any]:
    # Larger than a text may be: the file of a whole set has hundreds of megabytes.
    with file.open(encoding="utf-8-sig") as opened:
        try:
            data = json.load(opened)
        except (ValueError, RecursionError) as error:
            raise CollectionError(f"{file} is no JSON: {error}") from error
    return require_object(data, Place(f"the COCO file {file}"))


def _objects(data: dict[str, Any], key: str, file: Path) -> list[dict[str, Any]]:
    items = require_list(data.get(key), Place(f'"{key}" of {file.name}', (key,)))
    return [require_object(item, Place(f"each of {key}", (key, n))) for n, item in enumerate(items)]


def _by_image(data: dict[str, Any], key: str, file: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in _objects(data, key, file):
        found[str(one.get("image_id"))].append(one)
    return found
