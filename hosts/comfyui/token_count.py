"""The layout editor's question how many tokens its captions have, answered by ComfyUI's server."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiohttp import web

from .prompts.syntax import PromptSyntaxError
from .prompts.tokens import count_tokens

PATH = "/instance_composer/tokens"
MOST_BYTES = 1_000_000
MOST_TEXTS = 200
START_AND_END = 2


def register_route() -> None:
    """Answer POST `PATH` on the running server, once; without a server nothing happens."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is None or any(getattr(route, "path", None) == PATH for route in server.routes):
        return
    server.routes.post(PATH)(answer)


async def answer(request: web.Request) -> web.Response:
    """`{"texts": [...]}` to `{"tokens": [...]}`: with start and end, null for a text that cannot be read."""
    body = bytearray()
    async for part in request.content.iter_chunked(2**16):
        body += part
        if len(body) > MOST_BYTES:
            return _refusal(413, f"The texts are larger than {MOST_BYTES} bytes together.")
    texts = _texts(bytes(body))
    if texts is None:
        return _refusal(400, f'Send {{"texts": [...]}} with at most {MOST_TEXTS} texts.')
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


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
