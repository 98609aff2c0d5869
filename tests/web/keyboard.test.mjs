/** Keys on the stage and in fields, with an input method on. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { InlineCaption } from "../../web/editor/inline_caption.mjs";
import { Keyboard } from "../../web/editor/keyboard.mjs";

function keyboardWith(actions = {}) {
  const keys = Object.assign(new EventTarget(), { blur() {}, focus() {} });
  const editor = {
    keys,
    root: Object.assign(new EventTarget(), { toggleAttribute() {} }),
    pointer: { held: {}, cursor() {} },
    selected: [],
    invalidate() {},
    ...actions,
  };
  return { editor, keys, keyboard: new Keyboard(editor) };
}

const keyEvent = (target, fields) => ({
  target,
  shiftKey: false,
  stopPropagation() {},
  preventDefault() {
    this.isPrevented = true;
  },
  ...fields,
});

test("keys that an input method takes do on the stage what is at their place", () => {
  const done = [];
  const { keyboard, keys, editor } = keyboardWith({
    setTool: (tool) => done.push(tool),
    fit: () => done.push("fit"),
    zoom: (factor) => done.push(factor),
    stage: { anchor() {} },
    menus: { openShortcuts: () => done.push("?") },
    run: (...command) => done.push(command.join(" ")),
  });
  const press = (code, shiftKey = false) =>
    keyboard.down(keyEvent(keys, { key: "Process", keyCode: 229, isComposing: true, code, shiftKey }));
  for (const code of ["KeyR", "KeyB", "KeyV", "Digit0", "Minus"]) press(code);
  editor.tool = "select";
  press("BracketRight");
  press("BracketRight", true);
  press("Slash", true);
  press("Space");
  assert.deepEqual(done, ["box", "brush", "select", "fit", 0.8, "reorder forward", "reorder front", "?"]);
  assert.equal(editor.pointer.held.space, true);
  keyboard.up(keyEvent(keys, { key: "Process", keyCode: 229, code: "Space" }));
  assert.equal(editor.pointer.held.space, undefined);
});

test("a composition that begins on the stage ends, and a key that is held stays so", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { keyboard, keys, editor } = keyboardWith();
  const focused = [];
  keys.blur = () => {
    focused.push("blur");
    keys.dispatchEvent(new Event("blur"));
  };
  keys.focus = () => focused.push("focus");
  globalThis.document = { activeElement: keys };
  keyboard.down(keyEvent(keys, { key: "Process", keyCode: 229, code: "KeyH" }));
  keys.dispatchEvent(new Event("compositionstart"));
  context.mock.timers.tick(1);
  assert.deepEqual(focused, ["blur", "focus"]);
  assert.equal(editor.pointer.held.bare, true);
  globalThis.document = { activeElement: null }; // the key opened a field, which has the focus now
  keys.dispatchEvent(new Event("compositionstart"));
  context.mock.timers.tick(1);
  assert.deepEqual(focused, ["blur", "focus"]);
  delete globalThis.document;
});

test("the key that ends a composition is not taken for one of ours", () => {
  const left = [];
  const editor = { keys: { focus: () => left.push("field") } };
  const field = Object.assign(Object.create(InlineCaption.prototype), { editor });
  const { keyboard } = keyboardWith({
    inline: { isOpen: false },
    menus: { open: false },
    keys: Object.assign(new EventTarget(), { focus: () => left.push("escape") }),
  });
  // Safari has ended the composition already, and only the old code is still the input method's.
  for (const composing of [{ isComposing: true }, { isComposing: false, keyCode: 229 }]) {
    for (const key of ["Enter", "Escape"]) field.key(keyEvent({}, { key, ...composing }));
    keyboard.down(keyEvent({}, { key: "Escape", ...composing }));
  }
  assert.deepEqual(left, []);
  assert.equal(field.cancelled, undefined);
  field.key(keyEvent({}, { key: "Enter", isComposing: false, keyCode: 13 }));
  keyboard.down(keyEvent({}, { key: "Escape", isComposing: false, keyCode: 27 }));
  assert.deepEqual(left, ["field", "escape"]);
});
