"""A layout drawn over a picture: regions, names, captions, and what lies in front of what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

from ..layout import Box, Layout
from ..layout.choosing import name_of
from .captions import (
    drawable,
    font_for,
    text_size,
    wrap,
)
from .labels import (
    Color,
    Label,
    Rectangle,
    draw_labels,
)

# Colours that stay distinct in common colour blindnesses: Okabe and Ito (2008) but for black, then three of
# Tol's "muted".
PALETTE = (
    *("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"),
    *("#882255", "#44aa99", "#999933"),
)
_GROUND: Color = (38, 40, 44)
_GRID: Color = (54, 57, 62)
_HALO: Color = (16, 17, 20)
_TEXT: Color = (240, 240, 240)
_LONGEST_SIDE = 1024
# In letters; a plate needs room for the caption too.
_LONGEST_NAME = 12


@dataclass(frozen=True)
class _Region:
    """The region of one instance on the picture: a box in pixels, inside it the shape and its outline."""

    color: Color
    active: bool
    box: Rectangle
    shape: Image.Image
    outline: Image.Image


def instance_color(layout: Layout, index: int) -> str:
    """The colour "#rrggbb" of an instance: its own, or the one of its place in the stack."""
    return layout.instances[index].color or PALETTE[index % len(PALETTE)]


def draw_layout(
    layout: Layout,
    size: tuple[int, int] | None = None,
    background: Image.Image | None = None,
    opacity: float = 0.35,
) -> Image.Image:
    """The regions of a usable layout over a picture or a dark ground, RGB.

    `size` is (width, height) in pixels: by default the background's, else the canvas at up to 1024 a side.
    `opacity` 0 to 1 is that of the region colours. Instances go by their ids, as in the editor; one that is
    long or cannot be typed goes by its number from the back. A region covers those behind it, of whose
    outlines a dashed line stays. Instances that do not take part are dashed and not filled. LayoutError for
    a layout with errors.
    """
    if not 0.0 <= opacity <= 1.0:
        raise ValueError(f"opacity is {opacity:g}; 0 to 1 is allowed")
    layout.checked()
    size = _size(layout, size, background)
    ground = _grid(size) if background is None else background.convert("RGB").resize(size)
    regions = [_region(layout, index, size) for index in range(len(layout.instances))]
    picture = ground.copy()
    for region in regions:
        if region.active:
            below = ground.crop(region.box)
            tinted = Image.blend(below, Image.new("RGB", below.size, region.color), opacity)
            picture.paste(tinted, region.box, region.shape)
    _draw_outlines(picture, regions)
    draw_labels(picture, _labels(layout, regions, size))
    return picture


def side_by_side(images: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Pictures in a row at the height of the tallest, each under its label, RGB."""
    if not images or len(images) != len(labels):
        given = f"{len(images)} pictures and {len(labels)} labels"
        raise ValueError(f"one label for each of at least one picture is needed, got {given}")
    height = max(image.height for image in images)
    widths = [max(1, round(image.width * height / image.height)) for image in images]
    letters = text_size((height, height))
    gap, strip = max(4, height // 64), letters * 2
    row = Image.new("RGB", (sum(widths) + gap * (len(images) + 1), strip + height + gap), _GROUND)
    draw, left = ImageDraw.Draw(row), gap
    for image, width, label in zip(images, widths, labels, strict=True):
        text = drawable(label)
        font = font_for(text, letters)
        draw.text((left, strip // 2), "".join(wrap(text, font, width, 1)), font=font, fill=_TEXT, anchor="lm")
        row.paste(image.convert("RGB").resize((width, height)), (left, strip))
        left += width + gap
    return row


def _size(layout: Layout, size: tuple[int, int] | None, background: Image.Image | None) -> tuple[int, int]:
    if size is not None:
        if min(size) < 1:
            raise ValueError(f"the picture would have {size[0]} × {size[1]} pixels; at least 1 × 1 is needed")
        return size
    if background is not None:
        return background.size
    width, height = layout.canvas.width, layout.canvas.height
    shrink = min(1.0, _LONGEST_SIDE / max(width, height))
    return max(1, round(width * shrink)), max(1, round(height * shrink))


def _grid(size: tuple[int, int]) -> Image.Image:
    """A dark ground with lines at every eighth."""
    ground = Image.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(ground)
    for eighth in range(1, 8):
        x, y = size[0] * eighth // 8, size[1] * eighth // 8
        draw.line((x, 0, x, size[1]), fill=_GRID)
        draw.line((0, y, size[0], y), fill=_GRID)
    return ground


def _thickness(size: tuple[int, int]) -> int:
    return max(2, round(max(size) / 320))


def _region(layout: Layout, index: int, size: tuple[int, int]) -> _Region:
    instance = layout.instances[index]
    thickness = _thickness(size)
    left, top, right, bottom = box = _pixels(instance.bounds, size)
    if instance.mask is None:
        shape = Image.new("L", (right - left, bottom - top), 255)
        outline = Image.new("L", shape.size)
        ImageDraw.Draw(outline).rectangle(
            (0, 0, shape.width - 1, shape.height - 1), outline=255, width=thickness
        )
    else:
        whole = Image.frombytes("L", size, instance.mask.raster(*size).replace(b"\x01", b"\xff"))
        inner = whole.filter(ImageFilter.MinFilter(2 * thickness + 1))
        shape, outline = whole.crop(box), ImageChops.subtract(whole, inner).crop(box)
    red, green, blue = ImageColor.getrgb(instance_color(layout, index))[:3]
    return _Region((red, green, blue), instance.active, box, shape, outline)


def _pixels(box: Box, size: tuple[int, int]) -> Rectangle:
    """Left, top, right, bottom in whole pixels of the picture, at least one pixel each way."""
    inside = box.clipped() or box
    left, right = _span(inside.x0, inside.x1, size[0])
    top, bottom = _span(inside.y0, inside.y1, size[1])
    return left, top, right, bottom


def _span(start: float, end: float, pixels: int) -> tuple[int, int]:
    first = min(pixels - 1, round(start * pixels))
    return first, max(first + 1, round(end * pixels))


def _draw_outlines(picture: Image.Image, regions: Sequence[_Region]) -> None:
    """Whole lines where nothing is in front, dashes where something is."""
    dashes = _dashes(picture.size)
    covered, halo = Image.new("L", picture.size), Image.new("L", picture.size)
    lines = []
    for region in reversed(regions):
        in_front, dashed = covered.crop(region.box), dashes.crop(region.box)
        hidden = ImageChops.multiply(ImageChops.multiply(region.outline, in_front), dashed)
        visible = ImageChops.subtract(region.outline, in_front)
        if region.active:
            covered.paste(255, region.box, region.shape)
        else:
            visible = ImageChops.multiply(visible, dashed)
        halo.paste(255, region.box, visible)
        lines.append((region, ImageChops.lighter(visible, hidden)))
    picture.paste(_HALO, (0, 0), halo.filter(ImageFilter.MaxFilter(3)))
    for region, line in reversed(lines):
        picture.paste(region.color, region.box, line)


def _dashes(size: tuple[int, int]) -> Image.Image:
    """Diagonal stripes: any line under them is dashed."""
    dashes = Image.new("L", size)
    draw, width = ImageDraw.Draw(dashes), _thickness(size) * 2
    for start in range(-size[1], size[0], width * 3):
        draw.line((start, 0, start + size[1], size[1]), fill=255, width=width)
    return dashes


def _labels(layout: Layout, regions: Sequence[_Region], size: tuple[int, int]) -> list[Label]:
    return [
        Label(
            name=_shortened(drawable(name_of(layout, index, _LONGEST_NAME))),
            caption=drawable(item.caption) or "no caption",
            color=region.color,
            box=region.box,
            muted=not item.active,
        )
        for index, (item, region) in enumerate(zip(layout.instances, regions, strict=True))
    ]


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
