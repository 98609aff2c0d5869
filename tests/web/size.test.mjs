/** The size of the canvas, where links give the sides and only a run knows their numbers; other values of the node. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Editor } from "../../web/editor/editor.mjs";
import { WholePicture } from "../../web/editor/whole_picture.mjs";
import * as commands from "../../web/lib/commands.mjs";
import { createInstance, createLayout, parse, serialise } from "../../web/lib/document.mjs";
import { createHistory } from "../../web/lib/history.mjs";
import "./comfyui.mjs";

const { switchOf } = await import("../../web/editor/comfyui_graph.mjs");
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
  const [dropped, shown] = [[], []];
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
    commands,
    history: createHistory(commands.createState(layout)),
    broken: { text: null, hide() {}, show: (text) => shown.push(text) },
    pointer: { drop: () => dropped.push(layout) },
    dropped,
    shown,
    commitTimer: null,
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

test("one press takes back one thing: a size that was set in the node is none of the editor's", () => {
  const size = sizeOf([]);
  const editor = editing(createLayout(), size);
  const setOutside = (width) => {
    size.widget("width").value = width;
    editor.hostSizeChanged();
  };
  const now = () => [editor.layout.instances.length, size.value.width, ...canvasOf(editor)];
  editor.run("add", [0.1, 0.1, 0.4, 0.4]);
  editor.run("add", [0.5, 0.5, 0.9, 0.9]);
  setOutside(1536);
  editor.undo();
  assert.deepEqual(now(), [1, 1536, 1536, 1024]);
  setOutside(768);
  editor.redo();
  assert.deepEqual(now(), [2, 768, 768, 1024]);
  editor.setSize(512, 512);
  setOutside(640);
  editor.undo();
  assert.deepEqual(now(), [2, 768, 768, 1024], "its own size is a step");
});

test("a drag does not go on from the size before", () => {
  const size = sizeOf([]);
  const editor = editing(tall(), size);
  editor.hostSizeChanged();
  assert.equal(editor.dropped.length, 1);
  editor.hostSizeChanged();
  assert.equal(editor.dropped.length, 1);
});

test("regions from upstream that nobody can read leave what is drawn", () => {
  const editor = editing(tall(), sizeOf([]));
  const said = [];
  editor.say = (text) => said.push(text);
  editor.host.text = editor.written = serialise(tall());
  const before = editor.layout;
  editor.seed(`{"version": 1, "canvas": "${"x".repeat(10_000_000)}"}`);
  assert.deepEqual([editor.layout, editor.host.text, editor.shown], [before, serialise(tall()), []]);
  assert.deepEqual(said, ["editor.not_seeded"]);
  const other = serialise(createLayout(640, 1536, { instances: [createInstance("2", [0, 0, 1, 1])] }));
  editor.seed(other);
  assert.deepEqual([editor.host.text, said.at(-1)], [other, "editor.seeded"]);
});

test("where a link decides whether captions join the prompt nothing is said of it", () => {
  const reading = { prompt: "a fox, an owl", unnamed: ["1"] };
  const instances = [createInstance("1", [0, 0, 1, 1], { caption: "an owl" })];
  const layout = createLayout(1024, 1024, { prompt: "a fox", instances });
  const seen = (value, linked) => {
    const node = {
      inputs: [{ name: "join_captions" }],
      isInputConnected: () => linked,
      widgets: [{ name: "join_captions", value }],
    };
    const editor = Object.assign(editing(layout, sizeOf([])), {
      naming: { look() {}, of: () => reading },
      tokens: { look() {}, known: new Map() },
    });
    Object.assign(editor.host, { joins: switchOf(node, "join_captions"), notes: () => [] });
    editor.check();
    const joined = {};
    WholePicture.prototype.renderJoined.call({ editor, joined });
    return [!joined.hidden, editor.problems.some(({ code }) => code === "problem.unnamed")];
  };
  assert.deepEqual(seen(true, false), [true, false]);
  assert.deepEqual(seen(false, false), [false, true]);
  for (const value of [true, false]) assert.deepEqual(seen(value, true), [false, false]);
});
