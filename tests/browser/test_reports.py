"""Findings of a node, shown in the node itself."""

from __future__ import annotations

import pytest
from comfyui_location import REPOSITORY
from editor_page import add_receiver
from playwright.sync_api import expect

PICTURES = REPOSITORY / "output" / "browser"

TEXT = "a red circle and a <b>blue</b> square on grey"
GRAPH = """(text) => {
  const make = (type, x) => {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    node.pos = [x, 120];
    return node;
  };
  const loader = make('IC_LoadDemoCheckpoint', 60);
  const entities = make('IC_PromptEntities', 420);
  loader.connect(1, entities, 0);
  entities.widgets.find((widget) => widget.name === 'text').value = text;
  return [entities.id, JSON.stringify(entities.serialize().widgets_values)];
}"""
WRITE = """([id, text]) => {
  app.graph.getNodeById(id).widgets.find((widget) => widget.name === 'text').value = text;
}"""
SAVED = "(id) => JSON.stringify(app.graph.getNodeById(id).serialize().widgets_values)"


def test_the_table_of_entities_is_in_the_node(editor):
    page = editor.page
    editor.clear()
    number, saved = page.evaluate(GRAPH, TEXT)
    report = page.locator("pre", has_text="noun")
    expect(report).to_have_count(0)
    page.get_by_test_id("queue-button").first.click()
    expect(report).to_contain_text("circle", timeout=120_000)
    assert page.evaluate(SAVED, number) == saved, "a result is no input and is not saved"
    page.evaluate(WRITE, [number, "a green star"])
    page.get_by_test_id("queue-button").first.click()
    expect(report).to_contain_text("star", timeout=120_000)
    expect(report).not_to_contain_text("circle")
    expect(report).to_have_count(1)
    assert editor.problems == []


FROM_TEXT = """(text) => {
  const make = (type, x) => {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    node.pos = [x, 120];
    return node;
  };
  const reader = make('IC_LayoutFromText', 60);
  reader.connect(0, make('IC_LayoutPreview', 620), 0);
  reader.widgets.find((widget) => widget.name === 'text').value = text;
  reader.setSize([500, 900]); // by hand, to read more of it
}"""


MOVE = """() => {
  const { changeTracker } = app.extensionManager.workflow.activeWorkflow;
  changeTracker.captureCanvasState();
  window.moved = app.graph.nodes[0];
  app.graph.nodes[1].pos = [700, 120];
  changeTracker.captureCanvasState();
}"""
PLACES = "() => app.graph.nodes.map((node) => node.pos[0]).sort((one, other) => one - other)"


def test_how_a_text_was_read_is_in_the_node(editor):
    page = editor.page
    editor.clear()
    page.evaluate(FROM_TEXT, '[{"box_2d": [100, 50, 900, 450], "label": "a cat"},]')
    page.get_by_test_id("queue-button").first.click()
    report = page.locator("pre", has_text="language model JSON")
    expect(report).to_contain_text("language model JSON (llm), grid1000, yxyx, 1 instance", timeout=60_000)
    expect(report).to_contain_text("warning: the text is not quite JSON")
    height = "() => app.graph.nodes.find((node) => node.comfyClass === 'IC_LayoutFromText').size[1]"
    assert page.evaluate(height) >= 900
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"reading-node-{'vue' if editor.vue else 'classic'}.png")
    # Undo makes every node anew.
    page.evaluate(MOVE)
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("Control+z")
    page.wait_for_function("() => window.moved.graph !== app.graph || app.graph.nodes[0] !== window.moved")
    expect(report).to_contain_text("1 instance", timeout=10_000)
    assert page.evaluate(PLACES) == [60, 620]
    assert editor.problems == []


@pytest.mark.one_front_end
def test_the_report_of_the_installation_is_behind_the_question_mark(editor):
    editor.button("Keys and gestures").click()
    editor.root.get_by_role("button", name="Check this installation…").click()
    sheet = editor.root.get_by_role("dialog")
    report = sheet.locator("pre")
    expect(report).to_contain_text("Features", timeout=60_000)
    expect(sheet.get_by_role("status")).to_have_text("Nothing that should work is broken.")
    editor.root.screenshot(path=PICTURES / "installation.png")
    sheet.get_by_role("button", name="Also try the model files").click()
    expect(report).to_contain_text("Self-check", timeout=120_000)
    sheet.get_by_role("button", name="Copy the report").click()
    editor.press("Escape")
    expect(editor.root.locator(".ic-report")).to_have_count(0)
    assert editor.problems == []


@pytest.mark.one_front_end
def test_model_files_are_not_tried_while_comfyui_draws(editor):
    """The models of the pass and of the run would be in each other's way; what is known is still told."""
    editor.draw((0.2, 0.2, 0.6, 0.6), "a red fox")
    add_receiver(editor)
    editor.button("Keys and gestures").click()
    editor.root.get_by_role("button", name="Check this installation…").click()
    sheet = editor.root.get_by_role("dialog")
    expect(sheet.locator("pre")).to_contain_text("Features", timeout=60_000)
    editor.page.evaluate(
        """async () => {
          const receiver = app.graph.nodes.find((node) => node.comfyClass === 'Test_ShowLayout');
          receiver.widgets.find((widget) => widget.name === 'previews').value = 200;
          await app.queuePrompt(0, 1);
        }"""
    )
    try:
        sheet.get_by_role("button", name="Also try the model files").click()
        expect(sheet.get_by_role("status")).to_contain_text("ComfyUI is drawing", timeout=60_000)
        expect(sheet.locator("pre")).to_contain_text("Features")
    finally:
        editor.page.evaluate("import('/scripts/api.js').then(({ api }) => api.interrupt(null))")
    assert [one for one in editor.problems if "409 (Conflict)" not in one] == []
    editor.problems.clear()  # the browser's own word for a refusal
