"""The route that tells the editor how many tokens a caption has, and the registration of all routes."""

from __future__ import annotations

import json
import sys
import time

import pytest

from instance_composer.hosts.comfyui.server import layouts, routes, token_count


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


@pytest.mark.parametrize("path", [token_count.PATH, layouts.PATH])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_is_not_packed_as_its_header_says_is_refused_in_words(post, path, encoding):
    status, reply = post(path, b'{"texts": ["a red book"]}', **{"Content-Encoding": encoding})
    assert status == 400
    assert list(reply) == ["error"]


def test_brackets_that_comfyui_cannot_read_are_null(post):
    deep = "(" * 3000 + "a red book" + ":1.1)" * 3000
    assert post(token_count.PATH, {"texts": [deep, "((a book))"]}) == (200, {"tokens": [None, 4]})


@pytest.mark.parametrize("text", ["a red book, " * 81_000, "a" * 980_000, " " * 980_000, "猫" * 300_000])
def test_a_text_of_a_megabyte_is_refused_at_once(post, text):
    start = time.perf_counter()
    status, reply = post(token_count.PATH, json.dumps({"texts": [text]}, ensure_ascii=False).encode())
    assert (status, f"{len(text)} characters" in reply["error"]) == (413, True)
    assert time.perf_counter() - start < 5


def test_without_a_server_nothing_happens(monkeypatch):
    monkeypatch.delitem(sys.modules, "server", raising=False)
    routes.register_routes()
