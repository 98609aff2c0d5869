/** The caption written on the region: what is shown is what the document says. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Editor } from "../../web/editor/editor.mjs";
import { InlineCaption } from "../../web/editor/inline_caption.mjs";
import * as commands from "../../web/lib/commands.mjs";
import { createInstance, createLayout } from "../../web/lib/document.mjs";
import { createHistory } from "../../web/lib/history.mjs";

test("the caption of before is drawn again, whether deleted back to or by Escape", () => {
  for (const takeBack of [
    (field) => field.keep("a fox"),
    (field) => {
      field.cancelled = true;
      field.close();
    },
  ]) {
    const editor = Object.create(Editor.prototype);
    let frames = 0;
    const instances = [createInstance("1", [0, 0, 0.5, 0.5], { caption: "a fox" })];
    Object.assign(editor, {
      commands,
      history: createHistory(commands.createState(createLayout(1024, 1024, { instances }), ["1"])),
      write() {},
      invalidate: () => (frames += 1),
    });
    const before = editor.history;
    const field = Object.assign(Object.create(InlineCaption.prototype), {
      editor,
      id: "1",
      before,
      element: { hidden: false },
      field: { value: "a fox and more" },
    });
    field.keep("a fox and more");
    assert.equal(editor.layout.instances[0].caption, "a fox and more");
    frames = 0;
    takeBack(field);
    assert.deepEqual(editor.history, before);
    assert.ok(frames > 0);
  }
});
