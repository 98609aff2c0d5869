/** What there is to say of a node, when its workflow comes back. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { NodeNotes } from "../../web/editor/node_notes.mjs";
import { createInstance, createLayout, serialise } from "../../web/lib/document.mjs";

/** Notes of a node: how it is wired, and what ComfyUI kept of its last run. */
function notesOf(wiring, kept) {
  globalThis.requestAnimationFrame = (act) => act();
  globalThis.document = {
    createElement: () => ({ style: {}, setAttribute() {}, append() {}, replaceChildren() {}, remove() {} }),
  };
  const node = {
    graph: {},
    title: "Draw Regions",
    size: [1, 1],
    widgets: [],
    computeSize: () => [1, 1],
    setSize() {},
    removeWidget() {},
    addDOMWidget: (_name, _type, element) => ({ element }),
  };
  const state = { wiring };
  const notes = new NodeNotes(
    node,
    (code) => code,
    () => state.wiring,
    () => kept,
  );
  return { notes, state };
}

test("what the last run told comes back to a node that is half wired too", () => {
  for (const wiring of ["wired_model", null]) {
    const { notes, state } = notesOf(wiring, { instance_composer_told: ["Only 3 of 5 were placed."] });
    notes.check();
    notes.restore();
    state.wiring = null;
    notes.check();
    assert.equal(notes.shown, "Only 3 of 5 were placed.");
  }
});

test("what an earlier run left does not come over what a run tells now", () => {
  const { notes } = notesOf(null, { instance_composer_told: ["Before."] });
  notes.tell("Now.");
  notes.restore();
  assert.equal(notes.shown, "Now.");
  const begun = notesOf(null, { instance_composer_told: ["Before."] });
  begun.notes.tell(null);
  begun.notes.restore();
  assert.equal(begun.notes.shown, "");
});

test("Draw Regions says nothing of how many instances the adapter places", () => {
  const instances = Array.from({ length: 12 }, (_, at) =>
    createInstance(String(at + 1), [0.1, 0.1, 0.6, 0.6], { caption: "a fox" }),
  );
  const text = serialise(createLayout(512, 512, { instances }));
  for (const comfyClass of ["IC_DrawRegions", "IC_ApplyIFAdapter"]) {
    const { notes } = notesOf(null, undefined);
    notes.node.comfyClass = comfyClass;
    notes.executed({ instance_layout_noted: [text] });
    assert.equal(notes.shown.includes("many_instances"), comfyClass === "IC_ApplyIFAdapter");
  }
});
