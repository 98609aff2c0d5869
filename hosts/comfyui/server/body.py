"""Body of a request, read in parts and only up to a limit, and the answer to one that cannot be used."""

from __future__ import annotations

from aiohttp import web


async def read_body(request: web.Request, most: int) -> bytes | None:
    """The bytes of a request's body; None when there are more than `most`, whatever ComfyUI allows."""
    body = bytearray()
    async for part in request.content.iter_chunked(2**16):
        body += part
        if len(body) > most:
            return None
    return bytes(body)


def refusal(status: int, message: str) -> web.Response:
    """`{"error": message}` with an HTTP status."""
    return web.json_response({"error": message}, status=status)
