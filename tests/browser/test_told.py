"""What a node says while others run for it: on the node, as long as what it says is so."""

from __future__ import annotations

import json

from comfyui_location import REPOSITORY
from editor_page import run_graph
from playwright.sync_api import expect

TEMPLATE = REPOSITORY / "example_workflows" / "With and without.json"
PICTURES = REPOSITORY / "output" / "browser"
SET = """([name, value]) => {
  for (const node of app.graph.nodes)
    for (const widget of node.widgets ?? []) if (widget.name === name) widget.value = value;
}"""
ANOTHER_TAB = """async () => {
  window.before = app.extensionManager.workflow.activeWorkflow;
  await app.extensionManager.command.execute('Comfy.NewBlankWorkflow');
}"""


def test_what_silhouettes_became_is_on_the_node_until_they_are_others(editor):
    page = editor.page
    page.evaluate(
        "(graph) => app.loadGraphData(graph, true, true)", json.loads(TEMPLATE.read_text(encoding="utf-8"))
    )
    expect(editor.root).to_be_visible(timeout=30_000)
    page.evaluate("() => { app.canvas.ds.scale = 0.7; app.canvas.ds.offset = [100, 150]; }")
    page.evaluate(SET, ["steps", 3])
    page.evaluate(SET, ["silhouettes_from", 0.5])
    note = page.locator(".ic-notes")
    assert run_graph(editor) is None
    expect(note).to_contain_text("Silhouettes: a large red striped diamond: ", timeout=30_000)
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"told-{'vue' if editor.vue else 'classic'}.png")
    # Nothing is left to do, so that nothing is told anew; then the workflow is left and opened again.
    assert run_graph(editor) is None
    page.evaluate(ANOTHER_TAB)
    page.wait_for_function("() => app.extensionManager.workflow.activeWorkflow !== window.before")
    expect(note).to_have_count(0, timeout=30_000)
    page.get_by_text(page.evaluate("() => window.before.filename"), exact=True).first.click()
    page.wait_for_function("() => app.extensionManager.workflow.activeWorkflow === window.before")
    expect(note).to_contain_text("Silhouettes: a large red striped diamond: ", timeout=30_000)
    page.evaluate(SET, ["silhouettes_from", 0])
    assert run_graph(editor) is None
    expect(note).to_have_count(0, timeout=30_000)
