/** What is said of a layout's wiring, and of the names by which other nodes call its instances. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { renamed, strangers } from "../../web/editor/comfyui_naming.mjs";
import { notesOf } from "../../web/editor/comfyui_notes.mjs";
import { graphOf } from "./comfyui.mjs";

const LAYOUT = "INSTANCE_LAYOUT";
const CLIPS = "STRING";

function layoutNode(upstream = []) {
  return {
    id: 1,
    comfyClass: "IC_InstanceLayout",
    inputs: upstream.map((name) => ({ name, type: "*" })),
    outputs: [
      { type: LAYOUT, name: "layout" },
      { type: CLIPS, name: "prompt", links: [] },
    ],
    isInputConnected: () => true,
  };
}

function reader(id, comfyClass, name, value) {
  return {
    id,
    title: `${comfyClass} ${id}`,
    comfyClass,
    inputs: [{ name: "layout", type: LAYOUT }],
    outputs: [{ type: "MODEL", name: "model" }],
    widgets: name ? [{ name, value }] : [],
  };
}

/** Codes of the notes on a layout with these instances that these nodes take, and what they name. */
function notes(nodes, ids = ["fox", "owl"], upstream = [], change = () => {}) {
  const layout = layoutNode(upstream);
  const root = graphOf(
    [layout, ...nodes],
    nodes.map((node) => [1, 0, node.id, 0]),
  );
  change(layout);
  const said = [
    ...notesOf(layout, root, null),
    ...strangers(
      layout,
      root,
      ids.map((id) => ({ id })),
    ),
  ];
  return said.map(({ code, params }) =>
    [code.replace("problem.", ""), params.name].filter(Boolean).join(" "),
  );
}

test("the prompt is asked for where captions are read from it, and not behind Draw Regions alone", () => {
  assert.deepEqual(notes([reader(2, "IC_ApplyIFAdapter")]), ["prompt_unused"]);
  assert.deepEqual(notes([reader(2, "IC_DrawRegions")]), []);
  assert.deepEqual(notes([reader(2, "IC_DrawRegions"), reader(3, "IC_ApplyIFAdapter")]), ["prompt_unused"]);
});

test("names that no instance has are told with the node that has them", () => {
  const lora = (name) =>
    notes([reader(2, "IC_ComposeLayout"), reader(3, "IC_InstanceLora", "instance", name)]);
  assert.deepEqual(lora("wolf"), ["no_such_instance wolf"]);
  assert.deepEqual(lora("3"), ["no_such_instance 3"]);
  for (const name of ["owl", " fox ", "1", "2", ""]) assert.deepEqual(lora(name), [], name);
  const repair = (text, ids) =>
    notes([reader(2, "IC_ComposeLayout"), reader(3, "IC_RepairInstance", "instances", text)], ids);
  assert.deepEqual(repair("fox@3, wolf@12, 7, 2@1,, owl"), ["no_such_instance wolf", "no_such_instance 7"]);
  assert.deepEqual(repair("a@b", ["a@b"]), []);
  assert.deepEqual(repair("", []), []);
});

const overrides = (text) => reader(3, "IC_AttributeConcentration", "overrides", text);

test("overrides of attribute concentration name instances too", () => {
  const told = notes([
    reader(2, "IC_ComposeLayout"),
    overrides("# a = b\nred book = wolf\n\nhat = None\ncup = 2"),
  ]);
  assert.deepEqual(told.slice(1), ["no_such_instance wolf"]);
});

test("nodes that call an instance by its name follow a change of it", () => {
  const after = (node, id, name, ids = ["fox", "owl", "3"]) => {
    const layout = layoutNode();
    const root = graphOf([layout, node], [[1, 0, node.id, 0]]);
    renamed(
      layout,
      root,
      id,
      name,
      ids.map((one) => ({ id: one })),
    );
    return node.widgets[0].value;
  };
  const lora = (name) => reader(3, "IC_InstanceLora", "instance", name);
  const repair = (text) => reader(3, "IC_RepairInstance", "instances", text);
  assert.equal(after(lora("fox"), "fox", "red fox"), "red fox");
  assert.equal(after(lora("3"), "3", "wolf"), "wolf");
  assert.equal(after(lora("1"), "fox", "wolf"), "1", "its place, which stays");
  assert.equal(after(repair("owl@4,fox@3 , 1@9"), "fox", "wolf"), "owl@4, wolf@3, 1@9");
  assert.equal(after(repair("owl,  1"), "fox", "wolf"), "owl,  1");
  assert.equal(after(repair("fox@3"), "fox", "a, b"), "fox@3", "a list cannot hold it");
  assert.equal(
    after(overrides("# fox = fox\n red = fox \nx=owl"), "fox", "wolf"),
    "# fox = fox\n red = wolf \nx=owl",
  );
});

test("nothing is said of names where a node is off or instances come from elsewhere", () => {
  const nodes = () => [reader(2, "IC_ComposeLayout"), reader(3, "IC_InstanceLora", "instance", "wolf")];
  const off = nodes();
  assert.deepEqual(
    notes(off, [], [], () => (off[1].mode = 4)),
    [],
  );
  assert.deepEqual(notes(nodes(), [], ["masks"]), []);
});
