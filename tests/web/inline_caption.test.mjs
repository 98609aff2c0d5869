/** The caption written on the region: what is shown is what the document says. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Editor } from "../../web/editor/editor.mjs";
import { InlineCaption } from "../../web/editor/inline_caption.mjs";
import { List } from "../../web/editor/list.mjs";
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

/** A page of which the window has the focus or not, and the elements that are made in it. */
function page() {
  const made = [];
  const state = { hasFocus: true, made };
  globalThis.document = {
    hasFocus: () => state.hasFocus,
    createElement() {
      const element = new EventTarget();
      made.push(element);
      const nothing = () => {};
      return Object.assign(element, {
        style: {},
        setAttribute: nothing,
        append: nothing,
        before: nothing,
        focus: nothing,
        select: nothing,
        remove: () => (element.isGone = true),
      });
    },
  };
  return state;
}

test("a window that loses the focus leaves the field and the name open, another element does not", () => {
  const state = page();
  const editor = { t: (code) => code, stage: { element: { append() {} } } };
  const inline = new InlineCaption(editor);
  let closed = 0;
  inline.close = () => (closed += 1);
  const renamed = [];
  const told = [];
  const list = Object.assign(Object.create(List.prototype), {
    editor: {
      ...editor,
      layout: { instances: [{ id: "1" }] },
      host: { renamed: (...words) => told.push(words) },
      run(...command) {
        renamed.push(command);
        return {};
      },
      renderNow() {},
    },
    items: new Map([["1", { pick: { before() {} } }]]),
  });
  list.rename("1");
  const field = state.made.at(-1);
  field.value = "fox";
  state.hasFocus = false;
  for (const one of [inline.field, field]) one.dispatchEvent(new Event("blur"));
  assert.deepEqual([closed, list.renaming, renamed], [0, "1", []]);
  state.hasFocus = true;
  for (const one of [inline.field, field]) one.dispatchEvent(new Event("blur"));
  assert.deepEqual([closed, list.renaming, renamed], [1, null, [["rename", "1", "fox"]]]);
  assert.deepEqual(told, [["1", "fox", [{ id: "1" }]]], "with the names before");
  assert.ok(field.isGone);
  delete globalThis.document;
});

test("a name whose row goes while it is edited leaves those of others to be edited", () => {
  const list = Object.assign(Object.create(List.prototype), {
    editor: { layout: { instances: [] }, t: (code) => code },
    count: {},
    items: new Map([["1", { element: { remove() {} } }]]),
    element_list: { children: [] },
    placeForm() {},
    whole: { render() {} },
    renaming: "1",
  });
  list.render();
  assert.equal(list.renaming, null);
});
