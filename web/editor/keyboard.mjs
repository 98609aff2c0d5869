// Keys. A hidden text area on the stage has the focus: only so do ComfyUI's own shortcuts leave the keys alone.
import { nextGuides } from "../lib/guides.mjs";
import { stepOf } from "../lib/regions.mjs";
import { isComposing } from "./composing.mjs";

const PASSED_ON = new Set([
  "ctrl+s",
  "ctrl+shift+s",
  "ctrl+enter",
  "ctrl+shift+enter",
  "ctrl+o",
  "f5",
  "ctrl+f5",
  "f11",
  "f12",
]);
// Plain and with Shift, as on the keyboards that are used with input methods.
const SIGNS = { Space: "  ", BracketLeft: "[{", BracketRight: "]}", Minus: "-_", Equal: "=+", Slash: "/?" };
const ARROWS = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] };
let bursts = 0;

/** What the keys do on the stage, by name; also the source of the sheet of shortcuts. */
const actions = (editor) => ({
  v: () => editor.setTool("select"),
  r: () => editor.setTool("box"),
  p: () => editor.setTool("polygon"),
  b: () => editor.setTool("brush"),
  e: () => editor.setTool("eraser"),
  n: () => editor.addInMiddle(),
  s: () => editor.setSetting("snap", !editor.settings.snap),
  g: () => editor.setSetting("grid", editor.settings.grid ? 0 : 16),
  t: () => editor.setSetting("guides", nextGuides(editor.settings.guides)),
  f: () => editor.host.toggleWindow("large"),
  "?": () => editor.menus.openShortcuts(),
  "ctrl+z": () => editor.undo(),
  "ctrl+y": () => editor.redo(),
  "ctrl+shift+z": () => editor.redo(),
  "ctrl+a": () => editor.run("selectAll"),
  "ctrl+d": () => editor.duplicate(),
  "ctrl+l": () => editor.menus.toggle("locked"),
  "ctrl+shift+h": () => editor.menus.toggle("enabled"),
  delete: () => editor.remove(),
  enter: () =>
    editor.pointer.drawing.points
      ? editor.pointer.drawing.closePolygon()
      : editor.inline.open(editor.selected[0]),
  f2: () => editor.list.rename(editor.state.selection[0]),
  "]": () => bracket(editor, "forward", 1.25),
  "[": () => bracket(editor, "backward", 0.8),
  "}": () => editor.run("reorder", "front"),
  "{": () => editor.run("reorder", "back"),
  "+": () => editor.zoom(1.25, editor.stage.anchor()),
  "=": () => editor.zoom(1.25, editor.stage.anchor()),
  "-": () => editor.zoom(0.8, editor.stage.anchor()),
  0: () => editor.fit(),
  "shift+f10": () => editor.menus.openContextAtSelection(),
  contextmenu: () => editor.menus.openContextAtSelection(),
});

/** With a brush in hand the brackets change its size, else the stacking order. */
function bracket(editor, order, factor) {
  const paints = editor.tool === "brush" || editor.tool === "eraser";
  if (paints)
    editor.setSetting("brush", Math.round(Math.min(Math.max(editor.settings.brush * factor, 4), 400)));
  else editor.run("reorder", order);
}

export class Keyboard {
  constructor(editor) {
    this.editor = editor;
    this.actions = actions(editor);
    this.burst = null;
    editor.root.addEventListener("keydown", (event) => this.down(event));
    editor.root.addEventListener("keyup", (event) => this.up(event));
    editor.keys.addEventListener("input", () => (editor.keys.value = ""));
    editor.keys.addEventListener("compositionstart", () => setTimeout(() => this.endComposition()));
    editor.keys.addEventListener("blur", () => this.isEnding || this.release());
    for (const name of ["copy", "cut", "paste"])
      editor.root.addEventListener(name, (event) => this.clipboard(event));
  }

  down(event) {
    const name = nameOf(event);
    // ComfyUI goes by the letter: where the keyboard writes another at its place, it has to be told.
    const isTold = PASSED_ON.has(name) && keyOf(event) !== event.key && this.editor.host.shortcut(event);
    if (isTold) event.preventDefault();
    else if (PASSED_ON.has(name)) return;
    event.stopPropagation();
    if (isTold) return;
    if (event.target === this.editor.keys) this.onStage(event, name);
    else if (name === "escape" && !isComposing(event)) this.leaveField(event);
  }

  /** On the stage an input method has nothing to write: its window closes again. */
  endComposition() {
    const { keys } = this.editor;
    if (document.activeElement !== keys) return;
    this.isEnding = true; // a key that is held stays so
    keys.blur();
    keys.focus({ preventScroll: true });
    this.isEnding = false;
  }

  onStage(event, name) {
    const { editor } = this;
    if (editor.dragging && name !== "escape") return event.preventDefault(); // the drag goes on from where it began
    const handled =
      name === "tab" || name === "shift+tab"
        ? this.tab(name)
        : name === "escape"
          ? this.escape()
          : this.act(event, name);
    if (handled !== false) event.preventDefault();
    editor.invalidate();
    return undefined;
  }

  act(event, name) {
    const { editor } = this;
    const key = keyOf(event).toLowerCase();
    if (key in ARROWS) return this.arrow(event, ARROWS[key]);
    if (key === " ") return this.hold("space", () => editor.pointer.cursor("grab"));
    if (name === "h") return this.hold("bare", () => editor.root.toggleAttribute("data-bare", true));
    if (name === "backspace") return editor.pointer.drawing.removePoint() || editor.remove();
    if (/^[1-9]$/.test(name)) return this.selectNumber(Number(name));
    const action =
      this.actions[name] ??
      (event.ctrlKey || event.metaKey || event.altKey ? undefined : this.actions[event.key]);
    if (!action) return false;
    action();
    return true;
  }

  selectNumber(number) {
    const instance = this.editor.layout.instances[number - 1];
    if (!instance) return;
    this.editor.run("select", [instance.id]);
    this.editor.announceSelection();
  }

  /** Tab goes through the instances; with none selected, or past Escape, it leaves the stage. */
  tab(name) {
    const { editor } = this;
    if (this.leaves || editor.layout.instances.length === 0) return (this.leaves = false);
    editor.run("cycle", name === "tab" ? 1 : -1);
    editor.announceSelection();
    return true;
  }

  escape() {
    const { editor } = this;
    if (editor.menus.open) {
      editor.menus.close(true);
      return true;
    }
    if (editor.pointer.cancel()) return true;
    if (editor.state.selection.length) editor.run("clear");
    else this.leaves = true;
    // In the large editor a further Escape closes it.
    return !(editor.large && this.leaves);
  }

  leaveField(event) {
    const { editor } = this;
    if (editor.inline.isOpen) return;
    event.preventDefault();
    // A menu without anything to choose has not the focus.
    if (editor.menus.open) editor.menus.close(true);
    else editor.keys.focus({ preventScroll: true });
  }

  /**
   * Arrows move by a pixel (shapes that are painted, by a sample), with Shift by ten, with Alt they resize; one run of
   * them is one step of undo.
   */
  arrow(event, [right, down]) {
    const { editor } = this;
    if (!editor.selected.length) return true;
    this.leaves = false;
    this.burst ??= `nudge:${++bursts}`;
    const size = event.shiftKey ? 10 : 1;
    const result = event.altKey
      ? this.resized(right * size, down * size)
      : editor.commands.nudge(editor.state, right * size, down * size);
    editor.apply(result, { key: this.burst });
    return true;
  }

  resized(right, down) {
    const { editor } = this;
    const box = editor.freeBox;
    const { canvas } = editor.layout;
    if (!box) return editor.commands.nudge(editor.state, 0, 0);
    const free = editor.selected.filter((instance) => !instance.locked);
    const [wider, higher] = stepOf(free, canvas, right, down);
    return editor.commands.resize(editor.state, "se", box[2] + wider, box[3] + higher, {
      least: [8 / canvas.width, 8 / canvas.height],
    });
  }

  hold(name, begin) {
    const { held } = this.editor.pointer;
    if (!held[name]) begin();
    held[name] = true;
    return true;
  }

  up(event) {
    event.stopPropagation();
    const key = keyOf(event).toLowerCase();
    if (key in ARROWS && this.burst) {
      this.burst = null;
      this.editor.settle();
    }
    if (key === " " || key === "h") this.release();
  }

  release() {
    const { editor } = this;
    editor.pointer.held = {};
    editor.pointer.cursor(null);
    editor.root.toggleAttribute("data-bare", false);
  }

  clipboard(event) {
    if (event.target !== this.editor.keys) return event.stopPropagation();
    event.preventDefault();
    event.stopPropagation();
    if (this.editor.dragging) return undefined;
    if (event.type === "paste") return this.editor.exchange.pasted(event.clipboardData);
    const text = this.editor.exchange.selectionText();
    if (text === null) return undefined;
    event.clipboardData.setData("text/plain", text);
    if (event.type === "cut") this.editor.remove();
    return undefined;
  }
}

/** Whether the key that reaches third signs is held; Windows says Ctrl and Alt of it too. */
const isThird = (event) => event.getModifierState?.("AltGraph") ?? false;

/**
 * The key, or what is at its place where an input method took it and the browser only says "Process", and where a
 * keyboard writes in other letters than Latin ones.
 */
export function keyOf(event) {
  const { key, code, shiftKey } = event;
  const isForeign = key === "Process" || (/^[^\0-\u024f]/.test(key) && !isThird(event));
  return isForeign && code ? (SIGNS[code]?.[Number(shiftKey)] ?? code.replace(/^Key|^Digit/, "")) : key;
}

/** A shortcut as text: "ctrl+shift+z"; Command counts as Ctrl, and a sign is what it is however it is reached. */
function nameOf(event) {
  const key = keyOf(event).toLowerCase();
  const isSign = key.length === 1 && !/[a-z0-9]/.test(key);
  return [
    (event.ctrlKey || event.metaKey) && !isThird(event) && "ctrl",
    event.altKey && !isSign && "alt",
    event.shiftKey && !isSign && "shift",
    key,
  ]
    .filter(Boolean)
    .join("+");
}
