"""Draw this again: from a region to a Repair Instance that runs alone, and one made where there is none."""

from __future__ import annotations

import json

import pytest
from comfyui_location import REPOSITORY
from editor_page import overlaps
from playwright.sync_api import expect

REPAIR, TRY_IT = (
    json.loads((REPOSITORY / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    for name in ("Repair an instance", "Try it")
)


def once(test):
    """One front end and one renderer: what is tried is how nodes are found and wired."""
    test = pytest.mark.parametrize("server", ["pinned"], indirect=True)(test)
    return pytest.mark.parametrize("page", ["classic"], indirect=True)(test)


NODE = "app.graph.nodes.find((node) => node.comfyClass === 'IC_RepairInstance')"
ORIGINS = f"""() => Object.fromEntries({NODE}.inputs.flatMap((input, slot) => {{
  const origin = {NODE}.getInputNode(slot);
  return origin ? [[input.name, origin.comfyClass ?? origin.type]] : [];
}}))"""
TELL = f"""async () => {{
  const {{ api }} = await import('/scripts/api.js');
  const node = String({NODE}.id);
  const output = {{ text: ['Drew instance diamond with seed 3 in a window of 64 x 64 pixels.'] }};
  api.dispatchCustomEvent('executed', {{ node, display_node: node, output, prompt_id: node }});
}}"""


def load(editor, workflow):
    editor.page.evaluate("(graph) => app.loadGraphData(graph, true, true)", workflow)
    expect(editor.root).to_be_visible(timeout=20_000)
    editor.stand()
    editor.page.evaluate("() => { app.canvas.ds.scale = 1; app.canvas.ds.offset = [20, 40]; }")
    editor.stand()


def press_draw_again(editor, x, y):
    editor.click(x, y)
    editor.click(x, y, button="right")
    editor.root.get_by_role("menuitem", name="Draw this again").click(no_wait_after=True)


def asked_to_run(editor, x, y):
    """What the page asks the server to run after a press; the run itself is called off."""
    with editor.page.expect_request("**/api/prompt") as asked:
        press_draw_again(editor, x, y)
    editor.page.evaluate("import('/scripts/api.js').then(({ api }) => api.interrupt(null))")
    return asked.value.post_data_json


@once
def test_a_region_is_drawn_again_by_its_node_alone(editor):
    load(editor, REPAIR)
    (number,) = (str(node["id"]) for node in REPAIR["nodes"] if node["type"] == "IC_RepairInstance")
    asked = asked_to_run(editor, 0.28, 0.3)
    assert asked["partial_execution_targets"] == [number]
    star, diamond = asked["prompt"][number]["inputs"]["instances"].split(", ")
    assert star == "star@3", "what was repaired before stays as it was"
    assert diamond.startswith("diamond@")
    again = asked_to_run(editor, 0.28, 0.3)["prompt"][number]["inputs"]["instances"].split(", ")
    assert again[0] == star
    assert again[1] != diamond, "another press is another try"


@once
def test_nodes_that_name_an_instance_follow_its_new_name_and_are_told_apart_from_ones_that_lost_it(editor):
    load(editor, REPAIR)
    widget = f"{NODE}.widgets.find((one) => one.name === 'instances')"
    assert editor.page.evaluate(f"() => {widget}.value") == "star@3"
    editor.click(0.4, 0.8)
    editor.press("F2")
    editor.root.get_by_label("Name", exact=True).fill("sun")
    editor.press("Enter")
    assert editor.page.evaluate(f"() => {widget}.value") == "sun@3"
    editor.page.evaluate(f"() => {{ {widget}.value = 'moon@3'; }}")
    editor.press("ArrowRight")
    expect(editor.root.get_by_text("names moon, and no instance here has that name")).to_be_visible()


@once
def test_a_graph_without_such_a_node_gets_one_or_is_told_what_to_connect(editor):
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    press_draw_again(editor, 0.4, 0.4)
    expect(editor.root.locator(".ic-toast")).to_contain_text("add the node Repair Instance")
    # The same graph without the node; a picture in it is sampled beside the layout, not in a subgraph.
    load(editor, REPAIR)
    editor.page.evaluate(f"() => app.graph.remove({NODE})")
    made = [one for one in asked_to_run(editor, 0.28, 0.3)["prompt"].values() if "instances" in one["inputs"]]
    assert [one["inputs"]["cfg"] for one in made] == [3.0]
    assert editor.page.evaluate(ORIGINS) == {
        "image": "VAEDecode",
        "vae": "IC_LoadDemoCheckpoint",
        **dict.fromkeys(("model", "positive", "negative"), "IC_ComposeLayout"),
        "layout": "IC_InstanceLayout",
    }
    # When it tells what it drew it becomes wider, and still lies over nothing.
    editor.page.evaluate(TELL)
    editor.stand()
    assert overlaps(editor) == []


def test_a_picture_sampled_in_a_subgraph_is_repaired_beside_it(editor):
    """What the node needs comes out of the subgraph, which keeps its nodes and gets outputs, once."""
    load(editor, TRY_IT)
    (inside,) = (str(node["id"]) for node in TRY_IT["nodes"] if "-" in node["type"])
    compose, _, decode = (f"{inside}:{node['id']}" for node in TRY_IT["definitions"]["subgraphs"][0]["nodes"])
    asked = asked_to_run(editor, 0.28, 0.3)
    (number,) = asked["partial_execution_targets"]
    made = asked["prompt"][number]["inputs"]
    assert made["instances"].startswith("diamond@")
    links = {name: made[name] for name in ("image", "model", "positive", "negative")}
    assert links == {
        "image": [decode, 0],
        **{name: [compose, at] for at, name in enumerate(("model", "positive", "negative"))},
    }
    assert {asked["prompt"][made[name][0]]["class_type"] for name in ("vae", "layout")} == {
        "IC_LoadDemoCheckpoint",
        "IC_InstanceLayout",
    }
    assert (made["steps"], made["cfg"]) == (20, 3.0), "as the subgraph's node says it"
    assert overlaps(editor) == []
    outputs = f"() => app.graph.getNodeById({inside}).outputs.map((output) => output.name)"
    assert editor.page.evaluate(outputs) == ["IMAGE", "model", "positive", "negative"]
    assert asked_to_run(editor, 0.28, 0.3)["partial_execution_targets"] == [number]
    assert editor.page.evaluate(outputs) == ["IMAGE", "model", "positive", "negative"]
