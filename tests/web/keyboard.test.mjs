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

test("keyboards that write other letters, or signs by a third level, reach all keys", () => {
  const done = [];
  const { keyboard, keys } = keyboardWith({
    tool: "select",
    setTool: (tool) => done.push(tool),
    undo: () => done.push("undo"),
    redo: () => done.push("redo"),
    duplicate: () => done.push("duplicate"),
    menus: { openShortcuts: () => done.push("?") },
    run: (...command) => done.push(command.join(" ")),
    layout: { instances: [] },
    fit: () => done.push("fit"),
  });
  const press = (key, code, held = {}) => {
    const before = done.length;
    keyboard.down(keyEvent(keys, { key, code, getModifierState: () => Boolean(held.third), ...held }));
    return done.slice(before).join();
  };
  const ctrl = { ctrlKey: true };
  for (const [key, code, held, expected] of [
    ["я", "KeyZ", ctrl, "undo"], // Russian
    ["Я", "KeyZ", { ...ctrl, shiftKey: true }, "redo"],
    ["в", "KeyD", ctrl, "duplicate"],
    ["к", "KeyR", {}, "box"],
    ["ж", "Semicolon", {}, ""],
    ["ζ", "KeyZ", ctrl, "undo"], // Greek
    ["ז", "KeyZ", ctrl, "undo"], // Hebrew
    ["ئ", "KeyZ", ctrl, "undo"], // Arabic
    ["】", "BracketRight", {}, "reorder forward"], // Chinese
    ["？", "Slash", { shiftKey: true }, "?"],
    ["]", "Digit9", { ...ctrl, altKey: true, third: true }, "reorder forward"], // German on Windows
    ["{", "Digit7", { ...ctrl, altKey: true, third: true }, "reorder back"],
    ["[", "Digit5", { altKey: true }, "reorder backward"], // German on macOS
    ["€", "KeyE", { third: true }, ""], // German on Linux
    ["ü", "BracketLeft", {}, ""],
    ["é", "Digit2", {}, ""], // French
    ["-", "Minus", ctrl, ""], // the browser's own zoom
  ])
    assert.equal(press(key, code, held), expected, key);
});

test("what ComfyUI does at a letter is asked of it where the keyboard writes another", () => {
  const asked = [];
  const { keyboard, keys } = keyboardWith({ host: { shortcut: ({ code }) => asked.push(code) } });
  const press = (key) => {
    const event = keyEvent(keys, { key, code: "KeyS", ctrlKey: true });
    event.stopPropagation = () => (event.isStopped = true);
    keyboard.down(event);
    return [asked.splice(0), event.isPrevented, event.isStopped];
  };
  assert.deepEqual(press("ы"), [["KeyS"], true, true]);
  assert.deepEqual(press("s"), [[], undefined, undefined], "it hears that itself");
});

test("a key of ComfyUI's is known by its place too", async () => {
  await import("./comfyui.mjs");
  const { commandOf } = await import("../../web/editor/comfyui_page.mjs");
  for (const key of ["s", "S", "ы"])
    assert.equal(commandOf({ key, code: "KeyS", ctrlKey: true, shiftKey: false }), "Comfy.SaveWorkflow");
  const taken = { key: "Process", code: "Enter", keyCode: 229, isComposing: true, ctrlKey: true };
  assert.equal(commandOf(taken), undefined, "the input method has it");
});
