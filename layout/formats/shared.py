"""What several formats need: JSON inside prose, numbers, grids, captions with extras."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import floor
from numbers import Real
from typing import Any

from ..box import Box
from ..document import Layout
from ..instance import Canvas, Instance
from ..json_text import decode, parse_json
from ..problems import LayoutError, quote

FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def parsed(source: Any) -> Any:
    """JSON values from a text (prose and markdown fences around it are skipped), other values as they are."""
    return parse_json(json_part(decode(source))) if isinstance(source, (str, bytes)) else source


def json_part(text: str) -> str:
    """The text with everything before its JSON blanked out, so that positions of errors stay true."""
    if text.lstrip()[:1] in ("{", "["):
        return text
    blocks = [block for block in FENCE.finditer(text) if block[1].lstrip()[:1] in ("{", "[")]
    if len(blocks) > 1:
        raise LayoutError(f"the text holds {len(blocks)} blocks of JSON; keep the one that is meant")
    if blocks:
        return blank(text[: blocks[0].start(1)]) + blocks[0][1]
    starts = [start for start in (text.find("{"), text.find("[")) if start >= 0]
    if not starts:
        return text
    start = min(starts)
    end = max(text.rfind("}"), text.rfind("]")) + 1
    return blank(text[:start]) + text[start : max(start + 1, end)]


def blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def require_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise LayoutError(f"{where} must be an object {{ … }}, got {quote(value)}")
    return value


def require_list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise LayoutError(f"{where} must be a list [ … ], got {quote(value)}")
    return list(value)


def require_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise LayoutError(f"{where} must be a text, got {quote(value)}")
    return value


def require_number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise LayoutError(f"{where} must be a number, got {quote(value)}")
    try:
        return float(value)
    except OverflowError:
        raise LayoutError(f"{where} is too large a number") from None


def require_numbers(value: Any, amount: int, where: str) -> list[float]:
    if not isinstance(value, (list, tuple)) or len(value) != amount:
        raise LayoutError(f"{where} must be a list of {amount} numbers, got {quote(value)}")
    return [require_number(item, where) for item in value]


def require_side(value: Any, where: str) -> int:
    """A positive whole number of pixels."""
    number = require_number(value, where)
    if not (1 <= number <= 1e6 and number.is_integer()):
        raise LayoutError(f"{where} must be a whole number of pixels, got {quote(value)}")
    return int(number)


def canvas_of(width: Any, height: Any, where: str) -> Canvas:
    return Canvas(require_side(width, where), require_side(height, where))


def require_canvas(canvas: Canvas | None, what: str) -> Canvas:
    if canvas is None:
        raise LayoutError(f"{what} are in pixels of a canvas they do not name; give the canvas size")
    return canvas


def given(values: Mapping[str, Any], key: str, default: Any = "") -> Any:
    """The value of a key; the default where it is missing or null, which say the same in foreign JSON."""
    value = values.get(key)
    return default if value is None else value


def one_text(value: Any, where: str) -> str:
    """A text, or a list of texts joined by ", "."""
    if isinstance(value, (list, tuple)):
        return ", ".join(require_text(item, where) for item in value)
    return require_text(value, where)


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
    rounded = round(value, 4)
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
    region: Mapping[str, Any], palette: Any, where: str
) -> tuple[str, str | None, dict[str, Any]]:
    """Caption, colour and what else to keep of a region in ComfyUI's terms: type obj or text, text, desc.

    The words a text region shows become part of the caption; type, text and palette come back on writing.
    """
    caption = require_text(given(region, "desc"), f"{where}: desc")
    words = require_text(given(region, "text"), f"{where}: text") if region.get("type") == "text" else ""
    colors = [color for color in require_list(palette or [], f"{where}: palette") if isinstance(color, str)]
    metadata: dict[str, Any] = {}
    if words:
        metadata |= {"type": "text", "text": words}
        if words not in caption:
            shown = f'the text "{words}"'
            caption = f"{caption}, {shown}" if caption.strip() else shown
    color = valid_color(colors[0]) if colors else None
    if colors and colors != [color]:
        metadata["palette"] = colors
    return caption, color, {"metadata": metadata} if metadata else {}


def metadata_of(item: Instance) -> dict[str, Any]:
    """Type, text, desc and palette of an instance in ComfyUI's terms."""
    kept = item.extra.get("metadata")
    kept = kept if isinstance(kept, Mapping) else {}
    palette: Sequence[str] = kept.get("palette") or ([item.color] if item.color else [])
    return {
        "type": given(kept, "type", "obj"),
        "text": given(kept, "text"),
        "desc": item.caption,
        "palette": list(palette),
    }
