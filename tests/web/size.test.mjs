/** The size of the canvas, where links give the sides and only a run knows their numbers. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Editor } from "../../web/editor/editor.mjs";
import { createState } from "../../web/lib/commands.mjs";
import { createInstance, createLayout, parse, serialise } from "../../web/lib/document.mjs";
import { createHistory } from "../../web/lib/history.mjs";
import "./comfyui.mjs";

const { NodeSize } = await import("../../web/editor/comfyui_size.mjs");

/** A layout node with 1024 in both fields and links to some of them. */
const sizeOf = (linked) => {
  const names = ["width", "height"];
  const node = {
    inputs: names.map((name) => ({ name })),
    isInputConnected: (slot) => linked.includes(names[slot]),
    widgets: names.map((name) => ({ name, value: 1024 })),
  };
  return new NodeSize(node, () => {});
};

/** An editor without a page, with a layout and the size that its node gives. */
function editing(layout, size) {
  const host = {
    text: "",
    setText: (text) => (host.text = text),
    setSize: (width, height) => size.set(width, height),
    commit() {},
    get size() {
      return size.value;
    },
  };
  return Object.assign(Object.create(Editor.prototype), {
    host,
    history: createHistory(createState(layout)),
    broken: { text: null, hide() {} },
    pointer: { drop() {} },
    stage: { refresh() {} },
    fit() {},
    say() {},
    t: (code) => code,
    invalidate() {},
  });
}

const tall = () => createLayout(640, 1536, { instances: [createInstance("1", [0, 0, 0.5, 0.5])] });
const canvasOf = ({ layout }) => [layout.canvas.width, layout.canvas.height];

test("until a run tells it, a linked side is the document's, the other one the node's", () => {
  const size = sizeOf(["width"]);
  assert.deepEqual(size.value, { width: null, height: 1024, driven: true });
  const editor = editing(createLayout(), size);
  editor.read(serialise(tall()));
  assert.deepEqual(canvasOf(editor), [640, 1024]);
  editor.hostSizeChanged();
  assert.deepEqual(canvasOf(editor), [640, 1024]);
  size.used = { width: 768, height: 1024 };
  editor.hostSizeChanged();
  assert.deepEqual(canvasOf(editor), [768, 1024]);
  assert.equal(parse(editor.host.text).canvas.width, 768);
});

test("a layout that is taken over brings its size, unless a link gives one", () => {
  const driven = editing(tall(), sizeOf(["width", "height"]));
  driven.replace(createLayout(512, 512));
  assert.deepEqual(canvasOf(driven), [640, 1536], "as it is, until the next run");
  const free = sizeOf([]);
  const editor = editing(createLayout(), free);
  editor.replace(createLayout(512, 768));
  assert.deepEqual(free.value, { width: 512, height: 768, driven: false });
});
