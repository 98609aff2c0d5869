"""The widget's value is the document: through runs, files, undo, copies, subgraphs and damage."""

from __future__ import annotations

import re

import pytest
from editor_page import add_receiver, queue
from playwright.sync_api import expect

TWO = [[0.125, 0.25, 0.5, 0.75], [0.5625, 0.125, 0.9375, 0.5625]]


@pytest.fixture
def drawn(editor):
    editor.draw((0.125, 0.25, 0.5, 0.75), "a red fox")
    editor.draw((0.5625, 0.125, 0.9375, 0.5625), "a white owl")
    assert editor.boxes() == [pytest.approx(box, abs=0.02) for box in TWO]
    return editor


def element_is_live(editor):
    """Whether the editor in the page is the one that the node's widget has."""
    return editor.page.evaluate(
        """() => {
          const node = app.canvas.graph.nodes.find((one) => one.comfyClass === 'IC_InstanceLayout');
          const { element } = node.widgets.find((widget) => widget.name === 'document');
          const shown = [...document.querySelectorAll('.ic-editor')].filter((one) => one.offsetParent);
          return shown.length === 1 && element.contains(shown[0]);
        }"""
    )


def test_the_backend_receives_exactly_what_is_drawn(drawn):
    add_receiver(drawn)
    received = queue(drawn)
    assert received["instances"] == drawn.instances()
    # A link in the place of the document would leave the drawing unused: there is no socket for one.
    slots = drawn.page.evaluate("() => app.graph.nodes[0].inputs.map((input) => input.name)")
    assert "document" not in slots


def test_a_reload_of_the_page_and_of_the_workflow_keeps_everything(other_page, page):
    own = other_page(page.vue)
    own.open()
    own.add_node()
    own.draw((0.1, 0.1, 0.5, 0.5), 'ein Fuchs 狐 "quoted" <b>')
    text = own.text()
    workflow = own.page.evaluate("() => JSON.stringify(app.graph.serialize())")
    own.page.reload()
    own.ready()
    own.page.evaluate("(text) => app.loadGraphData(JSON.parse(text))", workflow)
    expect(own.root).to_be_visible()
    own.settle()
    assert own.text() == text
    expect(own.root.locator(".ic-label .ic-words")).to_have_text('ein Fuchs 狐 "quoted" <b>')
    assert own.problems == []


def test_undo_of_the_graph_brings_the_document_back_into_a_living_editor(drawn):
    """Front ends rebuild all nodes; the newest ones keep showing the element of the old one."""
    drawn.page.locator("#graph-canvas, canvas").first.evaluate("(element) => document.activeElement.blur()")
    before = drawn.text()
    drawn.click(0.02, 0.02)
    drawn.draw((0.05, 0.8, 0.3, 0.95))
    assert len(drawn.instances()) == 3
    drawn.page.evaluate("() => document.activeElement.blur()")
    drawn.page.keyboard.press("Control+z")
    drawn.page.wait_for_function(
        "(text) => app.canvas.graph.nodes[0]?.widgets[2]?.value === text", arg=before, timeout=10_000
    )
    drawn.page.wait_for_function(
        "() => [...document.querySelectorAll('.ic-editor')].some((one) => one.offsetParent)"
    )
    drawn.page.wait_for_timeout(600)
    assert element_is_live(drawn)
    expect(drawn.root.locator(".ic-item")).to_have_count(2)
    drawn.draw((0.05, 0.8, 0.3, 0.95), "a lamp")
    assert [one.get("caption") for one in drawn.instances()] == ["a red fox", "a white owl", "a lamp"]


def test_each_change_is_one_step_for_the_undo_of_the_graph(drawn):
    """Changes by buttons, keys and typing come after the mouse event that ComfyUI watches."""
    steps = "() => app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.length"
    drawn.page.wait_for_timeout(800)
    before = 0
    drawn.page.evaluate(
        "() => { app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.length = 0; }"
    )
    drawn.root.locator(".ic-item").first.hover()
    drawn.button("Leave out instance 2").click()
    drawn.page.wait_for_timeout(100)
    assert drawn.page.evaluate(steps) == before + 1
    drawn.press("1", "ArrowRight")
    drawn.page.wait_for_timeout(100)
    assert drawn.page.evaluate(steps) == before + 2
    drawn.root.get_by_label("Caption", exact=True).last.fill("another caption")
    drawn.page.wait_for_timeout(900)
    assert drawn.page.evaluate(steps) == before + 3


def test_a_copied_node_has_a_document_of_its_own(drawn):
    first, second = drawn.page.evaluate(
        """() => {
          const node = app.graph.nodes[0];
          app.canvas.selectNode(node);
          app.canvas.copyToClipboard();
          app.canvas.pasteFromClipboard();
          return app.graph.nodes.map((one) => one.id);
        }"""
    )
    drawn.page.wait_for_timeout(600)
    assert drawn.text(first) == drawn.text(second)
    kept = drawn.text(first)
    drawn.page.evaluate(
        "(id) => { const [a, b] = app.graph.nodes; a.pos = [2000, 0]; app.canvas.setDirty(true, true); }",
        first,
    )
    drawn.page.wait_for_timeout(300)
    drawn.draw((0.05, 0.8, 0.3, 0.95))
    texts = {drawn.text(first), drawn.text(second)}
    assert kept in texts
    assert len(texts) == 2


def test_nodes_that_are_made_to_be_copied_alone_get_no_editor(drawn):
    """ComfyUI clones what it copies; a clone is neither added nor removed: its editor would stay for good."""
    count = """async (isAdded) => {
      const { menuItems } = await import('/extensions/ComfyUI-Instance-Composer/bundle/comfyui.mjs');
      const node = LiteGraph.createNode('IC_InstanceLayout');
      await new Promise((done) => setTimeout(done, 300));
      const before = menuItems(node).length;
      if (isAdded) app.graph.add(node);
      await new Promise((done) => setTimeout(done, 300));
      return [before, menuItems(node).length];
    }"""
    assert drawn.page.evaluate(count, False) == [0, 0]
    assert drawn.page.evaluate(count, True) == [0, 1], "one that is added late has one"


def test_inside_a_subgraph_the_document_goes_on_and_runs(drawn):
    add_receiver(drawn)
    text = drawn.text()
    drawn.page.evaluate(
        """() => {
          app.canvas.selectItems(app.graph.nodes);
          window.made = app.graph.convertToSubgraph(app.canvas.selectedItems);
        }"""
    )
    drawn.page.wait_for_timeout(500)
    drawn.page.evaluate(
        """() => {
          const { node } = window.made;
          app.canvas.setGraph(node.subgraph);
          app.canvas.ds.scale = 1;
          app.canvas.ds.offset = [0, 0];
          app.canvas.setDirty(true, true);
        }"""
    )
    expect(drawn.root).to_be_visible()
    drawn.page.wait_for_timeout(500)
    try:
        assert drawn.text() == text
        drawn.page.evaluate(
            """() => {
              const node = app.canvas.graph.nodes.find((one) => one.comfyClass === 'IC_InstanceLayout');
              app.canvas.ds.offset = [320 - node.pos[0], 90 - node.pos[1]];
              app.canvas.setDirty(true, true);
            }"""
        )
        drawn.page.wait_for_timeout(300)
        drawn.draw((0.05, 0.8, 0.3, 0.95), "a lamp")
        received = queue(drawn)
        assert [one["caption"] for one in received["instances"]] == ["a red fox", "a white owl", "a lamp"]
    finally:
        drawn.page.evaluate("() => app.canvas.setGraph(app.rootGraph ?? app.graph)")


def test_the_side_panel_leaves_the_width_of_the_editor_alone(drawn):
    before = drawn.root.bounding_box()["width"]
    drawn.page.evaluate("() => app.canvas.selectNode(app.graph.nodes[0])")
    button = drawn.page.get_by_role("button", name="Toggle properties panel")
    button.first.click()
    drawn.page.wait_for_timeout(700)
    assert drawn.root.bounding_box()["width"] == pytest.approx(before, abs=2)
    drawn.page.get_by_role("button", name="Toggle properties panel").first.click()
    drawn.page.wait_for_timeout(400)
    assert drawn.root.bounding_box()["width"] == pytest.approx(before, abs=2)


def test_collapsing_and_switching_the_renderer_keep_the_editor_alive(drawn, page):
    drawn.page.evaluate("() => { app.graph.nodes[0].collapse(); app.canvas.setDirty(true, true); }")
    drawn.page.wait_for_timeout(300)
    expect(drawn.root).to_be_hidden()
    drawn.page.evaluate("() => { app.graph.nodes[0].collapse(); app.canvas.setDirty(true, true); }")
    expect(drawn.root).to_be_visible()
    drawn.page.wait_for_timeout(300)
    drawn.draw((0.05, 0.8, 0.3, 0.95))
    assert len(drawn.instances()) == 3


@pytest.mark.one_front_end
def test_text_that_is_no_layout_is_kept_and_shown_until_the_person_chooses(editor):
    for text in (
        "no layout at all",
        '{"version": 7, "canvas": {}}',
        '{"version": 1, "canvas": {"width": 64, "height": 64}',
    ):
        editor.set_text(text)
        expect(editor.root.get_by_role("alert")).to_contain_text("not a layout")
        assert editor.text() == text
    editor.button("Start anew").click()
    editor.settle()
    editor.draw((0.1, 0.1, 0.4, 0.4))
    assert len(editor.instances()) == 1


@pytest.mark.one_front_end
def test_a_layout_appended_to_text_that_is_none_takes_its_place(editor):
    editor.draw((0.1, 0.1, 0.4, 0.4), "a red fox")
    text = editor.text()
    editor.set_text("no layout at all")
    editor.button("Repair it …").click()
    editor.root.locator(".ic-panel textarea").fill(text)
    editor.button("Add to it").click()
    editor.settle()
    expect(editor.root.get_by_role("alert")).to_have_count(0)
    assert [one["caption"] for one in editor.instances()] == ["a red fox", "a red fox"]


def test_an_empty_value_from_outside_is_a_step(drawn):
    before = drawn.text()
    drawn.set_text("")
    expect(drawn.root.locator(".ic-item")).to_have_count(0)
    drawn.click(0.9, 0.9)
    drawn.press("Control+z")
    assert drawn.text() == before


@pytest.mark.one_front_end
def test_documents_keep_what_the_editor_does_not_know(editor):
    text = (
        '{"version": 1, "canvas": {"width": 1024, "height": 1024, "dpi": 72}, "mood": "calm", '
        '"instances": [\n'
        '  {"id": "fox", "box": [0.1, 0.1, 0.4, 0.4], "caption": "a fox", "depth": 3}\n]}\n'
    )
    editor.set_text(text)
    editor.click(0.2, 0.2)
    editor.press("ArrowRight", "ArrowLeft")
    document = editor.document()
    assert document["mood"] == "calm"
    assert document["canvas"]["dpi"] == 72
    assert document["instances"][0]["depth"] == 3


def test_without_our_script_the_workflow_shows_the_document_as_text_and_runs(other_page, page):
    own = other_page(page.vue)
    own.page.route("**/instance_composer.js*", lambda route: route.abort())
    own.open()
    own.page.evaluate(
        """() => {
          const node = LiteGraph.createNode('IC_InstanceLayout');
          app.graph.add(node);
          node.pos = [320, 90];
          const text = '{"version": 1, "canvas": {"width": 512, "height": 512}, "instances": []}';
          node.configure({ ...node.serialize(), widgets_values: [512, 512, text] });
          app.canvas.ds.scale = 1;
          app.canvas.ds.offset = [0, 0];
          app.canvas.setDirty(true, true);
        }"""
    )
    area = own.page.locator("textarea").filter(visible=True).last
    expect(area).to_have_value(re.compile('"instances": \\[\\]'))
    box = '{"id": "1", "box": [0.1, 0.1, 0.5, 0.5], "caption": "a red fox"}'
    area.fill(area.input_value().replace("[]", f"[{box}]"))
    own.page.mouse.click(1300, 800)
    add_receiver(own)
    assert [one["caption"] for one in queue(own)["instances"]] == ["a red fox"]


def undo_of_the_graph(editor):
    """Ctrl+Z with the focus outside the editor, until the graph is rebuilt."""
    editor.page.evaluate("() => { document.activeElement.blur(); app.graph.nodes[0].isOfBefore = true; }")
    editor.page.keyboard.press("Control+z")
    editor.page.wait_for_function("() => app.graph.nodes.length && !app.graph.nodes[0].isOfBefore")
    editor.page.wait_for_timeout(600)


def test_an_undo_of_the_graph_leaves_the_editor_its_own(drawn):
    """Nodes are rebuilt by whatever is undone: what was drawn before can still be taken back step by step."""
    steps = "() => app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()"
    for x in (900, 1000, 1100):
        drawn.page.evaluate("([x]) => { app.graph.nodes[0].pos = [x, 90]; }", [x - 600])
        drawn.page.evaluate(steps)
    for _ in range(2):
        undo_of_the_graph(drawn)
        assert len(drawn.instances()) == 2
        expect(drawn.button("Undo")).to_be_enabled()
    drawn.button("Undo").click()
    drawn.button("Undo").click()
    assert len(drawn.instances()) == 1
    drawn.button("Redo").click()
    drawn.page.wait_for_timeout(700)
    undo_of_the_graph(drawn)
    expect(drawn.button("Redo")).to_be_enabled()


def test_what_the_undo_of_the_graph_took_back_can_be_redone_in_the_editor(drawn):
    undo_of_the_graph(drawn)
    before = len(drawn.instances())
    expect(drawn.button("Redo")).to_be_enabled()
    drawn.button("Redo").click()
    assert drawn.instances()[-1].get("caption") == "a white owl"
    assert len(drawn.instances()) >= before


def test_a_caption_being_typed_survives_a_reload(other_page, page):
    """ComfyUI keeps the workflow of a page that is left; before 1.58 not what changed just before."""
    editor = other_page(page.vue, settings={"Comfy.Workflow.Persist": True})
    try:
        editor.open()
        editor.add_node()
        editor.page.wait_for_timeout(800)
        words = editor.root.locator(".ic-label .ic-words")

        def reloaded_with(caption):
            assert editor.instances()[0]["caption"] == caption
            editor.page.reload()
            editor.ready()
            expect(words).to_have_text(caption, timeout=20_000)

        editor.drag((0.2, 0.2), (0.6, 0.6))
        editor.page.keyboard.type("a red fox")
        reloaded_with("a red fox")
        editor.stand()
        editor.click(0.4, 0.4)
        field = editor.root.get_by_label("Caption", exact=True).last
        field.click()
        editor.page.keyboard.press("End")
        editor.page.keyboard.type(" in the sn")
        reloaded_with("a red fox in the sn")
        # The workflow has it now as well: left alone, the page is loaded again as it is.
        editor.page.wait_for_timeout(3000)
        reloaded_with("a red fox in the sn")
        assert editor.problems == []
    finally:
        other_page(page.vue, settings={"Comfy.Workflow.Persist": False})


def test_a_typed_caption_is_one_step_and_escape_takes_all_of_it_back(drawn):
    drawn.press("Enter")
    drawn.page.keyboard.type("a blue")
    drawn.page.wait_for_timeout(1200)
    drawn.page.keyboard.type(" whale")
    drawn.press("Enter")
    assert drawn.instances()[1]["caption"] == "a blue whale"
    drawn.press("Control+z")
    assert drawn.instances()[1]["caption"] == "a white owl"
    drawn.press("Enter")
    drawn.page.keyboard.type("something else")
    drawn.press("Escape")
    assert drawn.instances()[1]["caption"] == "a white owl"
