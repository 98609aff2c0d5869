"""Findings of a node, shown in the node itself."""

from __future__ import annotations

from playwright.sync_api import expect

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
