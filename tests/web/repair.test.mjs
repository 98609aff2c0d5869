/** "Draw this again": which instances a Repair Instance is told of, and where. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Menus } from "../../web/editor/menus.mjs";
import { drawAgain } from "../../web/editor/comfyui_repair.mjs";
import { graphOf } from "./comfyui.mjs";

const layoutNode = () => ({
  id: 1,
  comfyClass: "IC_InstanceLayout",
  inputs: [],
  outputs: [{ type: "INSTANCE_LAYOUT", name: "layout" }],
});

function repairNode(id) {
  const inputs = [
    { name: "layout", type: "INSTANCE_LAYOUT" },
    { name: "instances", type: "STRING" },
  ];
  const widgets = [{ name: "instances", value: "" }];
  return {
    id,
    title: "Repair",
    comfyClass: "IC_RepairInstance",
    inputs,
    outputs: [{ type: "IMAGE" }],
    widgets,
  };
}

/** An app with a graph, and what it was asked to run. */
function running(rootGraph) {
  const queued = [];
  return { rootGraph, queued, queuePrompt: (_at, _count, targets) => queued.push(targets) };
}

/** What the text field of a Repair Instance says after a press, seeds as "#"; and what the page tells. */
function drawn(before, chosen, ids) {
  const [layout, repair] = [layoutNode(), repairNode(2)];
  const app = running(graphOf([layout, repair], [[1, 0, 2, 0]]));
  repair.widgets[0].value = before;
  const all = ids.map((id) => ({ id }));
  const told = drawAgain(
    app,
    layout,
    all.filter(({ id }) => chosen.includes(id)),
    all,
  );
  const text = repair.widgets[0].value.replace(/@\d{4,}/g, "@#");
  return { text, told, queued: app.queued };
}

test("an id that the text would take apart is named by its number, unless that is the id of another", () => {
  assert.equal(drawn("", ["red, cat"], ["owl", "red, cat"]).text, "2@#");
  assert.equal(drawn("", ["a@b"], ["1", "a@b"]).text, "a@b@#");
  const refused = drawn("old", ["red, cat"], ["red, cat", "1"]);
  assert.equal(refused.told.code, "editor.repair_unnamed");
  assert.deepEqual(refused.told.params, { id: "red, cat" });
  assert.deepEqual([refused.text, refused.queued], ["old", []], "nothing runs");
});

test("what was named before stays, unless it is drawn anew, whatever it was called", () => {
  const ids = ["fox", "owl"];
  assert.equal(drawn("fox@3, owl@9", ["fox"], ids).text, "owl@9, fox@#");
  assert.equal(drawn("1@3, 2@4", ["fox"], ids).text, "2@4, fox@#", "its number is the same instance");
  assert.equal(drawn("gone@3, 7, 0", ["fox"], ids).text, "fox@#");
  // An id comes before a number, as in layout/choosing.py.
  assert.equal(drawn("1@3", ["fox"], ["fox", "1"]).text, "1@3, fox@#");
});

test("where a link gives the instances it is said, and nothing is run", () => {
  const [layout, repair] = [layoutNode(), repairNode(2)];
  const text = { id: 3, inputs: [], outputs: [{ type: "STRING" }] };
  const links = [
    [1, 0, 2, 0],
    [3, 0, 2, 1],
  ];
  const app = running(graphOf([layout, repair, text], links));
  const { code, params } = drawAgain(app, layout, [{ id: "fox" }], [{ id: "fox" }]);
  assert.deepEqual([code, params], ["editor.repair_is_linked", { node: "Repair" }]);
  assert.deepEqual([repair.widgets[0].value, app.queued], ["", []]);
});

test("a field that a subgraph has taken out is the one that is written", () => {
  const [layout, repair] = [layoutNode(), repairNode(7)];
  const inside = [
    ["-10", 0, 7, 0],
    ["-10", 1, 7, 1],
  ];
  const subgraph = graphOf([repair], inside, { isRootGraph: false });
  const widgets = [{ name: "instances", value: "" }];
  const outer = {
    id: 2,
    subgraph,
    inputs: [{ name: "layout" }, { name: "instances" }],
    outputs: [],
    widgets,
  };
  const app = running(graphOf([layout, outer], [[1, 0, 2, 0]]));
  assert.equal(drawAgain(app, layout, [{ id: "fox" }], [{ id: "fox" }]).code, "editor.drawing_again");
  assert.match(widgets[0].value, /^fox@\d+$/);
  assert.equal(repair.widgets[0].value, "", "it is not read");
  assert.deepEqual(app.queued, [["2:7"]]);
});

test("a fault while drawing again is told as what it is", async () => {
  const said = [];
  const editor = {
    selected: [],
    layout: { instances: [] },
    host: { drawAgain: () => Promise.reject(new Error("no such widget")) },
    t: (code) => code,
    say: (text) => said.push(text),
    sayError: (error) => said.push(error.message),
  };
  await Menus.prototype.drawAgain.call({ editor });
  assert.deepEqual(said, ["no such widget"]);
});
