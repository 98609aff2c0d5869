"""A heat map drawn over a picture, with the outline of the region it belongs to."""

from __future__ import annotations

from PIL import Image, ImageChops, ImageFilter

from .captions import drawable
from .labels import Color, Label, draw_labels

# Colours from cold to hot, growing lighter throughout, so that it reads without colour vision too.
_RAMP: tuple[Color, ...] = ((20, 14, 54), (101, 21, 110), (190, 55, 82), (246, 128, 41), (252, 246, 164))
_OUTLINE: Color = (255, 255, 255)


def draw_heat_map(
    picture: Image.Image,
    heat: Image.Image,
    caption: str,
    number: int,
    region: Image.Image | None = None,
    opacity: float = 0.7,
) -> Image.Image:
    """The heat over a picture, RGB at the picture's size.

    `heat` and `region` are grey pictures of any size, stretched over the whole. Brightness is heat, and what
    is at least half white belongs to the region, whose outline is drawn. `opacity` of the heat is 0 to 1.
    """
    if not 0.0 <= opacity <= 1.0:
        raise ValueError(f"opacity is {opacity:g}; 0 to 1 is allowed")
    ground = picture.convert("RGB")
    smooth = heat.convert("L").resize(ground.size, Image.Resampling.BICUBIC)
    drawn = Image.blend(ground, colored(smooth), opacity)
    if region is not None:
        drawn.paste(_OUTLINE, (0, 0), _outline(region, ground.size))
    label = Label(str(number), drawable(caption), _RAMP[3], (0, 0, *ground.size), muted=False)
    draw_labels(drawn, [label])
    return drawn


def colored(heat: Image.Image) -> Image.Image:
    """A grey picture in the colours of heat."""
    places = [value * (len(_RAMP) - 1) / 255 for value in range(256)]
    channels = [heat.point([_between(place, channel) for place in places]) for channel in range(3)]
    return Image.merge("RGB", channels)


def _between(place: float, channel: int) -> int:
    low = min(int(place), len(_RAMP) - 2)
    cold, hot = _RAMP[low][channel], _RAMP[low + 1][channel]
    return round(cold + (hot - cold) * (place - low))


def _outline(region: Image.Image, size: tuple[int, int]) -> Image.Image:
    thickness = max(1, round(max(size) / 512))
    whole = region.convert("L").resize(size).point([0] * 128 + [255] * 128)
    # An empty frame around the region, so that one at the border of the picture is outlined there too.
    framed = Image.new("L", (size[0] + 2, size[1] + 2))
    framed.paste(whole, (1, 1))
    inner = framed.filter(ImageFilter.MinFilter(2 * thickness + 1)).crop((1, 1, size[0] + 1, size[1] + 1))
    return ImageChops.subtract(whole, inner)
