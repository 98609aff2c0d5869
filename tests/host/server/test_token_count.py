"""The route that tells the editor how many tokens a caption has, in a server of aiohttp as ComfyUI's is."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from instance_composer.hosts.comfyui import token_count


@pytest.fixture
def post(monkeypatch):
    """`post(data)` sends bytes, or a value as JSON, to a server on which the route was registered twice."""
    routes = web.RouteTableDef()
    server = SimpleNamespace(PromptServer=SimpleNamespace(instance=SimpleNamespace(routes=routes)))
    monkeypatch.setitem(token_count.sys.modules, "server", server)
    token_count.register_route()
    token_count.register_route()

    async def send(data):
        application = web.Application()
        application.add_routes(routes)
        async with TestClient(TestServer(application)) as client:
            reply = await client.post(token_count.PATH, data=data)
            return reply.status, await reply.json()

    return lambda data: asyncio.run(send(data if isinstance(data, bytes) else json.dumps(data).encode()))


def test_tokens_are_counted_with_start_and_end_and_what_cannot_be_read_is_null(post):
    texts = ["", "a red book", "a (red:1.3) book", "embedding:", "vase " * 80]
    assert post({"texts": texts}) == (200, {"tokens": [2, 5, 5, None, 82]})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        ({"texts": "a red book"}, 400),
        ({"texts": [1]}, 400),
        ({"texts": [""] * (token_count.MOST_TEXTS + 1)}, 400),
        (b" " * (token_count.MOST_BYTES + 1), 413),
    ],
)
def test_anything_else_is_refused_with_a_reason(post, body, status):
    answered, reply = post(body)
    assert answered == status
    assert list(reply) == ["error"]


def test_without_a_server_nothing_happens(monkeypatch):
    monkeypatch.delitem(token_count.sys.modules, "server", raising=False)
    token_count.register_route()
