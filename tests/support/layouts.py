"""Hypothesis strategies for layouts, usable ones and hostile JSON."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from instance_composer.layout import (
    Box,
    Canvas,
    Instance,
    Layout,
    Mask,
    Polygon,
    RunLength,
)

# For tests that draw whole layouts, which takes ten times as long as anything else.
fewer = settings(max_examples=max(10, settings().max_examples // 3))

# Captions as they come: any script, markup, controls, half surrogates.
texts = st.text(max_size=30) | st.sampled_from(
    [
        '<img src=x onerror="alert(1)">',
        "\x00\x1b[31mred",
        "\ud800",
        "红色的狐狸",
        "a ```json b",
        "{a}: 1 2 3 4:",
    ]
)
visible_texts = st.text(st.characters(categories=("L", "N", "P", "Zs")), max_size=30)
fractions = st.floats(0.0, 1.0)
colors = st.none() | st.from_regex(r"#[0-9a-f]{6}", fullmatch=True)
keys = st.text(min_size=1, max_size=5).map(lambda name: f"other-{name}")
extras = st.dictionaries(keys, st.integers() | texts | st.lists(st.booleans(), max_size=2), max_size=2)
canvases = st.builds(Canvas, st.integers(16, 16384), st.integers(16, 16384))


@st.composite
def boxes(draw: st.DrawFn, least: float = 0.0, most: float = 1.0, smallest: float = 0.01) -> Box:
    """Boxes of at least `smallest` a side between two bounds."""
    x0, y0 = (draw(st.floats(least, most - smallest)) for _ in range(2))
    x1, y1 = (draw(st.floats(min(most, low + smallest), most)) for low in (x0, y0))
    return Box(x0, y0, x1, y1)


@st.composite
def rasters(draw: st.DrawFn, largest: int = 8) -> tuple[bytes, int, int]:
    """Row-major 0/1 bytes, width, height."""
    width, height = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    bits = draw(st.integers(0, 2 ** (width * height) - 1))
    return bytes(bits >> place & 1 for place in range(width * height)), width, height


polygons = st.lists(st.tuples(fractions, fractions), min_size=3, max_size=8).map(
    lambda points: Polygon(tuple(points))
)
run_lengths = rasters().map(lambda raster: RunLength.from_raster(*raster))
masks: st.SearchStrategy[Mask | None] = st.none() | (polygons | run_lengths).filter(
    lambda mask: not mask.is_empty and mask.bounds.clipped() is not None
)


@st.composite
def instances(draw: st.DrawFn, identifier: str = "1", captions: st.SearchStrategy[str] = texts) -> Instance:
    start, end = draw(st.sampled_from([(0.0, 1.0), (0.0, 0.3), (0.25, 0.5), (0.1, 1.0)]))
    return Instance(
        id=identifier,
        box=draw(boxes()),
        caption=draw(captions),
        negative=draw(texts),
        mask=draw(masks),
        strength=draw(st.floats(0.0, 5.0)),
        start=start,
        end=end,
        enabled=draw(st.booleans()),
        locked=draw(st.booleans()),
        color=draw(colors),
        extra=draw(extras),
    )


@st.composite
def layouts(draw: st.DrawFn, most: int = 2) -> Layout:
    """Usable layouts with everything a document can hold."""
    names = draw(st.lists(st.text(min_size=1, max_size=5), max_size=most, unique=True))
    items = tuple(draw(instances(name)) for name in names)
    return Layout(items, draw(canvases), draw(texts), draw(texts), draw(extras))


@st.composite
def plain_layouts(draw: st.DrawFn, captions: st.SearchStrategy[str] = visible_texts) -> Layout:
    """Layouts that every format can hold: boxes of at least 2 % a side, captions, a prompt, ids "1", "2"."""
    contents = draw(st.lists(st.tuples(boxes(smallest=0.02), captions), max_size=4))
    items = (Instance(str(number), box, caption) for number, (box, caption) in enumerate(contents, 1))
    return Layout(tuple(items), draw(canvases), draw(captions))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
