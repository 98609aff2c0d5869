"""Documents of every format, whole and then damaged: in their structure, in their bytes, and blown up.

Everything comes out of a `random.Random`, so a number names a document: tests read a few hundred,
`scripts/robustness.py` as many as it is asked for.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

from instance_composer.layout import (
    Box,
    Canvas,
    Instance,
    Layout,
    LayoutError,
    Polygon,
    RunLength,
    formats,
)

CANVAS = Canvas(640, 480)
# A message is for people: the place and an excerpt.
LONGEST_MESSAGE = 5_000
LARGEST = 2_000_000

_WHOLE = Layout(
    (
        Instance("1", Box(0.1, 0.2, 0.5, 0.6), "a red cat", negative="a dog", strength=1.5, color="#e69f00"),
        Instance("2", Box(0.4, 0.4, 0.9, 0.9), "a vase", mask=Polygon(((0.4, 0.4), (0.9, 0.4), (0.5, 0.9)))),
        Instance(
            "3", Box(0.0, 0.5, 0.5, 1.0), "a lamp", mask=RunLength((2, 2), (1, 2, 1)), start=0.1, end=0.5
        ),
        Instance("4", Box(0.7, 0.0, 1.0, 0.3), "", enabled=False, locked=True, extra={"other": [1, {}]}),
    ),
    CANVAS,
    "a cat beside a vase",
    "blurry",
    {"tool": {"name": "other"}},
)
_ANSWER = [{"label": "cat", "bbox": [10, 20, 300, 400]}, {"label": 'a "red" vase', "bbox": [5, 5, 60, 90]}]
_SEEDS: tuple[Any, ...] = (
    *(
        json.loads(text) if text[0] in "[{" else text
        for text in (formats.write(_WHOLE, n) for n in formats.FORMATS)
    ),
    {
        "images": [{"id": 1, "width": 64, "height": 64, "file_name": "a.jpg"}],
        "categories": [{"id": 7, "name": "cat"}],
        "annotations": [
            {
                "id": 1,
                "image_id": "1",
                "category_id": 7,
                "bbox": [1, 2, 30, 40],
                "segmentation": [[1, 2, 30, 2, 30, 40], [40, 40, 50, 40, 50, 50]],
            },
            {
                "id": 2,
                "image_id": 1,
                "category_id": 7,
                "segmentation": {"size": [64, 64], "counts": "0P12`0"},
            },
        ],
    },
    {
        "shapes": [{"label": "a", "points": [[1, 2], [3, 40], [50, 6]], "shape_type": "polygon"}],
        "imageWidth": 64,
        "imageHeight": 64,
        "imageData": None,
    },
    {"bboxes": [[1.5, 2, 30, 40]], "labels": ["a cat"]},
    {"<OD>": {"bboxes": [[1.5, 2, 30, 40]], "labels": ["a cat"]}},
    {"prompt": "a", "phrases": ["a cat"], "locations": [[0.1, 0.1, 0.5, 0.5]]},
    {"caption": "a", "annos": [{"bbox": [1, 2, 30, 40], "caption": "cat"}], "width": 64, "height": 64},
    _ANSWER,
    {"objects": [{"name": "cat", "box_2d": [100, 100, 600, 700]}], "units": "grid1000", "box_format": "yxyx"},
    'Here it is:\n```json\n{"objects": [{"caption": "a cat", "box": [0.1, 0.2, 0.5, 0.6]}]}\n```\nGood luck!',
    "{'objects': [{'caption': 'a cat', 'box': (0.1, 0.2, 0.5, 0.6)}], 'prompt': None}",
    "car<loc_52><loc_332><loc_932><loc_774>wheel<loc_1><loc_2><loc_3><loc_4>",
    'canvas: 640 x 480\nprompt: a room\n10% 20% 50% 60%: a cat\n- 0.1, 0.2, 0.3, 0.4: "a dog"\n',
    "```python\ncanvas = Canvas()\n"
    "canvas.set_global_description(description='A room', detailed_descriptions=['a'], tags='x')\n"
    "canvas.add_local_description(location='on the left', offset='no offset', area='a small square area', "
    "distance_to_viewer=2.0, description='a cat', detailed_descriptions=['red'], tags='cat', style='photo', "
    "HTML_web_color_name='red')\n```",
    "[('a cat', [10, 20, 300, 400]), ('a dog', [1, 2, 30, 40])]\n"
    "Background prompt: a room\nNegative prompt: rain",
    "0 0.5 0.5 0.2 0.3\n1 0.1 0.1 0.1 0.1\n",
)
# Text that stands for the values json.dumps does not write.
_RAW = {"«big»": "1e999", "«huge»": "1" + "0" * 400, "«nan»": "NaN", "«minus»": "-Infinity"}
_LEAVES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        0.5,
        4,
        1e-320,
        1e308,
        -1e308,
        2**53,
        2**63,
        10**20,
        1000,
        16384,
        16385,
    ),
    *("", " ", "a", "0", "1e999", "\ud800", "\u200b", "\x00", "\\", '"', "```", "[", "xyxy", "pixel", "text"),
    *(
        [],
        {},
        [[]],
        [{}],
        {"": {}},
        [0, 0, 0, 0],
        [1, 2, 3, {}],
        ["a", [0, 0, 1, 1]],
        [[0, 0], [1, 1], [0, 1]],
    ),
    *({"polygon": []}, {"rle": {"size": [1, 1], "counts": [1]}}, {"size": [9, 9], "counts": "~~~"}),
    *_RAW,
)
_TOKENS = (
    *(
        b"1e999",
        b"NaN",
        b"-",
        b"9" * 400,
        b"\xff",
        b"\xed\xa0\x80",
        b"\xe2\x80\x8b",
        b"\xef\xbb\xbf",
        b"\0",
        b"\\u",
    ),
    *(
        b"```",
        b"```json\n",
        b'"',
        b"'",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\n",
        b"#",
        b"//",
        b"/*",
        b"%",
        b"{}",
    ),
    *(b"canvas:", b"prompt:", b".add_local_description(", b"<loc_1>", b"\xef\xbc\x9a", b"\x89PNG\r\n\x1a\n"),
)


def document(number: int, large: float = 0.02) -> bytes:
    """The damaged document of a number; `large` is the share of those that are blown up."""
    chance = random.Random(number)
    seed = chance.choice(_SEEDS)
    blown_up = chance.random() < large
    whole = not isinstance(seed, str)
    if not isinstance(seed, str):
        for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
            seed = _changed(seed, chance)
        if blown_up and chance.random() < 0.6:
            seed, blown_up = _widened(seed, chance), False
        seed = _text(seed, chance)
    data = seed.encode("utf-8", "surrogatepass")
    for _ in range(chance.choice((0, 0, 0, 0, 1, 2) if whole else (0, 1, 1, 2, 4))):
        data = _cut(data, chance)
    return _blown_up(data, chance)[: 2 * LARGEST] if blown_up else data


def _text(value: Any, chance: random.Random) -> str:
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5, indent=chance.choice((None, 1)))
    for name, raw in _RAW.items():
        text = text.replace(json.dumps(name), raw).replace(f'"{name}"', raw)
    return text


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    for key, child in inner:
        yield from _places(child, (*path, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _changed(value: Any, chance: random.Random) -> Any:
    """A copy with one thing changed: a value, a key, a part of another document, more of the same."""
    value = json.loads(json.dumps(value))
    paths = list(_places(value))
    path = chance.choice(paths)
    if not path:
        return chance.choice(([value], {"layout": value}, {"data": [value]}, value, chance.choice(_LEAVES)))
    holder, key = _at(value, path[:-1]), path[-1]
    kind = chance.randrange(8)
    if kind <= 2:
        holder[key] = chance.choice(_LEAVES)
    elif kind == 3:
        del holder[key]
    elif kind == 4 and isinstance(holder, dict):
        other = chance.choice([path[-1] for path in paths if path and isinstance(path[-1], str)] or ["a"])
        holder[chance.choice((other, f"{key} ", ""))] = holder.pop(key)
    elif kind == 5:
        foreign = chance.choice([seed for seed in _SEEDS if not isinstance(seed, str)])
        holder[key] = json.loads(json.dumps(_at(foreign, chance.choice(list(_places(foreign))))))
    elif kind == 6 and isinstance(holder, list):
        holder[key:key] = [holder[key]] * chance.choice((1, 3, 50))
    else:
        inner = holder[key]
        for _ in range(chance.choice((1, 2, 70))):
            inner = [inner] if chance.random() < 0.5 else {"a": inner}
        holder[key] = inner
    return value


def _widened(value: Any, chance: random.Random) -> Any:
    """A copy with one list or object that has as much as megabytes hold."""
    value = json.loads(json.dumps(value))
    holders = [path for path in _places(value) if isinstance(_at(value, path), (list, dict))]
    if not holders:
        return [value] * 1_000
    path = chance.choice(holders)
    holder = _at(value, path)
    size = chance.choice((20_000, 20_000, 200_000, LARGEST))
    if isinstance(holder, dict):
        inner = chance.choice((*holder.values(), 1))
        count = size // (len(json.dumps(inner)) + 10)
        holder.update((f"k{number}", inner) for number in range(count))
    else:
        inner = [chance.choice((*holder, 1))] if chance.random() < 0.7 else holder[:] or [{}]
        holder.extend(inner * (size // (len(json.dumps(inner)) + 1)))
    return value


def _cut(data: bytes, chance: random.Random) -> bytes:
    """Bytes with some of them flipped, missing, repeated, from elsewhere, or tokens among them."""
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice((1, 1, 2, 8, 40)))
    kind = chance.randrange(7)
    if kind == 0:
        return data[:start] + bytes(chance.randrange(256) for _ in range(end - start)) + data[end:]
    if kind == 1:
        return data[:start] + data[end:]
    if kind == 2:
        return data[:start]
    if kind == 3:
        return data[:start] + data[start:end] * chance.choice((2, 2, 10, 300)) + data[end:]
    if kind == 4:
        other = _text(chance.choice(_SEEDS), chance).encode("utf-8", "surrogatepass")
        return data[:start] + other[chance.randrange(len(other)) :] + data[end:]
    return data[:start] + chance.choice(_TOKENS) * chance.choice((1, 1, 1, 2, 100)) + data[start:]


def _blown_up(data: bytes, chance: random.Random) -> bytes:
    """One part over and over, up to megabytes: what is quadratic shows."""
    size = chance.choice((20_000, 20_000, 200_000, LARGEST))
    parts = [part for part in re.split(rb"(?<=[,\n}\]:])", data) if part] or [b" "]
    kind = chance.randrange(4)
    index = chance.randrange(len(parts))
    if kind == 0:
        part = chance.choice(_TOKENS)
    elif kind == 1:
        return (b"[" + b",".join([data] * min(2000, size // (len(data) + 1))) + b"]")[:size]
    elif kind == 2:
        part = b"".join(parts[index : index + chance.choice((1, 2, 8))])
    else:
        part = chance.choice((b" ", b"a", b"1", b"0.1 ", b"\n", b"\xc3\xa9", b'"\\', b"(", b"a,"))
    return b"".join((*parts[:index], part * (size // len(part)), *parts[index:]))


def readers() -> tuple[str | None, ...]:
    """Names to read a document by: None detects."""
    return (None, *formats.FORMATS, *formats.READERS)


def outcome(data: bytes, name: str | None) -> str:
    """How reading, checking and writing a document ends: `layout`, or the code of the documented error.

    Any other exception comes through; AssertionError for a message that is no excerpt.
    """
    try:
        said = _read(_text_or_bytes(data), name, whole_round=len(data) < 10_000)
        ending = "layout"
    except LayoutError as error:
        said, ending = [str(error)], error.code
    longest = max(map(len, said))
    assert longest <= LONGEST_MESSAGE, f"{ending}: a message has {longest} characters"
    return ending


def _read(text: str | bytes, name: str | None, whole_round: bool) -> list[str]:
    """What a document's reading says: how it was read, warnings, problems. Small ones are written too."""
    reading = formats.read_noted(text, name, canvas=CANVAS)
    layout = reading.layout
    problems = layout.problems()
    if whole_round:
        Layout.from_json(layout.to_json())
        layout.checked()
        for other in formats.FORMATS:
            formats.write(layout, other)
    return [str(said) for said in (reading, *reading.warnings[:100], *problems[:100])]


def _text_or_bytes(data: bytes) -> str | bytes:
    """Texts as the editor sends them where they are some, also with half characters; else a file's bytes."""
    try:
        return data.decode("utf-8", "surrogatepass") if data[:1] == b"{" else data
    except UnicodeDecodeError:
        return data
