"""What is said before and after a run: captions the prompt lacks, half an adapter, errors, warnings."""

from __future__ import annotations

import json

import pytest
from comfyui_location import REPOSITORY
from editor_page import run_graph, wire
from playwright.sync_api import expect

PICTURES = REPOSITORY / "output" / "browser"
APPLY = {"apply": ("IC_ApplyIFAdapter", [860, 60], {}), "sampler": ("KSampler", [1160, 60], {})}
ENCODE = {"encode": ("CLIPTextEncode", [860, 620], {})}
LINKS = [("layout", "layout", "apply", "layout"), ("layout", "prompt", "encode", "text")]
LINK = """([from, output, to, input]) => {
  const [origin, target] = [app.graph.getNodeById(from), app.graph.getNodeById(to)];
  origin.connect(
    origin.outputs.findIndex((one) => one.name === output),
    target,
    target.inputs.findIndex((one) => one.name === input),
  );
}"""
UNLINK = """([to, input]) => {
  const target = app.graph.getNodeById(to);
  target.disconnectInput(target.inputs.findIndex((one) => one.name === input));
}"""


def prompt_of(editor):
    return editor.root.get_by_label("Prompt of the whole picture", exact=True)


def keep(editor, name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    editor.page.screenshot(path=PICTURES / f"{name}-{'vue' if editor.vue else 'classic'}.png")


def test_captions_that_the_prompt_does_not_name_are_seen_joining_it_before_a_run(editor):
    editor.draw((0.1, 0.1, 0.4, 0.4), "a red fox")
    editor.draw((0.5, 0.5, 0.9, 0.9), "a white owl")
    wire(editor, {"show": ("PreviewAny", [860, 60], {})}, [("layout", "prompt", "show", "source")])
    prompt_of(editor).fill("an old forest, a white owl")
    joined = editor.root.locator(".ic-joined")
    expect(joined).to_have_text("The run reads: an old forest, a white owl, a red fox", timeout=30_000)
    keep(editor, "joined")
    assert run_graph(editor) is None
    shown = editor.page.evaluate(
        "() => Object.values(app.nodeOutputs).map((one) => one.text).flat().filter(Boolean)"
    )
    assert "an old forest, a white owl, a red fox" in shown
    # Off, a note says what may be missing, and one press writes it into the prompt.
    editor.page.evaluate(
        """() => {
          const node = app.graph.nodes.find((one) => one.comfyClass === 'IC_InstanceLayout');
          const widget = node.widgets.find((one) => one.name === 'join_captions');
          widget.value = false;
          widget.callback?.(false);
        }"""
    )
    expect(joined).to_be_hidden(timeout=30_000)
    status = editor.root.locator(".ic-status")
    expect(status).to_contain_text('The prompt does not name "a red fox"')
    status.get_by_role("button", expanded=False).first.click()
    editor.button("Write it into the prompt").click()
    editor.settle()
    assert editor.document()["prompt"] == "an old forest, a white owl, a red fox"
    expect(status).not_to_contain_text("does not name", timeout=30_000)


def test_workflows_from_before_the_switch_have_it_on(editor):
    document = json.dumps(
        {
            "version": 1,
            "canvas": {"width": 512, "height": 512},
            "prompt": "a forest",
            "instances": [{"id": "1", "box": [0, 0, 0.5, 0.5], "caption": "a fox"}],
        }
    )
    editor.page.evaluate(
        """(text) => {
          const node = app.graph.nodes[0];
          const saved = node.serialize();
          delete saved.widgets_values_named;
          node.configure({ ...saved, widgets_values: [512, 512, text] });
        }""",
        document,
    )
    editor.settle()
    assert editor.document()["prompt"] == "a forest"
    expect(editor.root.locator(".ic-joined")).to_have_text("The run reads: a forest, a fox", timeout=30_000)


HEIGHT = """([id, more]) => {
  const node = app.graph.getNodeById(id);
  if (more) node.setSize([node.size[0], node.size[1] + more]);
  return node.size[1];
}"""


@pytest.mark.parametrize("first", ["model", "positive"])
def test_half_an_adapter_is_told_of_on_the_node_and_in_the_editor_before_a_run(editor, first):
    editor.draw((0.1, 0.1, 0.4, 0.4), "a red fox")
    numbers = wire(
        editor,
        {**APPLY, **ENCODE},
        [
            *LINKS,
            ("encode", "CONDITIONING", "apply", "positive"),
            ("encode", "CONDITIONING", "sampler", "positive"),
        ],
    )
    note, status = editor.page.locator(".ic-notes"), editor.root.locator(".ic-status")
    apply, sampler = numbers["apply"], numbers["sampler"]
    expect(note).to_have_count(0)
    # Taller than the node has to be, as somebody made it.
    height = editor.page.evaluate(HEIGHT, [apply, 120])
    second = "positive" if first == "model" else "model"
    words = {"model": "Only the model of Apply IFAdapter", "positive": "does not reach the sampler"}[first]
    editor.page.evaluate(LINK, [apply, first, sampler, first])
    expect(note).to_contain_text(words, timeout=30_000)
    expect(note).to_be_visible()
    expect(status).to_contain_text(words, timeout=30_000)
    node, seen = (
        editor.page.evaluate(
            "(id) => { const [x, y, w, h] = app.graph.getNodeById(id).boundingRect; return [y, y + h]; }",
            apply,
        ),
        note.bounding_box(),
    )
    assert node[0] < seen["y"] < seen["y"] + seen["height"] <= node[1] + 1, "in the node"
    editor.page.wait_for_timeout(300)
    keep(editor, f"half-wired-{first}")
    editor.page.evaluate(LINK, [apply, second, sampler, second])
    expect(note).to_have_count(0, timeout=30_000)
    expect(status).not_to_contain_text(words)
    assert editor.page.evaluate(HEIGHT, [apply, 0]) == pytest.approx(height, abs=1)
    editor.page.evaluate(UNLINK, [sampler, second])
    expect(note).to_contain_text(words, timeout=30_000)


@pytest.mark.parametrize("kind", ["IC_DrawRegions", "IC_ComposeLayout", "IC_AttributeConcentration"])
def test_the_other_nodes_that_place_a_layout_tell_it_too(editor, kind):
    editor.draw((0.1, 0.1, 0.4, 0.4), "a red fox")
    nodes = {"place": (kind, [860, 60], {}), "sampler": ("KSampler", [1260, 60], {})}
    links = [("layout", "layout", "place", "layout"), ("place", "model", "sampler", "model")]
    numbers = wire(editor, {**nodes, **ENCODE}, [*links, ("encode", "CONDITIONING", "sampler", "positive")])
    title = editor.page.evaluate("(id) => app.graph.getNodeById(id).title", numbers["place"])
    words = f"Only the model of {title}"
    expect(editor.page.locator(".ic-notes")).to_contain_text(words, timeout=30_000)
    expect(editor.root.locator(".ic-status")).to_contain_text(words, timeout=30_000)


def test_it_is_told_of_through_a_subgraph(editor):
    editor.draw((0.1, 0.1, 0.4, 0.4), "a red fox")
    numbers = wire(
        editor,
        {**APPLY, **ENCODE},
        [*LINKS, ("apply", "model", "sampler", "model"), ("encode", "CONDITIONING", "sampler", "positive")],
    )
    note = editor.page.locator(".ic-notes")
    expect(note).to_contain_text("Only the model", timeout=30_000)
    editor.page.evaluate(
        """(id) => {
          app.canvas.selectItems([app.graph.getNodeById(id)]);
          app.graph.convertToSubgraph(app.canvas.selectedItems);
        }""",
        numbers["apply"],
    )
    expect(editor.root.locator(".ic-status")).to_contain_text("Only the model", timeout=30_000)


def load_demo(editor, document):
    """A template with the demo model and no subgraph, at one step, with another layout."""
    path = REPOSITORY / "example_workflows" / "Draw regions.json"
    graph = json.loads(path.read_text(encoding="utf-8"))
    for node in graph["nodes"]:
        if node["type"] == "KSampler":
            node["widgets_values"][2] = 1
        if node["type"] == "IC_InstanceLayout":
            node["widgets_values"][2] = json.dumps(document)
    editor.page.evaluate("(graph) => app.loadGraphData(graph, true, true)", graph)
    expect(editor.root).to_be_visible(timeout=30_000)
    editor.page.evaluate(
        """() => {
          app.canvas.ds.scale = 0.6;
          app.canvas.ds.offset = [620, 200];
          app.canvas.setDirty(true, true);
        }"""
    )


def document(*instances):
    canvas = {"width": 128, "height": 128}
    return {"version": 1, "canvas": canvas, "prompt": "on grey", "instances": list(instances)}


STAR = {"id": "star", "box": [0.1, 0.1, 0.5, 0.5], "caption": "a green star"}


def test_without_regions_there_is_the_plain_picture_and_a_note_and_warnings_are_on_the_node(editor):
    load_demo(editor, document())
    assert run_graph(editor) is None
    note = editor.page.locator(".ic-notes")
    expect(note).to_contain_text("nothing will be placed", timeout=30_000)
    expect(editor.root.locator(".ic-status")).to_contain_text("No regions: the prompt alone counts")
    keep(editor, "no-regions")
    editor.set_text(json.dumps(document({**STAR, "box": [0.1, 0.1, 0.15, 0.15]})))
    assert run_graph(editor) is None
    expect(note).to_contain_text("star covers 0.25 % of the canvas", timeout=30_000)
    keep(editor, "warned")
    editor.set_text(json.dumps(document(STAR)))
    assert run_graph(editor) is None
    expect(note).to_have_count(0, timeout=30_000)


def test_errors_begin_with_our_words_and_stay_in_the_editor(editor):
    load_demo(editor, document(STAR, STAR))
    detail = run_graph(editor)
    assert detail["exception_type"] == "Instance Composer.LayoutError"
    sentence = detail["exception_message"].strip().splitlines()[0]
    assert "/" not in sentence
    assert "star" in sentence
    expect(editor.root.locator(".ic-status")).to_contain_text(f"The run ended: {sentence}", timeout=30_000)
    editor.page.wait_for_timeout(1000)
    keep(editor, "error")
    editor.set_text(json.dumps(document(STAR)))
    assert run_graph(editor) is None
    expect(editor.root.locator(".ic-status")).not_to_contain_text("The run ended")


def test_errors_of_a_node_with_our_number_in_a_subgraph_are_not_ours(editor):
    editor.draw((0.1, 0.1, 0.4, 0.4), "a red fox")
    for number, said in (("9999:%s", False), ("%s", True)):
        editor.page.evaluate(
            """async (number) => {
              const { api } = await import('/scripts/api.js');
              const node_id = number.replace('%s', app.graph.nodes[0].id);
              const detail = { node_id, exception_message: 'out of paint', node_type: 'Test', traceback: [] };
              api.dispatchEvent(new CustomEvent('execution_error', { detail }));
            }""",
            number,
        )
        editor.page.wait_for_timeout(300)
        assert ("out of paint" in editor.root.locator(".ic-status").inner_text()) is said


def test_no_tooltip_covers_what_is_drawn(editor):
    editor.draw((0.1, 0.1, 0.4, 0.4), "a red fox")
    editor.page.mouse.move(*editor.point(0.7, 0.7))
    editor.page.mouse.move(*editor.point(0.72, 0.72), steps=4)
    editor.page.wait_for_timeout(3000)
    keep(editor, "tooltip")
    shown = editor.page.locator(".node-tooltip, .p-tooltip").filter(visible=True)
    assert shown.all_inner_texts() == []
