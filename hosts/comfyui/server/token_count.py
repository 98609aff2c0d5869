"""Numbers of tokens of captions, counted for the layout editor by ComfyUI's server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from ..prompts.syntax import PromptSyntaxError
from ..prompts.tokens import count_tokens
from .body import read_body, refusal

PATH = "/instance_composer/tokens"
MOST_BYTES = 1_000_000
MOST_TEXTS = 200
# A second of work for 20,000 or so.
MOST_CHARACTERS = 100_000
START_AND_END = 2


async def answer(request: web.Request) -> web.Response:
    """`{"texts": [...]}` to `{"tokens": [...]}`: with start and end, null for a text that cannot be read."""
    body = await read_body(request, MOST_BYTES)
    if body is None:
        return refusal(413, f"The texts are larger than {MOST_BYTES} bytes together.")
    texts = _texts(body)
    if texts is None:
        return refusal(400, f'Send {{"texts": [...]}} with at most {MOST_TEXTS} texts.')
    if (length := sum(map(len, texts))) > MOST_CHARACTERS:
        return refusal(
            413,
            f"The texts have {length} characters together; tokens are counted in up to {MOST_CHARACTERS}.",
        )
    # Reading the vocabulary takes a moment the first time; the server goes on meanwhile.
    return web.json_response({"tokens": await asyncio.to_thread(_counts, texts)})


def _texts(body: bytes) -> list[str] | None:
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    texts = data.get("texts") if isinstance(data, dict) else None
    if not isinstance(texts, list) or len(texts) > MOST_TEXTS:
        return None
    return texts if all(isinstance(text, str) for text in texts) else None


def _counts(texts: list[str]) -> list[int | None]:
    return [_count(text) for text in texts]


def _count(text: str) -> int | None:
    try:
        return count_tokens([text])[0] + START_AND_END
    except PromptSyntaxError:
        return None
