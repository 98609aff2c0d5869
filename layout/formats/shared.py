"""Parts that several formats share: places, numbers, grids, captions with extras."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import cos, floor, hypot, sin
from numbers import Real
from typing import Any

from ..box import Box
from ..document import Layout
from ..instance import Canvas, Instance
from ..mask import Mask, Polygon
from ..messages import quote
from ..problems import Path, fault
from .notes import warn

FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
# What detectors and annotation tools call the kind of a thing.
_KINDS = (
    *("class", "class_name", "category", "category_name", "title", "tag"),
    *("class_id", "category_id"),
)
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_QUOTED = re.compile('["“„]([^"“”„]+)["“”]')


@dataclass(frozen=True)
class Place:
    """A value's place in foreign JSON: its words for a message, and the path that leads to it."""

    words: str
    path: Path = ()

    def key(self, name: str) -> Place:
        """The place of what an object holds under a key."""
        return Place(f"{self.words}: {name}", (*self.path, name))

    def item(self, index: int) -> Place:
        """The place of an item of a list, which is called as its list."""
        return Place(self.words, (*self.path, index))


def blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def require_object(value: Any, where: Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise fault("need_object", where.path, where=where.words, value=quote(value))
    return value


def require_list(value: Any, where: Place) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise fault("need_list", where.path, where=where.words, value=quote(value))
    return list(value)


def require_text(value: Any, where: Place) -> str:
    if not isinstance(value, str):
        raise fault("need_text", where.path, where=where.words, value=quote(value))
    return value


def require_number(value: Any, where: Place) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise fault("need_number", where.path, where=where.words, value=quote(value))
    try:
        return float(value)
    except OverflowError:
        raise fault("large_number", where.path, where=where.words) from None


def require_numbers(value: Any, amount: int, where: Place) -> list[float]:
    if not isinstance(value, (list, tuple)) or len(value) != amount:
        raise fault("need_numbers", where.path, where=where.words, count=amount, value=quote(value))
    return [require_number(item, where.item(index)) for index, item in enumerate(value)]


def require_side(value: Any, where: Place) -> int:
    """A positive whole number of pixels."""
    number = require_number(value, where)
    if not (1 <= number <= 1e6 and number.is_integer()):
        raise fault("need_side", where.path, where=where.words, value=quote(value))
    return int(number)


def canvas_of(
    width: Any, height: Any, where: Place, steps: Sequence[str | int] = ("width", "height")
) -> Canvas:
    """A canvas of two sides, which are at `steps` below `where`."""
    sides = [
        require_side(side, Place(where.words, (*where.path, step)))
        for side, step in zip((width, height), steps, strict=True)
    ]
    return Canvas(sides[0], sides[1])


def require_canvas(canvas: Canvas | None, what: str) -> Canvas:
    if canvas is None:
        raise fault("need_canvas", what=what)
    return canvas


def chosen_picture(names: Sequence[tuple[Any, ...]], image: int | str | None, path: Path = ()) -> int:
    """Index of the picture that is meant among those of a file, each with what it may be called."""
    if image is None and len(names) == 1:
        return 0
    listed = ", ".join(quote(called[0], 40) for called in names[:10]) + (" …" if len(names) > 10 else "")
    if image is None:
        raise fault("choose_image", path, count=len(names), ids=listed)
    found = [index for index, called in enumerate(names) if str(image) in map(str, called)]
    if len(found) != 1:
        raise fault("no_image", path, count=len(found), image=image, ids=listed)
    return found[0]


def class_caption(number: Any, names: Mapping[str, str], unnamed: set[str]) -> str:
    """The name of a class; its number, which is added to `unnamed`, where it has none."""
    key = str(number)
    if key in names:
        return names[key]
    unnamed.add(key)
    return f"class {key}"


def shaped(contents: Iterable[tuple[Box, str, Mask | None]]) -> tuple[Instance, ...]:
    """Instances "1", "2", … from (box, caption, mask) in stacking order."""
    return tuple(
        Instance(str(number), box, caption, mask=mask)
        for number, (box, caption, mask) in enumerate(contents, 1)
    )


def outline(points: Sequence[tuple[float, float]], where: Place) -> tuple[Box, Polygon]:
    """The polygon of points in fractions and the box around it."""
    polygon = Polygon(tuple(points))
    if polygon.fault:
        raise fault("unusable_mask", where.path, where=where.words, fault=polygon.fault)
    return polygon.bounds, polygon


def turned_radii(across: float, down: float, angle: float, ratio: float = 1.0) -> tuple[float, float]:
    """Half the width and height of an ellipse's box, turned by radians about its centre.

    `ratio` is the width of what `across` is a share of over the height of what `down` is.
    """
    return (
        hypot(across * cos(angle), down / ratio * sin(angle)),
        hypot(across * ratio * sin(angle), down * cos(angle)),
    )


def given(values: Mapping[str, Any], key: str, default: Any = "") -> Any:
    """The value of a key; the default where it is missing or null, which say the same in foreign JSON."""
    value = values.get(key)
    return default if value is None else value


def one_text(value: Any, where: Place) -> str:
    """A text, or a list of texts joined by ", "."""
    if isinstance(value, (list, tuple)):
        return ", ".join(require_text(item, where.item(index)) for index, item in enumerate(value))
    return require_text(value, where)


def kind_of(values: Mapping[str, Any], unnamed: set[str]) -> str:
    """What an object without a caption says a thing is: words, else the number of a class, which is added to
    `unnamed`; "" where it says nothing.
    """
    told = [values[key] for key in _KINDS if key in values]
    words = (value for value in told if is_words(value))
    numbers = (value for value in told if isinstance(value, int) and not isinstance(value, bool))
    if (value := next(words, None)) is not None:
        return one_text(value, Place(""))
    return "" if (value := next(numbers, None)) is None else class_caption(value, {}, unnamed)


def is_words(value: Any) -> bool:
    """Whether a value is a text that says something, or a list of texts."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) for item in value)
    return isinstance(value, str) and bool(value.strip())


def warn_of_numbers(unnamed: set[str]) -> None:
    """The warning that classes go by their numbers, where there are any."""
    if unnamed:
        warn("class_numbers", numbers=", ".join(sorted(unnamed, key=int)[:10]))


def numbered(contents: Iterable[tuple[Box, str, str | None, Mapping[str, Any]]]) -> tuple[Instance, ...]:
    """Instances "1", "2", … from (box, caption, color, extra) in stacking order."""
    return tuple(
        Instance(str(number), box, caption, color=color, extra=extra)
        for number, (box, caption, color, extra) in enumerate(contents, 1)
    )


def exported(layout: Layout) -> list[Instance]:
    """The instances other programs get: those that are enabled (they have no switch to turn one off)."""
    return [item for item in layout.checked().instances if item.enabled]


def tidy(value: float) -> int | float:
    """A pixel value for other programs: four decimals, whole numbers without a point."""
    # A box may hold whole numbers, which before Python 3.12 do not tell that they are whole.
    rounded = round(float(value), 4)
    return int(rounded) if rounded.is_integer() else rounded


def grid_box(box: Box, columns: int, rows: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom on an integer grid, at least one cell wide and high."""
    left, right = _span(box.x0, box.x1, columns)
    top, bottom = _span(box.y0, box.y1, rows)
    return left, top, right, bottom


def _span(start: float, end: float, cells: int) -> tuple[int, int]:
    first, last = round(start * cells), round(end * cells)
    if first < last:
        return first, last
    middle = floor((start + end) / 2 * cells)
    return middle, middle + 1


def on_canvas(box: Box) -> Box:
    """The part of a usable box that lies on the canvas."""
    return box.clipped() or box


def valid_color(value: Any) -> str | None:
    """The value if it is a colour "#rrggbb", else None."""
    return value if isinstance(value, str) and _COLOR.fullmatch(value) else None


def caption_and_extra(
    region: Mapping[str, Any], palette_key: str, where: Place
) -> tuple[str, str | None, dict[str, Any]]:
    """Caption, colour and what else to keep of a region in ComfyUI's terms: type obj or text, text, desc.

    The words a text region shows become part of the caption; type, text and palette come back on writing.
    """
    caption = require_text(given(region, "desc"), where.key("desc"))
    words = require_text(given(region, "text"), where.key("text")) if region.get("type") == "text" else ""
    palette = require_list(
        region.get(palette_key) or [], Place(f"{where.words}: palette", (*where.path, palette_key))
    )
    colors = [color for color in palette if isinstance(color, str)]
    metadata: dict[str, Any] = {}
    if words:
        # Told with the words, so that a caption which had them and lost them is known.
        metadata |= {"type": "text", "text": words, "said": True}
        caption = saying(caption, words)
    color = valid_color(colors[0]) if colors else None
    if colors and colors != [color]:
        metadata["palette"] = colors
    return caption, color, {"metadata": metadata} if metadata else {}


def shown(words: str) -> str:
    """The words that a text region shows, as a part of its caption."""
    return f'the text "{words}"'


def saying(caption: str, words: str) -> str:
    """A caption with the words that a text region shows, behind it where it does not have them."""
    if _says(caption, words):
        return caption
    return f"{caption}, {shown(words)}" if caption.strip() else shown(words)


def quoted(caption: str) -> str:
    """The last words in quotes of a caption; "" where there are none."""
    return next(reversed(_QUOTED.findall(caption)), "")


def _says(caption: str, words: str) -> bool:
    """Whether a caption has these words: "SALE" is not in "SALES"."""
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(words)}(?![A-Za-z0-9])", caption) is not None


def metadata_of(item: Instance) -> dict[str, Any]:
    """Type, text, desc and palette of an instance in ComfyUI's terms; of "metadata" what is of its kind.

    Caption and colour, which people see and change, win over what came in: a text that the caption does not
    have gives way to the last words that it quotes, or to none where it once had them; a palette to a colour
    that is not its first.
    """
    kept = item.extra.get("metadata")
    kept = kept if isinstance(kept, Mapping) else {}
    kind, words, palette = (kept.get(name) for name in ("type", "text", "palette"))
    kind, words = kind if isinstance(kind, str) else "obj", words if isinstance(words, str) else ""
    if words and not _says(item.caption, words):
        # Documents of earlier versions have words that the caption never had.
        words = quoted(item.caption) or ("" if kept.get("said") else words)
        kind = kind if words else "obj"
    listed = palette if isinstance(palette, (list, tuple)) else ()
    colors = [color for color in listed if isinstance(color, str)]
    if colors and item.color and colors[0].lower() != item.color.lower():
        colors = []
    return {
        "type": kind,
        "text": words,
        "desc": item.caption,
        "palette": colors or ([item.color] if item.color else []),
    }
