"""A server of aiohttp, as ComfyUI's is, with the pack's routes on it."""

from __future__ import annotations

import asyncio
import json
import sys
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from instance_composer.hosts.comfyui.server import routes


@pytest.fixture
def post(monkeypatch):
    """`post(path, data, **headers)` sends bytes, or a value as JSON; the routes were registered twice."""
    table = web.RouteTableDef()
    server = SimpleNamespace(PromptServer=SimpleNamespace(instance=SimpleNamespace(routes=table)))
    monkeypatch.setitem(sys.modules, "server", server)
    routes.register_routes()
    routes.register_routes()

    async def send(path, data, headers):
        application = web.Application()
        application.add_routes(table)
        async with TestClient(TestServer(application)) as client:
            reply = await client.post(path, data=data, headers=headers)
            return reply.status, await reply.json()

    def post(path, data, **headers):
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        return asyncio.run(send(path, body, headers))

    return post
