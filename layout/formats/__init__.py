"""Layouts from and to other programs, one format per file.

Each file has `read(text or values, *, canvas=None) -> Layout` and `write(layout)`; this one knows them all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import png
from ..document import Layout
from ..instance import Canvas
from ..json_text import MOST_CHARACTERS, decode, dump_json, locate
from ..messages import quote
from ..problems import LayoutError, fault, text_fault
from . import (
    bounding_boxes,
    coco,
    coco_file,
    document,
    flux3,
    ideogram,
    ifadapter,
    lines,
    llm,
    omost,
)
from .exports import EXPORTS, Export
from .found_json import json_part, parsed
from .lost import lost, lost_line
from .notes import Warned, taken
from .peers import READERS, Reader

# Of a COCO file, which is not held as values.
MOST_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Format:
    """One format: its name, `read` and the names of its options, `write`, and what judges parsed JSON."""

    name: str
    title: str
    read: Callable[..., Layout]
    write: Callable[[Layout], Any]
    recognises: Callable[[Any], bool]
    options: tuple[str, ...] = ()


def _never(data: Any) -> bool:
    return False


# The order in which JSON is judged: the most particular first.
FORMATS = {
    entry.name: entry
    for entry in (
        Format("layout", "layout document", document.read, document.write, document.recognises),
        Format("coco", "COCO annotations", coco.read, coco.write, coco.recognises, ("image",)),
        Format(
            "ifadapter", "IFAdapter dataset layout", ifadapter.read, ifadapter.write, ifadapter.recognises
        ),
        Format("omost", "Omost canvas", omost.read, omost.write, omost.recognises),
        Format("ideogram", "Ideogram elements", ideogram.read, ideogram.write, ideogram.recognises),
        Format("flux3", "FLUX 3 prompt", flux3.read, flux3.write, flux3.recognises),
        Format(
            "bounding-boxes",
            "ComfyUI bounding boxes",
            bounding_boxes.read,
            bounding_boxes.write,
            bounding_boxes.recognises,
            ("frame",),
        ),
        Format("llm", "language model JSON", llm.read, llm.write, llm.recognises, ("order", "units")),
        Format("lines", "plain lines", lines.read, lines.write, _never, ("units",)),
    )
}


def detect(text: str | bytes) -> str:
    """The name of the format of a text; LayoutError (with the place, where it stops being one) for others."""
    text = decode(text)
    if not text.strip():
        raise fault("empty")
    starts_json = text.lstrip()[:1] in ("{", "[")
    if not starts_json and omost.recognises_code(text):
        return "omost"
    # Rows in brackets may stand above lines of a prompt; what ends as JSON is JSON.
    is_json = starts_json and text.rstrip()[-1:] in ("}", "]")
    if not is_json and flux3.recognises_text(text):
        return "flux3"
    for entry in () if is_json else READERS.values():
        if entry.recognises_text(text):
            return entry.name
    if lines.recognises_text(text) and (text.lstrip()[:1] != "{"):
        return "lines"
    if json_part(text).lstrip()[:1] not in ("{", "["):
        raise text_fault("unknown_text", text, len(text) - len(text.lstrip()), known=_known())
    data = parsed(text)
    # Those of peers have keys of their own, which language models' JSON does not rule out.
    for entry in (*list(FORMATS.values())[:-2], *READERS.values(), *list(FORMATS.values())[-2:]):
        if entry.recognises(data):
            return entry.name
    raise fault("unknown_json", known=_known(), value=quote(data))


def read(
    text: str | bytes, name: str | None = None, *, canvas: Canvas | None = None, **options: Any
) -> Layout:
    """A layout from text of a named or detected format.

    `canvas` is used where the format does not tell the size. Options: `image` (coco), `frame`
    (bounding-boxes), `order` and `units` (llm), `units` (lines). LayoutError for what cannot be read; odd
    values are left to `problems`. An error about a value of a text tells its `position`.
    """
    text = _text_of(text)
    entry = find_reader(name or detect(text))
    given = {key: value for key, value in options.items() if value is not None}
    if unfit := [key for key in given if key not in entry.options]:
        raise fault("unfit_option", names=", ".join(unfit), format=entry.name)
    try:
        return entry.read(text, canvas=canvas, **given)
    except LayoutError as error:
        _point_at(error, text)
        raise


@dataclass(frozen=True)
class Reading:
    """A layout with how its text was read: format, unit and order of the numbers, warnings."""

    layout: Layout
    format: str
    units: str
    order: str
    warnings: tuple[Warned, ...]

    def report(self) -> str:
        """How the text was read, with every warning about it and about the layout, one a line."""
        worth = [f"{problem.severity}: {problem}" for problem in self.layout.problems()]
        return "\n".join([str(self), *(f"warning: {warning}" for warning in self.warnings), *worth])

    def __str__(self) -> str:
        """One line for people."""
        count = len(self.layout.instances)
        parts = [f"{find_reader(self.format).title} ({self.format})", self.units, self.order]
        return ", ".join(part for part in parts if part) + f", {count} instance{'' if count == 1 else 's'}"


def read_noted(
    text: str | bytes, name: str | None = None, *, canvas: Canvas | None = None, **options: Any
) -> Reading:
    """As `read`, with how the text was read and warnings about what was mended or left out."""
    text = _text_of(text)
    with taken() as notes:
        name = name or detect(text)
        layout = read(text, name, canvas=canvas, **options)
    return Reading(layout, name, notes.units, notes.order, tuple(notes.warnings))


def read_file(
    path: str | os.PathLike[str], name: str | None = None, *, canvas: Canvas | None = None, **options: Any
) -> Reading:
    """A layout from a file. Of a COCO file of up to 1 GB, the one image that `image` names is read."""
    size, image = os.path.getsize(path), options.get("image")
    with open(path, "rb") as file:
        # One byte more shows that the text is too long.
        data = file.read(MOST_CHARACTERS + 1)
        if len(data) <= MOST_CHARACTERS or data.startswith(png.SIGNATURE):
            return read_noted(data, name, canvas=canvas, **options)
        if image is None or size > MOST_BYTES or name not in (None, "coco"):
            raise fault("file_too_large", size=size, most=MOST_CHARACTERS)
        text = decode(data + file.read(), most=MOST_BYTES)
    with taken() as notes:
        layout = coco.read(coco_file.cut(text, image), canvas=canvas, image=image)
    return Reading(layout, "coco", notes.units, notes.order, tuple(notes.warnings))


def write(layout: Layout, name: str = "layout") -> str:
    """The text of a layout in a named format; LayoutError for layouts with errors and unknown names."""
    written = find_writer(name).write(layout.checked())
    return written if isinstance(written, str) else dump_json(written) + "\n"


def lost_by(layout: Layout, name: str) -> tuple[str, ...]:
    """Names (keys of `lost.WORDS`) of what a format does not keep of a layout."""
    return lost(layout, find_writer(name).name)


def lost_in_words(layout: Layout, name: str) -> str:
    """What a format does not keep of a layout, in one line; "" where it keeps all."""
    names = lost_by(layout, name)
    return lost_line(name, names) if names else ""


def _text_of(text: str | bytes) -> str | bytes:
    """The text, or that of the layout in a PNG picture."""
    if isinstance(text, bytes) and text.startswith(png.SIGNATURE):
        return png.layout_text(text)
    return text


def _point_at(error: LayoutError, text: str | bytes) -> None:
    """Give an error that names a value its position in the text."""
    if error.path and isinstance(text, str):
        error.position = locate(json_part(decode(text)), error.path)


def find_reader(name: str) -> Format | Reader:
    """A format that can be read, by name."""
    return READERS[name] if name in READERS else find(name)


def find_writer(name: str) -> Format | Export:
    """A format that can be written, by name."""
    return EXPORTS[name] if name in EXPORTS else find(name)


def find(name: str) -> Format:
    """A format that can be read and written, by name."""
    if name in READERS:
        raise fault("read_only", name=name, known=", ".join((*FORMATS, *EXPORTS)))
    if name in EXPORTS:
        raise fault("write_only", name=name, known=", ".join((*FORMATS, *READERS)))
    if name not in FORMATS:
        raise fault("unknown_format", name=name, known=", ".join(FORMATS))
    return FORMATS[name]


def _known() -> str:
    return ", ".join(f"{entry.title} ({entry.name})" for entry in (*FORMATS.values(), *READERS.values()))
