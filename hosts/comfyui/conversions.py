"""Conversions between layouts and ComfyUI's own types: IMAGE, MASK, BOUNDING_BOX."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...layout import (
    Instance,
    Layout,
    LayoutError,
    Mask,
    Polygon,
    RunLength,
)
from ...layout.formats import bounding_boxes, ideogram
from ...layout.formats.shared import quoted, saying
from ...layout.instance import same_proportion
from ...layout.transform import combine
from ...models.regions import COVERED

logger = logging.getLogger("instance_composer")

# Keys of the document: what came in last, the regions as that left them, and the instances it made.
UPSTREAM, REGIONS, MADE = "upstream", "upstream_regions", "upstream_made"


def images_from(tensor: Tensor) -> list[Image.Image]:
    """An IMAGE (B, H, W, 3) in 0..1 as pictures."""
    pixels = (tensor[..., :3].clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy()
    return [Image.fromarray(picture) for picture in pixels]


def image_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as an IMAGE (B, H, W, 3) in 0..1."""
    return torch.stack([torch.from_numpy(np.array(image.convert("RGB"))) for image in images]).float() / 255


def with_boxes(layout: Layout, boxes: Any) -> Layout:
    """The layout with the regions of a BOUNDING_BOX, in pixels of its canvas.

    The first box goes to the first enabled instance and so on, of which those that are locked keep their
    place; further boxes become instances, captioned by their label if they have one.
    """
    if isinstance(boxes, list) and len(boxes) > 1 and isinstance(boxes[0], list):
        raise LayoutError(
            f"There are boxes for {len(boxes)} pictures, a layout is for one. Give the detector one picture."
        )
    found = bounding_boxes.read(boxes, canvas=layout.canvas).instances
    return _with_regions(layout, found)


def with_elements(layout: Layout, elements: Any) -> Layout:
    """The layout with the elements of an ARRAY as Create Bounding Boxes makes it: boxes on a grid of 1000.

    The first element's region goes to the first enabled instance and so on; what an instance lacks (caption,
    text to show, palette) comes with it. Further elements become instances.
    """
    if not isinstance(elements, list):
        raise LayoutError(
            f"elements is of the type {type(elements).__name__}; a list of elements is needed, such as "
            "Create Bounding Boxes makes it."
        )
    try:
        found = ideogram.read(elements, canvas=layout.canvas).instances
    except LayoutError as error:
        raise LayoutError(f"elements: {error}") from error
    taken = _with_regions(layout, found)
    elements_by_id = _by_taker(layout, found)
    filled = (
        _filled(instance, elements_by_id[instance.id]) if instance.id in elements_by_id else instance
        for instance in taken.instances
    )
    return replace(taken, instances=tuple(filled))


def _filled(instance: Instance, element: Instance) -> Instance:
    """An instance with what an element has and it lacks; words to show are a part of its caption."""
    extra = {**element.extra, **instance.extra}
    words = element.extra.get("metadata", {}).get("text", "")
    caption = instance.caption or element.caption
    if words and "metadata" not in instance.extra and not quoted(caption):
        caption = saying(caption, words)
    return replace(instance, caption=caption, color=instance.color or element.color, extra=extra)


def elements_of(layout: Layout) -> list[dict[str, Any]]:
    """The same of the enabled instances, for the nodes that build prompts for Ideogram, FLUX 3 and MOSS."""
    return ideogram.write_drawn_elements(layout)


def with_masks(layout: Layout, masks: Tensor) -> Layout:
    """The layout with the regions of a MASK (N, H, W), the first for the first enabled instance and so on.

    LayoutError for a mask that shows no place. Masks of another shape than the canvas are stretched over it,
    which is told in the log.
    """
    shapes = [run_length(mask) for mask in masks.reshape(-1, *masks.shape[-2:])]
    for number, shape in enumerate(shapes, 1):
        if shape.is_empty:
            raise LayoutError(
                f"masks: mask {number} of {len(shapes)} is empty, so it shows no place. Leave it out; Load "
                "Image gives such a one for a picture without transparency."
            )
    size, canvas = (masks.shape[-1], masks.shape[-2]), (layout.canvas.width, layout.canvas.height)
    if not same_proportion(size, canvas):
        logger.warning(
            "The masks have another shape than the layout and are stretched over it: %d × %d pixels, the "
            "layout has %d × %d. Give both the same proportion.",
            *size,
            *canvas,
        )
    found = tuple(Instance(f"mask-{n}", shape.bounds, mask=shape) for n, shape in enumerate(shapes, 1))
    return _with_regions(layout, found)


def with_upstream_regions(layout: Layout, boxes: Any, masks: Tensor | None, elements: Any = None) -> Layout:
    """The layout with the regions of an ARRAY of elements, a BOUNDING_BOX and a MASK, in this order.

    Itself if it has taken in the same before.

    The key "upstream" of the document names the regions taken in last: edits made since then win until other
    regions come in. Those go by turn: an instance that the last ones made and nobody has edited becomes
    what comes, an edited one takes its region, and of the former those for which nothing comes go away. Boxes
    are pixels, so they are others on another canvas, unless somebody has changed a region by then.
    """
    if boxes is None and masks is None and elements is None:
        return layout
    name = _name_of(boxes, masks, elements)
    size = f"{layout.canvas.width}x{layout.canvas.height}"
    full_name = name if boxes is None else f"{name}-{size}"
    last = str(layout.extra.get(UPSTREAM, ""))
    # Documents of earlier versions have the name without the size.
    if last in (name, full_name) or (
        last.startswith(f"{name}-") and layout.extra.get(REGIONS) != _digest_of_regions(layout)
    ):
        return layout
    came = Layout(canvas=layout.canvas)
    if elements is not None:
        came = with_elements(came, elements)
    described = len(came.instances)
    if boxes is not None:
        came = with_boxes(came, boxes)
    if masks is not None:
        came = with_masks(came, masks)
    layout, made = _taken_in(layout.checked(), came.instances, described)
    told = {UPSTREAM: full_name, REGIONS: _digest_of_regions(layout), MADE: made}
    return replace(layout, extra={**layout.extra, **told})


def _taken_in(layout: Layout, came: tuple[Instance, ...], described: int) -> tuple[Layout, dict[str, str]]:
    """The layout with what came, the first `described` of it elements; and digests of what it has made."""
    made = layout.extra.get(MADE)
    made = made if isinstance(made, dict) else {}
    # Of what was made, an instance that was switched off has its turn too: else the others would move up.
    takers = _by_taker(layout, came, made)
    elements = _by_taker(layout, came[:described], made)
    kept: list[Instance] = []
    for one in layout.instances:
        region = takers.get(one.id)
        if one.id in made and made[one.id] == _digest_of(replace(one, enabled=True)):
            if region is not None:
                kept.append(replace(region, id=one.id, enabled=one.enabled))
            elif not one.enabled:
                kept.append(one)
            continue
        if region is not None and not one.locked:
            one = replace(one, box=region.box, mask=region.mask)
        kept.append(_filled(one, elements[one.id]) if one.id in elements else one)
    further = Layout(came[len(takers) :], layout.canvas)
    taken = combine(replace(layout, instances=tuple(kept)), further)
    digests = {one.id: made[one.id] for one in kept if one.id in made}
    # What an edited one would be without the edit, so that it counts as unedited once that is taken back.
    digests |= {id: _digest_of(replace(takers[id], id=id)) for id in digests if id in takers}
    digests |= {one.id: _digest_of(one) for one in taken.instances[len(kept) :]}
    return taken, digests


def _digest_of(*instances: Instance) -> str:
    """A short name for instances as they are; what lies off the canvas is cut once a size is set."""
    shown = [replace(one, box=one.box.clipped() or one.box) for one in instances]
    return hashlib.sha256(Layout(tuple(shown)).to_json().encode()).hexdigest()[:16]


def _digest_of_regions(layout: Layout) -> str:
    return _digest_of(*(Instance(one.id, one.box, mask=one.mask) for one in layout.instances))


def boxes_of(layout: Layout) -> list[list[dict[str, Any]]]:
    """A BOUNDING_BOX of the enabled instances: boxes in pixels of the canvas, for one picture."""
    return [bounding_boxes.write(layout)]


def masks_of(layout: Layout) -> Tensor:
    """A MASK (N, H, W) of the enabled instances at the canvas size; one empty mask if there are none."""
    width, height = layout.canvas.width, layout.canvas.height
    enabled = [instance for instance in layout.instances if instance.enabled]
    if not enabled:
        return torch.zeros(1, height, width)
    # One after the other into its place: of hundreds, bytes beside them would be as large again.
    masks = torch.empty(len(enabled), height, width)
    for mask, instance in zip(masks, enabled, strict=True):
        pixels = bytearray(shape_of(instance).raster(width, height))
        mask.copy_(torch.frombuffer(pixels, dtype=torch.uint8).view(height, width))
    return masks


def _name_of(boxes: Any, masks: Tensor | None, elements: Any) -> str:
    digest = hashlib.sha256(json.dumps(boxes, sort_keys=True, default=str).encode())
    if elements is not None:
        digest.update(json.dumps(elements, sort_keys=True, default=str).encode())
    if masks is not None:
        digest.update(repr(tuple(masks.shape)).encode())
        digest.update((masks >= COVERED).to("cpu", torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _with_regions(layout: Layout, found: tuple[Instance, ...]) -> Layout:
    regions = _by_taker(layout.checked(), found)
    matched = tuple(
        replace(instance, box=regions[instance.id].box, mask=regions[instance.id].mask)
        if instance.id in regions and not instance.locked
        else instance
        for instance in layout.instances
    )
    further = Layout(found[len(regions) :], layout.canvas)
    return combine(replace(layout, instances=matched), further)


def _by_taker(layout: Layout, found: tuple[Instance, ...], also: Container[str] = ()) -> dict[str, Instance]:
    """Whose turn it is: what was found by the id of an instance, in the order in which they go out.

    Instances that are switched off have a turn only where their id is in `also`.
    """
    takers = (instance for instance in layout.instances if instance.enabled or instance.id in also)
    return {instance.id: one for instance, one in zip(takers, found, strict=False)}


def shape_of(instance: Instance) -> Mask:
    """The region of an instance: its mask, or its box as a polygon."""
    x0, y0, x1, y1 = instance.box
    return instance.mask or Polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))


def run_length(mask: Tensor) -> RunLength:
    """A soft mask (H, W) as a run-length."""
    height, width = mask.shape
    raster = (mask >= COVERED).to("cpu", torch.uint8).numpy().tobytes()
    return RunLength.from_raster(raster, width, height)
