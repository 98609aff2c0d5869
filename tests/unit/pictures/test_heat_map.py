"""Heat over a picture: colours, outline, size."""

from __future__ import annotations

from itertools import pairwise

import pytest
from PIL import Image

from instance_composer.pictures import draw_heat_map
from instance_composer.pictures.heat_map import colored


def luminance(color):
    red, green, blue = color
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_hotter_is_lighter_everywhere():
    ramp = colored(Image.frombytes("L", (256, 1), bytes(range(256))))
    shades = [luminance(ramp.getpixel((value, 0))) for value in range(256)]
    assert all(later >= earlier - 0.5 for earlier, later in pairwise(shades))
    assert shades[-1] - shades[0] > 180


def test_heat_is_stretched_over_the_picture_and_blended():
    picture = Image.new("RGBA", (200, 120), (10, 200, 30, 255))
    heat = Image.new("L", (2, 1))
    heat.putpixel((1, 0), 255)
    drawn = draw_heat_map(picture, heat, "red book 50%", 1, opacity=1.0)
    assert (drawn.size, drawn.mode) == ((200, 120), "RGB")
    assert luminance(drawn.getpixel((190, 100))) > 200
    assert luminance(drawn.getpixel((5, 100))) < 60
    untouched = draw_heat_map(picture, heat, "red book 50%", 1, opacity=0.0)
    assert untouched.getpixel((190, 110)) == (10, 200, 30)
    with pytest.raises(ValueError, match="opacity is 2; 0 to 1"):
        draw_heat_map(picture, heat, "red book", 1, opacity=2)


def test_the_region_is_outlined_up_to_the_border_and_not_filled():
    picture = Image.new("RGB", (200, 120), (0, 0, 0))
    region = Image.new("L", (4, 4))
    for place in ((2, 2), (3, 2), (2, 3), (3, 3)):
        region.putpixel(place, 255)
    drawn = draw_heat_map(picture, Image.new("L", (1, 1)), "", 1, region, opacity=0.0)
    white = (255, 255, 255)
    assert drawn.getpixel((199, 100)) == white
    assert drawn.getpixel((150, 119)) == white
    assert drawn.getpixel((150, 95)) == (0, 0, 0)
    assert drawn.getpixel((50, 110)) == (0, 0, 0)
