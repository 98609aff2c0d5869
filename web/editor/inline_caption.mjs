// The caption written on the region itself: opens after drawing, on double click and on Enter. What is typed is in the
// document at once, so that nothing is lost when the page is reloaded; it is one step of undo, and Escape takes it back.
import { bounds } from "../lib/regions.mjs";
import { isComposing } from "./composing.mjs";
import { html } from "./dom.mjs";

const WIDTH = 230;
const HEIGHT = 64;

export class InlineCaption {
  constructor(editor) {
    this.editor = editor;
    this.field = html("textarea", {
      class: "ic-field",
      rows: 2,
      placeholder: editor.t("editor.caption_placeholder"),
      "aria-label": editor.t("editor.caption"),
      spellcheck: "true",
    });
    this.element = html("div", { class: "ic-inline", hidden: true }, this.field);
    this.field.addEventListener("keydown", (event) => this.key(event));
    // A browser's own undo reaches the field while it is hidden too.
    this.field.addEventListener("input", () => this.isOpen && this.keep(this.field.value));
    // Where the whole window lost the focus, the field has it again with the window.
    this.field.addEventListener("blur", () => document.hasFocus() && this.close());
    editor.stage.element.append(this.element);
  }

  get isOpen() {
    return !this.element.hidden;
  }

  open(instance) {
    const { editor } = this;
    if (!instance) return;
    if (instance.locked) return editor.say(editor.t("editor.locked", { id: instance.id }), true);
    this.id = instance.id;
    this.before = editor.history;
    const { view } = editor.stage;
    const [x0, y0] = view.toStage(bounds(instance));
    const [x1, y1] = view.toStage(bounds(instance).slice(2));
    const width = Math.min(Math.max(WIDTH, Math.min(x1 - x0 - 8, 340)), view.stage[0] - 8);
    const left = Math.min(Math.max((x0 + x1 - width) / 2, 4), view.stage[0] - width - 4);
    const top = Math.min(Math.max((y0 + y1 - HEIGHT) / 2, 4), Math.max(view.stage[1] - HEIGHT - 4, 4));
    this.element.style.cssText = `left:${left}px;top:${top}px;width:${width}px`;
    this.field.value = instance.caption;
    this.element.hidden = false;
    this.field.focus({ preventScroll: true });
    this.field.select();
  }

  key(event) {
    if (isComposing(event)) return;
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      this.cancelled = true;
      this.editor.keys.focus({ preventScroll: true });
    } else if (event.key === "Enter" && !event.shiftKey) {
      // Ctrl+Enter also goes on to ComfyUI, which queues; the caption is kept first.
      event.preventDefault();
      this.editor.keys.focus({ preventScroll: true });
    }
  }

  /** The caption is this text, in one step from what it was when the field opened. */
  keep(text) {
    const { editor } = this;
    const instance = editor.layout.instances.find((item) => item.id === this.id);
    if (!instance) return;
    const ours = (step) => editor.history === step;
    if (ours(this.before) || ours(this.after)) editor.history = this.before;
    const result = editor.commands.set(editor.state, [this.id], { caption: text });
    editor.apply(result, { key: `inline:${this.id}` });
    this.after = editor.history;
    editor.invalidate(); // the text of before is no change, but something else is shown
    editor.write(true);
  }

  /** Keep what was written, unless Escape was pressed. */
  close() {
    if (!this.isOpen) return;
    this.element.hidden = true;
    const { editor, cancelled } = this;
    this.cancelled = false;
    const before = this.before.present.layout.instances.find((item) => item.id === this.id)?.caption ?? "";
    const text = cancelled ? before : this.field.value;
    const instance = editor.layout.instances.find((item) => item.id === this.id);
    if (instance && instance.caption !== text) this.keep(text);
    this.before = this.after = null;
    editor.settle();
  }
}
