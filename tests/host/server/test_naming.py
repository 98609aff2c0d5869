"""The route that tells the editor what the run makes of a prompt, and the node that does it."""

from __future__ import annotations

from threading import current_thread, main_thread

import pytest

from instance_composer.hosts.comfyui.server import naming
from instance_composer.layout import Box, Instance, Layout
from instance_composer.nodes.layout import InstanceLayout, LayoutFromText

LAYOUT = Layout(
    (Instance("fox", Box(0, 0, 0.5, 0.5), "a red fox"), Instance("owl", Box(0.5, 0, 1, 0.5), "an owl")),
    prompt="an owl at night",
)
JOINED = "an owl at night, a red fox"


def test_the_route_says_what_the_node_puts_out(post):
    document = LAYOUT.to_json()
    assert post(naming.PATH, {"document": document}) == (200, {"prompt": JOINED, "unnamed": ["fox"]})
    assert InstanceLayout.execute(1024, 1024, document).result[3] == JOINED


def test_a_document_is_read_beside_the_server(post, monkeypatch):
    """Megabytes of one would hold up everything else that the server does."""
    threads, read = [], Layout.from_json
    monkeypatch.setattr(Layout, "from_json", lambda text: threads.append(current_thread()) or read(text))
    assert post(naming.PATH, {"document": LAYOUT.to_json()})[0] == 200
    assert threads
    assert main_thread() not in threads


def test_the_switch_leaves_prompts_alone():
    document = LAYOUT.to_json()
    assert InstanceLayout.execute(1024, 1024, document, join_captions=False).result[3] == LAYOUT.prompt
    options = {"format": "auto", "width": 0, "height": 0, "order": "auto", "units": "auto", "picture": ""}
    text = "0.1 0.1 0.5 0.5: a red fox"
    joined = LayoutFromText.execute(text, **options)
    assert joined.result[1] == "a red fox"
    assert joined.ui.as_dict()["text"][0].endswith("what the prompt of the text does not: a red fox")
    assert LayoutFromText.execute(text, **options, join_captions=False).result[1] == ""


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"[" * 100_000, {"document": 3}, {"document": "no layout"}, {"text": "a fox"}]
)
def test_anything_else_is_refused_with_a_reason(post, body):
    status, reply = post(naming.PATH, body)
    assert status == 400
    assert list(reply) == ["error"]


def test_a_document_too_large_is_refused(post):
    assert post(naming.PATH, b" " * (naming.MOST_BYTES + 1))[0] == 413
