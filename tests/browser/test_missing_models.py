"""What the front ends offer for model files that a template names and that are not there."""

from __future__ import annotations

import json

from comfyui_location import REPOSITORY

TEMPLATE = REPOSITORY / "example_workflows" / "Place things by region.json"
PUBLISHED = "https://huggingface.co/WuYW/IFAdapter/resolve/main/spd_adapter.bin"
PICTURES = REPOSITORY / "output" / "browser"


def test_the_adapter_of_a_template_is_downloaded_from_where_it_is_missed(other_page, page):
    """Offered under the name in the template alone, which ends as the front ends want it."""
    editor = other_page(page.vue, viewport={"width": 1500, "height": 950}).open()
    context = editor.page.context
    # The model's page is not reached here; that it is asked for is enough.
    context.route("https://huggingface.co/**", lambda route: route.abort())
    graph = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    editor.page.evaluate("(graph) => app.loadGraphData(graph, true, true)", graph)
    editor.page.get_by_test_id("error-overlay-see-errors").click()
    button = editor.page.get_by_role("button", name="Download spd_adapter.safetensors")
    button.wait_for(timeout=60_000)
    PICTURES.mkdir(parents=True, exist_ok=True)
    editor.page.screenshot(path=PICTURES / f"missing-models-{'vue' if page.vue else 'classic'}.png")
    with context.expect_event("request", lambda asked: asked.is_navigation_request()) as opened:
        button.click()
    assert opened.value.url == PUBLISHED
    assert editor.problems == []
