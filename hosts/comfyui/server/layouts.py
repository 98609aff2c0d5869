"""Layouts of other programs, read and written for the layout editor by ComfyUI's server."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ....layout import Canvas, Layout, LayoutError, formats
from ....layout.messages import quote
from .body import read_body, refusal

PATH = "/instance_composer/layouts"
# A text of 10 million characters, the most that is read, in UTF-8: up to three bytes a character, and quotes.
MOST_BYTES = 40_000_000
_OWN_SIZE = ("ifadapter", "lmd")
_LONGEST_WORDS = 2_000
_LARGEST_SIDE = 1_000_000
_ASKED = (
    'Send {"text": …} with "format", "order", "units", "image", "frame" and "canvas" {"width", "height"} '
    "where they are known, to read; "
    '{"document": …, "format": …} to write.'
)

logger = logging.getLogger("instance_composer")


async def answer(request: web.Request) -> web.Response:
    """Read a text or write a document.

    `{"text", "format", "order", "units", "image", "frame", "canvas"}` to `{"document", "format", "count",
    "reading"}`, the document as JSON text, the reading `{"line", "units", "order", "warnings": [{"code",
    "params", "path", "message"}]}`; `{"document", "format"}` to `{"text", "lost"}`, names of what the format
    does not keep. What cannot be read or written is `{"error": {"code", "params", "path", "position",
    "message"}}`, its position in UTF-16 units.
    """
    body = await read_body(request, MOST_BYTES)
    if body is None:
        return refusal(413, f"The text is larger than {MOST_BYTES} bytes.")
    try:
        # A large file takes seconds; the server goes on meanwhile.
        said = await asyncio.to_thread(_answer, body)
    except Exception:
        logger.exception("A layout that the editor sent could not be read or written.")
        return refusal(500, "The layout could not be read or written; the server's log says why.")
    return refusal(400, _ASKED) if said is None else web.json_response(text=said)


def _answer(body: bytes) -> str | None:
    """The JSON text of an answer, None for a request that is not understood."""
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(asked, dict) or not isinstance(asked.get("format"), (str, type(None))):
        return None
    if isinstance(asked.get("document"), str) and asked.get("format"):
        return json.dumps(_write(asked["document"], asked["format"]))
    if isinstance(asked.get("text"), str):
        told = {option: asked.get(option) or None for option in ("order", "units", "image")}
        told["frame"] = _frame(asked.get("frame"))
        return json.dumps(
            _read(asked["text"], asked.get("format") or None, _canvas(asked.get("canvas")), told)
        )
    return None


def _read(text: str, name: str | None, canvas: Canvas | None, told: dict[str, Any]) -> dict[str, Any]:
    try:
        name = name or formats.detect(text)
        known = formats.find_reader(name).options
        options = {option: value for option, value in told.items() if option in known}
        # Boxes of these are in pixels of a size of their own, never of the editor's canvas.
        reading = formats.read_noted(text, name, canvas=None if name in _OWN_SIZE else canvas, **options)
    except LayoutError as error:
        return {"error": _described(error, text)}
    layout = reading.layout
    return {
        "document": layout.to_json(),
        "format": name,
        "count": len(layout.instances),
        "reading": {
            "line": str(reading),
            "units": reading.units,
            "order": reading.order,
            "warnings": [
                {
                    "code": warned.code,
                    "params": _plain(warned.params),
                    "path": list(warned.path),
                    "message": _shortened(str(warned)),
                }
                for warned in reading.warnings
            ],
        },
    }


def _write(document: str, name: str) -> dict[str, Any]:
    try:
        layout = Layout.from_json(document)
        return {"text": formats.write(layout, name), "lost": list(formats.lost_by(layout, name))}
    except LayoutError as error:
        return {"error": _described(error, document)}


def _frame(value: Any) -> int | None:
    """The number of a picture of a batch, as a field of the page holds it."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 9 else None


def _canvas(value: Any) -> Canvas | None:
    width, height = (value.get("width"), value.get("height")) if isinstance(value, dict) else (None, None)
    if not isinstance(width, int) or not isinstance(height, int):
        return None
    fits = 1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE
    return Canvas(width, height) if fits else None


def _described(error: LayoutError, text: str) -> dict[str, Any]:
    position = None if error.position is None else _utf16_position(text, error.position)
    return {
        "code": error.code,
        "params": _plain(error.params),
        "path": list(error.path),
        "position": position,
        "message": _shortened(str(error)),
    }


def _plain(params: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Parameters that fit into a sentence on the page and into JSON."""
    return {
        name: value
        if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        else _shortened(value if isinstance(value, str) else quote(value))
        for name, value in params.items()
    }


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_WORDS else text[: _LONGEST_WORDS - 1] + "…"


def _utf16_position(text: str, position: int) -> int:
    """Units before a character, as text fields count them; a byte order mark is not part of what was read."""
    characters = position + text.startswith("\ufeff")
    return len(text[:characters].encode("utf-16-le", "surrogatepass")) // 2
