// Layouts in and out. What is small is here; formats, files and pictures are loaded when they are first needed.
import { createState } from "../lib/commands.mjs";
import { createLayout, parse, serialise } from "../lib/document.mjs";
import { LayoutError } from "../lib/errors.mjs";
import { EXAMPLE } from "../lib/templates.mjs";
import { html } from "./dom.mjs";

/** The line of a text that an error means, with a caret under the character. */
export function excerpt(text, error) {
  if (!(error instanceof LayoutError) || error.offset === null) return text.slice(0, 300);
  const start = Math.max(text.lastIndexOf("\n", error.offset - 1) + 1, error.offset - 40);
  const newline = text.indexOf("\n", error.offset);
  const end = Math.min(newline < 0 ? text.length : newline, error.offset + 40);
  const shown = text.slice(start, end).replace(/[\p{C}]/gu, "·");
  return `${shown}\n${" ".repeat(error.offset - start)}^`;
}

export class Exchange {
  constructor(editor) {
    this.editor = editor;
    const { root } = editor;
    for (const name of ["dragenter", "dragover", "dragleave", "drop"]) root.addEventListener(name, (event) => this.drag(event));
  }

  /** The other half of it, once it is loaded. */
  desk() {
    this.loading ??= import("./exchange_desk.mjs").then(({ ExchangeDesk }) => new ExchangeDesk(this.editor));
    return this.loading.catch((error) => {
      this.loading = null;
      this.editor.say(this.editor.t("editor.not_loaded"), true);
      throw error;
    });
  }

  /** A paste on the stage: our own instances go in at once, anything else is shown first. */
  pasted(data) {
    const [file] = data.files ?? [];
    if (file) return this.openFile(file);
    const text = data.getData("text/plain");
    if (!text.trim()) return undefined;
    try {
      return this.editor.run("paste", parse(text).instances);
    } catch {
      return this.openPaste(text);
    }
  }

  useExample() {
    const { editor } = this;
    const { width, height } = editor.host.size;
    const example = parse(EXAMPLE);
    editor.apply({ state: createState({ ...example, canvas: { ...example.canvas, width, height } }) });
    editor.keys.focus({ preventScroll: true });
  }

  /** Files dropped on the editor are for it; the graph does not see them. */
  drag(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    const { root, t } = this.editor;
    if (event.type === "dragenter" && !this.curtain) this.curtain = root.appendChild(html("div", { class: "ic-drop" }, t("editor.drop_here")));
    const left = event.type === "dragleave" && !root.contains(event.relatedTarget);
    if (event.type !== "drop" && !left) return;
    this.curtain?.remove();
    this.curtain = null;
    if (event.type === "drop" && event.dataTransfer.files[0]) this.openFile(event.dataTransfer.files[0]);
  }

  /** The selected instances as a document, null when there are none. */
  selectionText() {
    const { selected, layout } = this.editor;
    if (selected.length === 0) return null;
    const { width, height } = layout.canvas;
    return serialise(createLayout(width, height, { instances: selected }));
  }

  /** To the clipboard; where that is forbidden the text is shown to be copied by hand. */
  async toClipboard(text) {
    const { editor } = this;
    const { t } = editor;
    try {
      await navigator.clipboard.writeText(text);
      editor.say(t("editor.copied"), true);
    } catch {
      const area = html("textarea", { class: "ic-field", rows: 10, readonly: true, "aria-label": t("editor.copy_by_hand") });
      editor.menus.sheet(t("editor.copy_by_hand"), area);
      area.value = text;
      area.select();
    }
  }

  openPaste(text = "") {
    return this.desk().then((desk) => desk.openPaste(text));
  }

  openFile(file) {
    return this.desk().then((desk) => desk.openFile(file));
  }
}
