"""Templates and blueprints on the page: nothing over anything else, before and after a run."""

from __future__ import annotations

import json
import re

import pytest
from comfyui_location import REPOSITORY
from editor_page import RECTANGLES, overlaps

TEMPLATES = sorted((REPOSITORY / "example_workflows").glob("*.json"))
PICTURES = REPOSITORY / "output" / "browser"
LOAD = """async (graph) => {
  await app.loadGraphData(graph, true, true);
  app.canvas.ds.scale = 0.42;
  app.canvas.min_font_size_for_lod = 0; // else classic nodes far away draw no pictures, nor grow by them
  app.canvas.ds.offset = [150, 250];
  app.canvas.setDirty(true, true);
  // Classic nodes put their parts in place when they are drawn, Nodes 2.0 as the page does.
  for (let frame = 0; frame < 12; frame += 1) await new Promise((done) => requestAnimationFrame(done));
}"""
# What runs bring, as the server tells it: a picture while sampling, pictures and tables of output nodes.
RUN = """async ([reports]) => {
  const { api } = await import('/scripts/api.js');
  const canvas = new OffscreenCanvas(128, 128);
  canvas.getContext('2d').fillRect(0, 0, 128, 128);
  const blob = await canvas.convertToBlob();
  const body = new FormData();
  body.append('image', new File([blob], 'run.png', { type: 'image/png' }));
  const { name: filename } = await (await api.fetchApi('/upload/image', { method: 'POST', body })).json();
  const names = ['nodeId', 'displayNodeId', 'parentNodeId', 'realNodeId', 'jobId', 'promptId'];
  // A sampler in a subgraph is named by the way to it, and its preview is the subgraph's node's too.
  const preview = (nodes, way) => {
    for (const { id: number, type, subgraph } of nodes) {
      const id = `${way}${number}`;
      if (subgraph) preview(subgraph.nodes, `${id}:`);
      const where = Object.fromEntries(names.map((name) => [name, id]));
      if (type === 'KSampler') api.dispatchCustomEvent('b_preview_with_metadata', { blob, ...where });
    }
  };
  preview(app.graph.nodes, '');
  for (const { id: number, type, constructor } of app.graph.nodes) {
    const id = String(number);
    const images = [{ filename, subfolder: '', type: 'input' }];
    const output = reports.includes(type) ? { text: ['noun  words\\nbook  red book'] } : { images };
    if (constructor.nodeData?.output_node || reports.includes(type))
      api.dispatchCustomEvent('executed', { node: id, display_node: id, output, prompt_id: id });
  }
  await new Promise((done) => setTimeout(done, 900));
  for (let frame = 0; frame < 12; frame += 1) await new Promise((done) => requestAnimationFrame(done));
}"""
ENTRY = (REPOSITORY / "web" / "instance_composer.js").read_text(encoding="utf-8")
# Nodes that show a text when they have run, which makes them wider.
REPORTS = re.findall(r"(IC_\w+):", ENTRY.partition("const REPORTS")[2].partition("}")[0])


def test_no_node_of_a_template_lies_over_another_before_and_after_a_run(page):
    found = {}
    for path in TEMPLATES:
        page.page.evaluate(LOAD, json.loads(path.read_text(encoding="utf-8")))
        before = overlaps(page)
        page.page.evaluate(RUN, [REPORTS])
        kind = "vue" if page.vue else "classic"
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.page.screenshot(path=PICTURES / f"template-{path.stem}-{kind}.png")
        (PICTURES / f"template-{path.stem}-{kind}.json").write_text(
            json.dumps(page.page.evaluate(RECTANGLES))
        )
        found |= {(path.stem, when): pairs for when, pairs in (("before", before), ("after", overlaps(page)))}
    assert {key: pairs for key, pairs in found.items() if pairs} == {}


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "subgraphs").glob("*.json")), ids=lambda path: path.stem
)
def test_a_blueprint_is_offered_and_expands_to_its_nodes(page, server, path):
    offered = server.get("/global_subgraphs")
    assert path.stem in {one["name"] for one in offered.values()}
    page.page.evaluate(LOAD, json.loads(path.read_text(encoding="utf-8")))
    page.page.evaluate(
        """() => {
          const [node] = app.graph.nodes;
          node.widgets.find((widget) => widget.name === 'steps').value = 7;
        }"""
    )
    prompt = page.page.evaluate("async () => (await app.graphToPrompt()).output")
    (sampler,) = (one for one in prompt.values() if one["class_type"] == "KSampler")
    (compose,) = (key for key, one in prompt.items() if one["class_type"] == "IC_ComposeLayout")
    assert sampler["inputs"]["steps"] == 7
    assert [sampler["inputs"][name] for name in ("model", "positive", "negative", "latent_image")] == [
        [compose, output] for output in range(4)
    ]
    page.clear()


def test_nodes_made_by_hand_say_which_pack_they_are_of(editor):
    graph = editor.page.evaluate("() => app.graph.serialize()")
    assert graph["nodes"][0]["properties"]["cnr_id"] == "instance-composer"


def test_the_templates_come_in_an_order_that_begins_with_the_one_to_try(page):
    names = page.page.evaluate(
        """async () => {
          const { api } = await import('/scripts/api.js');
          return Object.values(await api.getWorkflowTemplates()).find((names) => names.includes('Try it'));
        }"""
    )
    assert names[:2] == ["Try it", "Place things by region"]
    assert sorted(names) == sorted(path.stem for path in TEMPLATES)


def test_the_first_template_opens_whole_and_large_enough_to_be_read(page):
    scale = page.page.evaluate(
        """async (graph) => {
          await app.loadGraphData(graph, true, true);
          for (let n = 0; n < 12; n += 1) await new Promise((done) => requestAnimationFrame(done));
          return app.canvas.ds.scale;
        }""",
        json.loads((REPOSITORY / "example_workflows" / "Try it.json").read_text(encoding="utf-8")),
    )
    assert 0.7 <= scale <= 1
