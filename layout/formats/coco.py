"""COCO object annotations: images, categories, annotations with bbox [x, y, w, h] and segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..box import Box
from ..document import Layout
from ..instance import Canvas, Instance
from ..mask import Mask, Polygon, RunLength
from ..messages import quote
from ..problems import MOST_TOLD, LayoutError, Path, fault
from .found_json import parsed
from .notes import note, warn
from .segmentation import read_segmentation
from .shared import (
    Place,
    canvas_of,
    exported,
    given,
    require_list,
    require_numbers,
    require_object,
    require_text,
    tidy,
)


def recognises(data: Any) -> bool:
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        return False
    return "images" in data or "categories" in data


def read(source: Any, *, canvas: Canvas | None = None, image: int | str | None = None) -> Layout:
    """The annotations of one image, chosen by `image` (id or file name) if there are several.

    The caption of an instance is the annotation's "caption" if it has one, else the name of its category; the
    prompt is the image's "caption". `canvas` is used where the file does not tell the size of the image.
    """
    data = require_object(parsed(source), Place("a COCO file"))
    chosen, path = _choose(data, image)
    canvas = _canvas(chosen, path, canvas)
    names = _names(data)
    annotations = [
        (item, ("annotations", index))
        for index, item in _objects(data, "annotations")
        if "id" not in chosen or str(item.get("image_id")) == str(chosen["id"])
    ]
    instances = tuple(
        replace(instance, id=str(number))
        for number, instance in enumerate(_instances(annotations, canvas, names), 1)
    )
    if count := sum(bool(item.get("keypoints")) for item, _ in annotations):
        warn("key_not_read", ("annotations",), key="keypoints", count=count)
    note("pixel", "xywh")
    prompt = require_text(given(chosen, "caption"), Place("an image's caption", (*path, "caption")))
    return Layout(instances, canvas, prompt)


def _objects(data: Mapping[str, Any], key: str) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a list with their indexes; a warning names what is none, the error where nothing is."""
    found: list[tuple[int, dict[str, Any]]] = []
    lost: list[LayoutError] = []
    for index, item in enumerate(require_list(given(data, key, []), Place(key, (key,)))):
        try:
            found.append((index, require_object(item, Place(f"each of {key}", (key, index)))))
        except LayoutError as error:
            lost.append(error)
    if lost and not found:
        raise lost[0]
    _warn_of_lost(key, lost)
    return found


def _warn_of_lost(key: str, lost: list[LayoutError]) -> None:
    """One warning about entries of a list that cannot be read, however many."""
    if lost:
        reasons = [
            *map(str, lost[:MOST_TOLD]),
            *([f"{rest} more"] if (rest := len(lost) - MOST_TOLD) > 0 else []),
        ]
        warn("entries_lost", lost[0].path, key=key, reasons="; ".join(reasons))


def _names(data: Mapping[str, Any]) -> dict[str, str]:
    """The names of categories by id; a warning names those that have none."""
    names: dict[str, str] = {}
    lost: list[LayoutError] = []
    for index, item in _objects(data, "categories"):
        where = Place(f"category {quote(item.get('id'), 20)}", ("categories", index))
        try:
            names[str(item.get("id"))] = require_text(item.get("name"), where.key("name"))
        except LayoutError as error:
            lost.append(error)
    _warn_of_lost("categories", lost)
    return names


def is_named(category: Any) -> bool:
    """Whether a category can be read."""
    return isinstance(category, dict) and isinstance(category.get("name"), str)


def _choose(data: Mapping[str, Any], image: int | str | None) -> tuple[dict[str, Any], Path]:
    """The entry of the image that is meant and its path; an empty one when the file lists no images."""
    images = _objects(data, "images")
    if image is None and len(images) <= 1:
        return (images[0][1], ("images", images[0][0])) if images else ({}, ())
    listed = ", ".join(quote(item.get("id"), 20) for _, item in images[:10])
    listed += " …" if len(images) > 10 else ""
    if image is None:
        raise fault("choose_image", ("images",), count=len(images), ids=listed)
    found = [one for one in images if str(image) in (str(one[1].get("id")), one[1].get("file_name"))]
    if len(found) != 1:
        raise fault("no_image", ("images",), count=len(found), image=image, ids=listed)
    return found[0][1], ("images", found[0][0])


def _canvas(image: Mapping[str, Any], path: Path, canvas: Canvas | None) -> Canvas:
    if "width" in image and "height" in image:
        return canvas_of(image["width"], image["height"], Place("the size of an image", path))
    if canvas is None:
        raise fault("no_image_size", path)
    return canvas


def _instances(
    annotations: list[tuple[dict[str, Any], Path]], canvas: Canvas, names: Mapping[str, str]
) -> list[Instance]:
    """What can be read, with a warning for each annotation that cannot; its error where none can."""
    read: list[Instance] = []
    lost: list[LayoutError] = []
    flat: list[tuple[int, Instance, Path]] = []
    for item, path in annotations:
        where = Place(f"annotation {quote(item.get('id'), 20)}", path)
        try:
            instance = _instance(item, where, canvas, names, len(annotations))
        except LayoutError as error:
            lost.append(error)
            continue
        if instance.box.width == 0 or instance.box.height == 0:
            flat.append((len(read), instance, path))
        read.append(instance)
    if lost and not read:
        raise lost[0]
    for error in lost:
        warn("annotation_lost", error.path, reason=str(error).partition("\n")[0])
    if len(flat) == len(read):
        return read
    for place, instance, path in reversed(flat):
        warn("annotation_flat", path, number=int(path[-1]) + 1, caption=instance.caption)
        del read[place]
    return read


def _instance(
    item: Mapping[str, Any], where: Place, canvas: Canvas, names: Mapping[str, str], among: int
) -> Instance:
    # Annotations of outlines alone leave the box out, or write an empty one.
    mask = read_segmentation(item.get("segmentation"), canvas, where.key("segmentation"), among)
    pixels = None
    if mask is None or item.get("bbox") not in (None, []):
        pixels = require_numbers(item.get("bbox"), 4, where.key("bbox"))
    box = Box.from_pixels(pixels, canvas.width, canvas.height) if pixels and any(pixels[2:]) else None
    caption = item.get("caption") or names.get(str(item.get("category_id")))
    if caption is None:
        known = ", ".join(list(names)[:10]) or "none"
        value = quote(item.get("category_id"))
        raise fault("no_category", where.path, where=where.words, value=value, known=known)
    caption = require_text(caption, where.key("caption"))
    if box is None:
        box = mask.bounds if mask else Box.from_pixels(pixels or [0] * 4, canvas.width, canvas.height)
    return Instance("1", box, caption, mask=mask)


def write(layout: Layout) -> dict[str, Any]:
    """One image with id 1 and one category per caption; negatives and strengths are lost."""
    items = exported(layout)
    width, height = layout.canvas.width, layout.canvas.height
    captions = list(dict.fromkeys(item.caption for item in items))
    image = {"id": 1, "width": width, "height": height, "file_name": "", "caption": layout.prompt}
    annotations = [
        {
            "id": number,
            "image_id": 1,
            "category_id": captions.index(item.caption) + 1,
            "bbox": [tidy(value) for value in item.box.to_pixels(width, height)],
            "area": tidy(_share(item) * width * height),
            # A crowd is what no single thing is told apart in, which training leaves out.
            "iscrowd": 0,
            "segmentation": _write_mask(item.mask, width, height),
        }
        for number, item in enumerate(items, 1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(captions, 1)]
    return {"images": [image], "categories": categories, "annotations": annotations}


def _share(item: Instance) -> float:
    """The share of the image that an instance covers."""
    mask = item.mask
    if mask is None:
        return item.box.area
    if isinstance(mask, RunLength):
        return sum(mask.counts[1::2]) / sum(mask.counts)
    return mask.area


def _write_mask(mask: Mask | None, width: int, height: int) -> Any:
    if mask is None:
        return []
    if isinstance(mask, RunLength):
        # Readers of COCO take the size for the image's.
        own = mask.resized(width, height)
        if not own.is_empty:
            return {"size": list(own.size), "counts": list(own.counts)}
        # What lies between the image's pixels is written as its box.
        (x0, y0, x1, y1) = mask.bounds
        mask = Polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
    return [[tidy(value) for x, y in mask.points for value in (x * width, y * height)]]
