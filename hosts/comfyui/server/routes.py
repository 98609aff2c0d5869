"""Registration of the pack's routes on ComfyUI's running server."""

from __future__ import annotations

from . import layouts, naming, report, token_count
from .running import running_server

ROUTES = tuple((route.PATH, route.answer) for route in (token_count, layouts, naming, report))


def register_routes() -> None:
    """Answer POST on the path of every route, once; without a server nothing happens."""
    server = running_server()
    if server is None:
        return
    taken = {getattr(route, "path", None) for route in server.routes}
    for path, answer in ROUTES:
        if path not in taken:
            server.routes.post(path)(answer)
