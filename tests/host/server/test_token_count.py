"""The route that tells the editor how many tokens a caption has, and the registration of all routes."""

from __future__ import annotations

import pytest

from instance_composer.hosts.comfyui.server import routes, token_count


def test_tokens_are_counted_with_start_and_end_and_what_cannot_be_read_is_null(post):
    texts = ["", "a red book", "a (red:1.3) book", "embedding:", "vase " * 80]
    assert post(token_count.PATH, {"texts": texts}) == (200, {"tokens": [2, 5, 5, None, 82]})


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
    answered, reply = post(token_count.PATH, body)
    assert answered == status
    assert list(reply) == ["error"]


def test_without_a_server_nothing_happens(monkeypatch):
    monkeypatch.delitem(routes.sys.modules, "server", raising=False)
    routes.register_routes()
