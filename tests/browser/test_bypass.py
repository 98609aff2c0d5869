"""Bypassed and muted nodes of the templates, as the page hands them to the server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from comfyui_location import REPOSITORY

TEMPLATES = sorted((REPOSITORY / "example_workflows").glob("*.json"))
BYPASSED, MUTED = 4, 2
LOAD = "(graph) => app.loadGraphData(graph, true, true)"
PROMPT = "async () => (await app.graphToPrompt()).output"
WITH_MODES = """async ([id, modes]) => {
  const node = app.graph.getNodeById(id);
  const before = node.mode;
  const seen = [];
  for (const mode of modes) {
    node.mode = mode;
    seen.push((await app.graphToPrompt()).output);
  }
  node.mode = before;
  return seen;
}"""
SHOW_IN_VUE = "(shown) => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', shown)"
# The sockets of Apply IFAdapter in workflows that were saved before they stood in the order of its outputs.
EARLIER = ("model", "clip", "ifadapter", "layout", "positive", "negative")


@pytest.fixture(scope="module")
def undrawn(page):
    """The page of a front end without Nodes 2.0: nobody looks at these nodes, and drawing them takes long."""
    page.problems.clear()
    page.page.evaluate(SHOW_IN_VUE, False)
    yield page
    page.clear()
    page.page.evaluate(SHOW_IN_VUE, page.vue)
    assert page.problems == []


def prompt_of(opened, number: int | None = None, modes: Sequence[int] = ()) -> Any:
    """What the page hands to the server; of a node that is set to several modes, a list."""
    return opened.page.evaluate(WITH_MODES, [number, [*modes]]) if modes else opened.page.evaluate(PROMPT)


def saved_earlier(graph: dict[str, Any]) -> dict[str, Any]:
    """The same workflow with the sockets of Apply IFAdapter in their earlier order."""
    graph = json.loads(json.dumps(graph))
    for node in graph["nodes"]:
        if node["type"] == "IC_ApplyIFAdapter":
            node["inputs"].sort(key=lambda one: EARLIER.index(one["name"]) if one["name"] in EARLIER else 99)
            places = {one["link"]: place for place, one in enumerate(node["inputs"]) if one.get("link")}
            for link in graph["links"]:
                link[4] = places.get(link[0], link[4])
    return graph


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_bypassed_or_muted_node_mixes_nothing_up(undrawn, path):
    """What a node puts out is replaced by its input of that name, and by nothing else where it has one."""
    graph = json.loads(path.read_text(encoding="utf-8"))
    undrawn.page.evaluate(LOAD, graph)
    whole = prompt_of(undrawn)
    for node in graph["nodes"]:
        number = str(node["id"])
        if number not in whole:
            continue
        bypassed, muted = prompt_of(undrawn, node["id"], (BYPASSED, MUTED))
        for place, output in enumerate(node.get("outputs", ())):
            same = next((one for one in node["inputs"] if one["name"] == output["name"]), None)
            if same is None or same["type"] != output["type"]:
                continue
            for user, entry in bypassed.items():
                for name, value in whole[user]["inputs"].items():
                    if value == [number, place]:
                        passed = whole[number]["inputs"].get(same["name"])
                        assert entry["inputs"].get(name) == passed, (node["type"], output["name"], user, name)
        for left in (bypassed, muted):
            links = [
                v for e in left.values() for v in e["inputs"].values() if isinstance(v, list) and len(v) == 2
            ]
            assert number not in left
            assert all(link[0] in left for link in links if isinstance(link[0], str)), node["type"]


def test_workflows_of_earlier_versions_keep_their_wiring_and_bypass_well(undrawn):
    graph = json.loads(
        (REPOSITORY / "example_workflows" / "With and without.json").read_text(encoding="utf-8")
    )
    undrawn.page.evaluate(LOAD, graph)
    now = prompt_of(undrawn)
    undrawn.page.evaluate(LOAD, saved_earlier(graph))
    assert prompt_of(undrawn) == now
    (node,) = (one for one in graph["nodes"] if one["type"] == "IC_ApplyIFAdapter")
    (number,) = (key for key, one in now.items() if one["inputs"].get("model") == [str(node["id"]), 0])
    sampler = prompt_of(undrawn, node["id"], [BYPASSED])[0][number]
    inputs = now[str(node["id"])]["inputs"]
    assert [sampler["inputs"][name] for name in ("model", "positive", "negative")] == [
        inputs[name] for name in ("model", "positive", "negative")
    ]
