/** The entry that ComfyUI imports at start. */

import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { mock, test } from "node:test";
import { app } from "./comfyui.mjs";

/** What the entry gets instead of the editor: nothing while `isAway`, and a count of the layouts that it opened. */
const bundle = { isAway: false, opened: 0 };
globalThis.openLayouts = () => (bundle.opened += 1);
let asked = 0;
registerHooks({
  resolve(specifier, context, next) {
    if (!specifier.endsWith("/bundle/comfyui.mjs")) return next(specifier, context);
    if (bundle.isAway) throw new Error("502");
    asked += 1;
    const source = `export const openLayouts = globalThis.openLayouts; export const asked = ${asked};`;
    return { url: `data:text/javascript,${source}`, shortCircuit: true };
  },
});

let extension;
app.registerExtension = (given) => (extension = given);
await import("../../web/instance_composer.js");

test("an editor that could not be loaded is asked for again", async () => {
  const [{ function: open }] = extension.commands;
  bundle.isAway = true;
  await assert.rejects(open(), /502/);
  extension.afterConfigureGraph();
  bundle.isAway = false;
  await open();
  await open();
  assert.deepEqual([bundle.opened, asked], [2, 1]);
});

/** A node of a type of ours that tells something; `texts` are those of its report, none without one. */
function reporting(comfyClass, graph) {
  const Type = class {};
  extension.beforeRegisterNodeDef(Type, { name: comfyClass });
  const node = Object.assign(new Type(), {
    id: 3,
    graph,
    comfyClass,
    properties: {},
    size: [10, 10],
    setSize() {},
    computeSize: () => [10, 10],
    addDOMWidget(name, _type, element) {
      const widget = { name, element };
      this.widgets = [...(this.widgets ?? []), widget];
      return widget;
    },
  });
  return { node, texts: () => (node.widgets ?? []).map(({ element }) => element.textContent) };
}

test("what a run told is in its node again once ComfyUI has its outputs back", () => {
  globalThis.document = { createElement: () => ({ style: {}, dataset: {} }) };
  mock.timers.enable({ apis: ["setTimeout"] });
  app.nodeOutputs = {};
  const made = [
    reporting("IC_PromptEntities", { isRootGraph: true }),
    reporting("IC_LayoutFromText", { isRootGraph: false, id: "inner" }),
    reporting("IC_PromptEntities", null), // made to be copied, and never in a graph
  ];
  for (const { node } of made) extension.nodeCreated(node);
  mock.timers.tick(200);
  app.nodeOutputs = { 3: { text: ["a table"] }, "inner:3": { text: ["a sentence"] } };
  mock.timers.tick(5000);
  assert.deepEqual(
    made.map(({ texts }) => texts()),
    [["a table"], ["a sentence"], []],
  );
  made[0].node.onExecuted({ text: ["another table"] });
  assert.deepEqual(made[0].texts(), ["another table"]);
  mock.timers.reset();
});
