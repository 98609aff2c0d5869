"""What the prompt of a layout becomes when the captions that it does not name join it, for the editor."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from ....layout import Layout, LayoutError
from ....models.entities.naming import find_unnamed, join_captions
from .body import read_body, refusal

PATH = "/instance_composer/prompt"
MOST_BYTES = 4_000_000


async def answer(request: web.Request) -> web.Response:
    """`{"document"}`, a layout as JSON text, to `{"prompt", "unnamed"}`: the joined prompt and ids."""
    body = await read_body(request, MOST_BYTES)
    if body is None:
        return refusal(413, f"The document is larger than {MOST_BYTES} bytes.")
    # Reading large documents and long prompts takes a moment; the server goes on meanwhile.
    said = await asyncio.to_thread(_answer, body)
    if said is None:
        return refusal(400, 'Send {"document": …} with the JSON text of a layout.')
    return web.json_response(said)


def _layout(body: bytes) -> Layout | None:
    try:
        asked: Any = json.loads(body)
        return Layout.from_json(asked["document"]) if isinstance(asked.get("document"), str) else None
    except (AttributeError, LayoutError, RecursionError, ValueError):
        return None


def _answer(body: bytes) -> dict[str, Any] | None:
    """What is said of a request's layout, None for a request that is not understood."""
    layout = _layout(body)
    if layout is None:
        return None
    return {"prompt": join_captions(layout), "unnamed": [one.id for one in find_unnamed(layout)]}
