/** Presses on the stage: what they draw, and what taking them back leaves. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Editor } from "../../web/editor/editor.mjs";
import { Pointer } from "../../web/editor/pointer.mjs";
import { View } from "../../web/editor/view.mjs";
import * as commands from "../../web/lib/commands.mjs";
import { createInstance, createLayout } from "../../web/lib/document.mjs";
import { createHistory } from "../../web/lib/history.mjs";

/** An editor without a page: its states and its pointer. */
function editorWith(instance, tool) {
  const editor = Object.create(Editor.prototype);
  const view = new View();
  view.stage = [540, 540];
  const nothing = () => {};
  Object.assign(editor, {
    tool,
    commands,
    gestureMarks: {},
    settings: { snap: false, thirds: false, regions: false },
    history: createHistory(commands.createState(createLayout(1024, 1024, { instances: [instance] }), ["1"])),
    stage: {
      element: { addEventListener: nothing, setPointerCapture: nothing, dataset: {} },
      view,
      handleScale: 1,
      point: ({ clientX, clientY }) => [clientX, clientY],
    },
    host: { select: nothing, size: { width: 1024, height: 1024 } },
    menus: { close: nothing },
    inline: { close: nothing },
    keys: { focus: nothing },
    say: nothing,
    t: nothing,
    write: nothing,
    invalidate: nothing,
  });
  editor.pointer = new Pointer(editor);
  return editor;
}

function eventAt(editor, at) {
  const [clientX, clientY] = editor.stage.view.toStage(at);
  const target = { closest: () => null };
  return { clientX, clientY, pointerId: 1, button: 0, pointerType: "mouse", target, stopPropagation() {} };
}

test("a polygon is drawn along the corners of a selected one", () => {
  const mask = {
    polygon: [
      [0.2, 0.2],
      [0.5, 0.2],
      [0.5, 0.6],
    ],
  };
  const editor = editorWith(createInstance("1", [0.2, 0.2, 0.5, 0.6], { mask }), "polygon");
  const { pointer } = editor;
  const corners = [
    [0.8, 0.2],
    [0.8, 0.6],
    [0.5, 0.6],
    [0.5, 0.2],
  ];
  for (const at of corners) {
    pointer.down(eventAt(editor, at));
    pointer.up(eventAt(editor, at));
  }
  assert.equal(pointer.drawing.points.length, corners.length);
  pointer.move(eventAt(editor, [0.2, 0.2]));
  assert.equal(editor.stage.element.dataset.cursor, undefined);
  pointer.cancel();
  pointer.move(eventAt(editor, [0.2, 0.2]));
  assert.equal(editor.stage.element.dataset.cursor, "pointer");
});

test("a drag that is cancelled leaves what can be undone and redone", () => {
  const editor = editorWith(createInstance("1", [0.1, 0.1, 0.4, 0.4]), "select");
  const { pointer } = editor;
  for (const step of [1, 2]) editor.run("move", 0.1 * step, 0);
  editor.undo();
  const { past, present, future } = editor.history;
  assert.deepEqual([past.length, future.length], [1, 1]);
  const centre = [0.35, 0.25];
  for (const from of [centre, [0.2, 0.1]]) {
    pointer.down(eventAt(editor, from));
    pointer.move(eventAt(editor, [0.6, 0.6]));
    pointer.move(eventAt(editor, [0.7, 0.7]));
    assert.notEqual(editor.layout, present.layout);
    assert.equal(pointer.cancel(), true);
    assert.deepEqual(editor.history, { past, present, future, key: null, time: 0 });
  }
});
