"""Omost canvases: the Python calls its language model writes, and the JSON ComfyUI nodes pass on.

The calls are parsed, never run. Places are on a grid of 90 × 90; the tables of locations, offsets and areas
are those of Omost's Canvas class.
"""

from __future__ import annotations

import ast
import difflib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..box import Box
from ..document import Layout
from ..instance import Canvas
from ..json_text import decode
from ..messages import quote
from ..problems import LayoutError, Path, fault, text_fault
from .found_json import parsed
from .notes import note, warn
from .shared import (
    Place,
    exported,
    given,
    grid_box,
    numbered,
    on_canvas,
    require_list,
    require_numbers,
    require_object,
    require_text,
)

GRID = 90
# What their nodes draw, and what is written, where nobody chose a colour.
NO_COLOR = "#808080"
# A fence that is never closed belongs to an answer that ends early.
_FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
# Far above what a language model writes; bounds the work of the parser.
MOST_CODE = 200_000

# Centre of a location and shift of an offset: (across, down).
LOCATIONS = {
    "in the center": (45, 45),
    "on the left": (15, 45),
    "on the right": (75, 45),
    "on the top": (45, 15),
    "on the bottom": (45, 75),
    "on the top-left": (15, 15),
    "on the top-right": (75, 15),
    "on the bottom-left": (15, 75),
    "on the bottom-right": (75, 75),
}
OFFSETS = {
    "no offset": (0, 0),
    "slightly to the left": (-10, 0),
    "slightly to the right": (10, 0),
    "slightly to the upper": (0, -10),
    "slightly to the lower": (0, 10),
    "slightly to the upper-left": (-10, -10),
    "slightly to the upper-right": (10, -10),
    "slightly to the lower-left": (-10, 10),
    "slightly to the lower-right": (10, 10),
}
# Width and height.
AREAS = {
    "a small square area": (50, 50),
    "a small vertical area": (40, 60),
    "a small horizontal area": (60, 40),
    "a medium-sized square area": (60, 60),
    "a medium-sized vertical area": (50, 80),
    "a medium-sized horizontal area": (80, 50),
    "a large square area": (70, 70),
    "a large vertical area": (60, 90),
    "a large horizontal area": (90, 60),
}
_PARAMETERS = {
    "set_global_description": ("description", "detailed_descriptions", "tags", "HTML_web_color_name"),
    "add_local_description": (
        *("location", "offset", "area", "distance_to_viewer", "description", "detailed_descriptions"),
        *("tags", "atmosphere", "style", "quality_meta", "HTML_web_color_name"),
    ),
}


def recognises(data: Any) -> bool:
    first = data[0] if isinstance(data, list) and data else None
    return isinstance(first, dict) and "rect" in first and "prefixes" in first


def recognises_code(text: str) -> bool:
    return any(f".{name}" in text for name in _PARAMETERS)


def read(source: Any, *, canvas: Canvas | None = None) -> Layout:
    """Calls (text) or conditions (JSON or values); the grid has no size, so 1024 × 1024 unless given.

    A caption is the description with its detailed descriptions; tags, atmosphere, style, quality and colour
    names of calls are lost. The farthest from the viewer comes first, at the back.
    """
    note("grid90")
    if isinstance(source, (str, bytes)):
        text = decode(source)
        if text.lstrip()[:1] not in ("{", "[") and recognises_code(text):
            return _read_calls(text, canvas or Canvas())
    return _read_conditions(parsed(source), canvas or Canvas())


def _read_calls(text: str, canvas: Canvas) -> Layout:
    prompt, found = "", []
    for name, call, arguments in _calls(text):
        where = Place(f"line {call.lineno}, {name}")
        with _pointing(text, call):
            caption = _sentences([arguments.get("description"), *_details(arguments, where)], where)
            if name == "set_global_description":
                prompt = caption
            else:
                found.append((_distance(arguments, where), _place(arguments, where), caption))
    found.sort(key=lambda entry: -entry[0])
    return Layout(numbered((box, caption, None, {}) for _, box, caption in found), canvas, prompt)


@contextmanager
def _pointing(text: str, call: ast.Call) -> Iterator[None]:
    """Errors about a call point at its beginning."""
    try:
        yield
    except LayoutError as error:
        error.position = _position(text, call.lineno, call.col_offset)
        raise


def _calls(text: str) -> Iterable[tuple[str, ast.Call, dict[str, Any]]]:
    start, end = _code_in(text)
    code = "\n" * text.count("\n", 0, start) + text[start:end]
    text = text[:end]
    statements = _parse(code, text)
    begun = [index for index, statement in enumerate(statements) if _creates_canvas(statement)]
    if len(begun) > 1:
        warn("omost_several", count=len(begun))
        del statements[: begun[-1]]
    for statement in statements:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in _PARAMETERS
        ):
            with _pointing(text, call):
                arguments = _arguments(call.func.attr, call)
            yield call.func.attr, call, arguments
        elif not _creates_canvas(statement):
            position = _position(text, statement.lineno, statement.col_offset)
            raise text_fault("python_statement", text, position)


def _code_in(text: str) -> tuple[int, int]:
    """Where the code stands: in the last fence with calls (an older version stands before), or everywhere."""
    fences = [found for found in _FENCE.finditer(text) if recognises_code(found[1])]
    if not fences:
        return 0, len(text)
    if len(fences) > 1:
        warn("omost_several", count=len(fences))
    return fences[-1].start(1), fences[-1].end(1)


def _parse(code: str, text: str) -> list[ast.stmt]:
    """The statements of the code, which stands on the same lines of the text."""
    if len(code) > MOST_CODE:
        raise fault("python_too_long", count=len(code), most=MOST_CODE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code).body
    except SyntaxError as error:
        if _ends_early(code, error):
            raise text_fault("python_cut_off", text, len(text.rstrip()), last=_last_line(text)) from None
        position = _position(text, error.lineno or 1, (error.offset or 1) - 1)
        raise text_fault("python_syntax", text, position, reason=error.msg) from None
    except (RecursionError, MemoryError):
        raise fault("python_depth") from None
    except ValueError as error:
        raise fault("python_syntax", reason=str(error)) from None


def _ends_early(code: str, error: SyntaxError) -> bool:
    """Whether the code would go on: Python names the bracket or the text that is still open at the end."""
    if "was never closed" in error.msg:
        return True
    last = code.rstrip().count("\n") + 1
    return "unterminated" in error.msg and ("triple-quoted" in error.msg or (error.lineno or 0) >= last)


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2].strip()


def _position(code: str, line: int, column: int) -> int:
    lines = code.split("\n")
    return sum(len(text) + 1 for text in lines[: line - 1]) + column


def _creates_canvas(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Assign) else None
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Canvas"


def _arguments(name: str, call: ast.Call) -> dict[str, Any]:
    where = f"line {call.lineno}, {name}"
    names = _PARAMETERS[name]
    given = [*zip(names, call.args, strict=False), *((item.arg, item.value) for item in call.keywords)]
    if len(call.args) > len(names):
        raise fault("python_many_values", where=where, most=len(names), count=len(call.args))
    arguments: dict[str, Any] = {}
    for key, node in given:
        if key is None or key not in names or key in arguments:
            code = "python_twice" if key in arguments else "python_parameter"
            raise fault(code, where=where, key=key or "**", names=", ".join(names))
        try:
            arguments[key] = ast.literal_eval(node)
        except (ValueError, TypeError, RecursionError, MemoryError):
            raise fault("python_value", where=where, key=key) from None
    return arguments


def _details(arguments: Mapping[str, Any], where: Place) -> list[Any]:
    return require_list(
        given(arguments, "detailed_descriptions", []), _called(where, "detailed_descriptions")
    )


def _distance(arguments: Mapping[str, Any], where: Place) -> float:
    (distance,) = require_numbers(
        [given(arguments, "distance_to_viewer", 1.0)], 1, _called(where, "distance_to_viewer")
    )
    if not distance > 0:
        raise fault("omost_distance", where=where.words, value=distance)
    return distance


def _place(arguments: Mapping[str, Any], where: Place) -> Box:
    across, down = _named(arguments, "location", LOCATIONS, where)
    right, lower = _named(arguments, "offset", OFFSETS, where)
    width, height = _named(arguments, "area", AREAS, where)
    left, top = across + right - width // 2, down + lower - height // 2
    return Box(*(min(GRID, max(0, value)) / GRID for value in (left, top, left + width, top + height)))


def _named(
    arguments: Mapping[str, Any], key: str, table: Mapping[str, tuple[int, int]], where: Place
) -> tuple[int, int]:
    name = require_text(arguments.get(key), _called(where, key))
    if name.lower() in table:
        return table[name.lower()]
    close = difflib.get_close_matches(name.lower(), table, n=1)
    if close:
        raise fault("omost_near_name", where=where.words, key=key, value=name, near=close[0])
    raise fault("omost_name", where=where.words, key=key, value=name, names=", ".join(table))


def _sentences(parts: Iterable[Any], where: Place) -> str:
    """One text as it is, several as sentences."""
    texts = [
        text for part in parts if (text := require_text(part, _called(where, "description"))).strip(" .,")
    ]
    return texts[0] if len(texts) == 1 else " ".join(f"{text.strip(' .,')}." for text in texts)


def _called(where: Place, name: str) -> Place:
    """A place with the name of what is meant after it, where no path leads to that."""
    return Place(f"{where.words}: {name}", where.path)


def _read_conditions(data: Any, canvas: Canvas) -> Layout:
    listed = enumerate(require_list(data, Place("an Omost canvas")))
    conditions = [
        (require_object(item, place), place)
        for item, place in ((item, Place("each condition", (index,))) for index, item in listed)
    ]
    prefixes: list[str] = []
    prompt = ""
    if conditions and conditions[0][0].get("rect") in ([0, GRID, 0, GRID], (0, GRID, 0, GRID)):
        whole, path = conditions[0][0], conditions[0][1].path
        prefixes, suffixes = (_texts(whole, key, path) for key in ("prefixes", "suffixes"))
        prompt = _sentences([*prefixes, *suffixes], Place("condition 1", path))
        del conditions[0]
    contents = (_condition(item, place.path, prefixes) for item, place in conditions)
    return Layout(numbered(contents), canvas, prompt)


def _texts(condition: Mapping[str, Any], key: str, path: Path) -> list[str]:
    place = Place(key, (*path, key))
    listed = require_list(given(condition, key, []), place)
    return [require_text(item, place.item(index)) for index, item in enumerate(listed)]


def _condition(
    item: Mapping[str, Any], path: Path, prefixes: list[str]
) -> tuple[Box, str, str | None, dict[str, Any]]:
    top, bottom, left, right = require_numbers(item.get("rect"), 4, Place("rect", (*path, "rect")))
    own = _texts(item, "prefixes", path)
    own = own[len(prefixes) :] if own[: len(prefixes)] == prefixes else own
    caption = _sentences([*own, *_texts(item, "suffixes", path)], Place("a condition", path))
    color = _color(item.get("color"), Place("color", (*path, "color")))
    return Box(left / GRID, top / GRID, right / GRID, bottom / GRID), caption, color, {}


def _color(value: Any, where: Place) -> str | None:
    if value is None:
        return None
    channels = require_numbers(value, 3, where)
    if not all(0 <= channel <= 255 and channel.is_integer() for channel in channels):
        raise fault("need_color", where.path, where=where.words, value=quote(value))
    color = "#" + "".join(f"{int(channel):02x}" for channel in channels)
    return None if color == NO_COLOR else color


def write(layout: Layout) -> list[dict[str, Any]]:
    """Conditions for ComfyUI's Omost nodes on the 90 × 90 grid; masks, negatives and strengths are lost."""
    prefixes = [layout.prompt] if layout.prompt else []
    whole = {
        "rect": [0, GRID, 0, GRID],
        "prefixes": prefixes,
        "suffixes": [],
        "color": list(bytes.fromhex(NO_COLOR[1:])),
    }
    return [
        whole,
        *(_write_condition(item.bounds, item.caption, item.color, prefixes) for item in exported(layout)),
    ]


def _write_condition(box: Box, caption: str, color: str | None, prefixes: list[str]) -> dict[str, Any]:
    left, top, right, bottom = grid_box(on_canvas(box), GRID, GRID)
    return {
        "rect": [top, bottom, left, right],
        "prefixes": [*prefixes, caption] if caption else prefixes,
        "suffixes": [],
        "color": list(bytes.fromhex((color or NO_COLOR)[1:])),
    }
