"""From JSON values to a document; `layout.schema.json` says the same and a test compares the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .box import Box
from .instance import (
    VERSION,
    Canvas,
    Document,
    Instance,
)
from .mask import Mask, Polygon, RunLength
from .messages import quote
from .problems import Path, Problem, problems_fault

T = TypeVar("T")
# Beyond it, other readers of JSON have no exact whole numbers.
_LARGEST_WHOLE = 2**53 - 1


class _Fields:
    """Takes known keys out of one JSON object, notes what has the wrong type, leaves the rest."""

    def __init__(
        self, data: Any, name: str, path: Path = (), instance: str | None = None, caption: str = ""
    ) -> None:
        self.problems: list[Problem] = []
        self._path, self._instance, self._caption = path, instance, caption
        if not isinstance(data, dict):
            self._refuse(name, data, "is not an object", "an object { … } is needed", path)
            data = {}
        self.rest = dict(data)

    def refuse(self, key: str, value: Any, message: str, allowed: str) -> None:
        self._refuse(key, value, message, allowed, (*self._path, key))

    def _refuse(self, key: str, value: Any, message: str, allowed: str, path: Path) -> None:
        problem = Problem("error", self._instance, self._caption, key, value, message, allowed, path)
        self.problems.append(problem)

    def take(self, key: str, read: Callable[[Any], T], default: T, allowed: str, required: bool = False) -> T:
        if key not in self.rest:
            if required:
                self.refuse(key, None, "is missing", allowed)
            return default
        value = self.rest.pop(key)
        try:
            return read(value)
        except (ValueError, OverflowError) as error:
            self.refuse(key, value, str(error) or "has the wrong type", allowed)
            return default


def read_document(data: Any) -> Document:
    """A document from parsed JSON; LayoutError with one Problem per unreadable field."""
    fields = _Fields(data, "document")
    if not fields.problems:
        fields.take("version", _version, VERSION, f"version {VERSION} is read", required=True)
    problems = fields.problems
    if problems:
        raise problems_fault("unreadable", problems)
    canvas = fields.take("canvas", lambda value: _canvas(value, problems), Canvas(), _CANVAS, required=True)
    prompt = fields.take("prompt", _text, "", _TEXT)
    negative = fields.take("negative", _text, "", _TEXT)
    listed = fields.take("instances", _list, [], "a list of instances [ … ] is needed", required=True)
    instances = tuple(_instance(value, number, problems) for number, value in enumerate(listed, 1))
    if problems:
        raise problems_fault("unreadable", problems)
    return Document(instances, canvas, prompt, negative, fields.rest)


def _canvas(data: Any, problems: list[Problem]) -> Canvas:
    fields = _Fields(data, "canvas", ("canvas",))
    width = fields.take("width", _integer, 1024, _CANVAS, required=True)
    height = fields.take("height", _integer, 1024, _CANVAS, required=True)
    problems.extend(fields.problems)
    return Canvas(width, height, fields.rest)


def _instance(data: Any, number: int, problems: list[Problem]) -> Instance:
    known: Mapping[str, Any] = data if isinstance(data, dict) else {}
    identifier, caption = known.get("id"), known.get("caption")
    fields = _Fields(
        data,
        f"instances[{number}]",
        ("instances", number - 1),
        identifier if isinstance(identifier, str) else f"number {number}",
        caption if isinstance(caption, str) else "",
    )
    if isinstance(data, dict):
        instance = Instance(
            id=fields.take("id", _text, "", "a text that no other instance has is needed", required=True),
            box=fields.take("box", _box, Box(0.0, 0.0, 1.0, 1.0), _BOX, required=True),
            caption=fields.take("caption", _text, "", _TEXT),
            negative=fields.take("negative", _text, "", _TEXT),
            mask=fields.take("mask", read_mask, None, _MASK),
            strength=fields.take("strength", _number, 1.0, _NUMBER),
            start=fields.take("start", _number, 0.0, _NUMBER),
            end=fields.take("end", _number, 1.0, _NUMBER),
            enabled=fields.take("enabled", _switch, True, _SWITCH),
            locked=fields.take("locked", _switch, False, _SWITCH),
            color=fields.take("color", _optional_text, None, 'a colour like "#e69f00" or null is needed'),
            extra=fields.rest,
        )
    else:
        instance = Instance("", Box(0.0, 0.0, 1.0, 1.0))
    problems.extend(fields.problems)
    return instance


_TEXT = "a text is needed"
_NUMBER = "a number is needed"
_SWITCH = "true or false is needed"
_BOX = "four numbers [left, top, right, bottom], fractions of the canvas, are needed"
_CANVAS = 'whole numbers of pixels {"width": …, "height": …} are needed'
_MASK = 'null, {"polygon": [[x, y], …]} or {"rle": {"size": [height, width], "counts": [ … ]}} is needed'


def _version(value: Any) -> int:
    if isinstance(value, bool) or value != VERSION:
        raise ValueError("this is a document of another version")
    return VERSION


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a text")
    return value


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("is not a list")
    return list(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("is not a number")
    return float(value)


def _integer(value: Any) -> int:
    # 512.0 is a whole number in JSON Schema as well.
    number = _number(value)
    if not number.is_integer():
        raise ValueError("is not a whole number")
    if abs(number) > _LARGEST_WHOLE:
        raise ValueError("is too large a whole number")
    return int(value)


def _box(value: Any) -> Box:
    numbers = [_number(item) for item in _list(value)]
    if len(numbers) != 4:
        raise ValueError(f"has {len(numbers)} numbers")
    return Box(*numbers)


def read_mask(value: Any) -> Mask | None:
    """A mask from JSON values; ValueError in plain words."""
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError("is not one polygon or one run-length")
    kind, content = next(iter(value.items()))
    if kind == "polygon":
        return Polygon(tuple(_point(point) for point in _list(content)))
    if kind == "rle":
        return _run_length(content)
    raise ValueError(f"is of an unknown kind {quote(kind)}")


def _point(value: Any) -> tuple[float, float]:
    numbers = [_number(item) for item in _list(value)]
    if len(numbers) != 2:
        raise ValueError(f"has a point of {len(numbers)} numbers")
    return numbers[0], numbers[1]


def _run_length(value: Any) -> RunLength:
    if not isinstance(value, dict) or set(value) != {"size", "counts"}:
        raise ValueError("has no run-length with size and counts")
    size = [_integer(item) for item in _list(value["size"])]
    if len(size) != 2:
        raise ValueError(f"has a size of {len(size)} numbers")
    return RunLength((size[0], size[1]), tuple(_integer(item) for item in _list(value["counts"])))
