"""Body of a request, read in parts and only up to a limit, and the answer to one that cannot be used."""

from __future__ import annotations

import json

from aiohttp import web


async def read_body(request: web.Request, most: int) -> bytes | None:
    """The bytes of a request's body; None when there are more than `most`, whatever ComfyUI allows.

    Raises aiohttp's 400 where the body is not packed as its header says, or ends early.
    """
    body = bytearray()
    try:
        async for part in request.content.iter_chunked(2**16):
            body += part
            if len(body) > most:
                return None
    except web.RequestPayloadError as error:
        packed = request.headers.get("Content-Encoding", "no encoding")
        message = f"The request's body cannot be unpacked; its header says {packed:.40}. Send it as it is."
        raise web.HTTPBadRequest(
            text=json.dumps({"error": message}), content_type="application/json"
        ) from error
    return bytes(body)


def refusal(status: int, message: str) -> web.Response:
    """`{"error": message}` with an HTTP status."""
    return web.json_response({"error": message}, status=status)
