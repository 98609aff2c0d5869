// Layouts in and out. What is small is here; the sheet to paste into, files and pictures are loaded when needed.
import { createState } from "../lib/commands.mjs";
import { createLayout, parse, serialise } from "../lib/document.mjs";
import { EXAMPLE } from "../lib/templates.mjs";
import { html } from "./dom.mjs";

export class Exchange {
  constructor(editor) {
    this.editor = editor;
    const { root } = editor;
    for (const name of ["dragenter", "dragover", "dragleave", "drop"])
      root.addEventListener(name, (event) => this.drag(event));
  }

  /** The part that is loaded on demand. */
  later() {
    return import("./later.mjs").catch((error) => {
      this.editor.say(this.editor.t("editor.not_loaded"), true);
      throw error;
    });
  }

  async importExport() {
    const { ImportExport } = await this.later();
    return (this.made ??= new ImportExport(this.editor));
  }

  /** A paste on the stage: our own instances go in at once, anything else is shown first. */
  pasted(data) {
    if (data.files?.length) return this.openFirst(data.files);
    const text = data.getData("text/plain");
    if (!text.trim()) return undefined;
    try {
      // A text that cannot be read stands where they would go: the sheet takes its place.
      return this.editor.broken.text === null ? this.editor.run("append", parse(text)) : this.openPaste(text);
    } catch {
      return this.openPaste(text);
    }
  }

  useExample() {
    const { editor } = this;
    const { width, height } = editor.hostSize(editor.layout.canvas);
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
    if (event.type === "dragenter" && !this.curtain)
      this.curtain = root.appendChild(html("div", { class: "ic-drop" }, t("editor.drop_here")));
    const left = event.type === "dragleave" && !root.contains(event.relatedTarget);
    if (event.type !== "drop" && !left) return;
    this.curtain?.remove();
    this.curtain = null;
    if (event.type === "drop" && event.dataTransfer.files.length) this.openFirst(event.dataTransfer.files);
  }

  /** One file is opened at a time: of several the first, and the others are told of. */
  openFirst([file, ...others]) {
    const { editor } = this;
    if (others.length) editor.say(editor.t("editor.files_left_out", { count: others.length }), true);
    return this.openFile(file);
  }

  /** The selected instances as a document, null when there are none. */
  selectionText() {
    const { selected, layout } = this.editor;
    if (selected.length === 0) return null;
    const { width, height } = layout.canvas;
    return serialise(createLayout(width, height, { instances: selected }));
  }

  /**
   * To the clipboard; where that is forbidden the text is shown to be copied by hand.
   * @param {string | Promise<string>} text a promise is handed to the browser at once, while the press still counts
   * @param {Promise<string | null>} [note] what to say instead of "Copied"
   */
  async toClipboard(text, note = Promise.resolve(null)) {
    const { editor } = this;
    try {
      await (typeof text === "string" ? navigator.clipboard.writeText(text) : writePromised(text));
      editor.say((await note) ?? editor.t("editor.copied"), true);
    } catch {
      await Promise.resolve(text).then(
        (copy) => this.showToCopy(copy),
        (error) => editor.sayError(error),
      );
    }
  }

  showToCopy(text) {
    const { menus, t } = this.editor;
    const area = html("textarea", {
      class: "ic-field",
      rows: 10,
      readonly: true,
      "aria-label": t("editor.copy_by_hand"),
    });
    menus.sheet(t("editor.copy_by_hand"), area);
    area.value = text;
    area.select();
  }

  openPaste(text = "") {
    return this.importExport().then((part) => part.openPaste(text));
  }

  /** The sheet of layouts that the person keeps. */
  openKept() {
    return this.importExport().then((part) => part.openKept());
  }

  openFile(file) {
    return this.importExport().then((part) => part.openFile(file));
  }
}

async function writePromised(text) {
  const blob = text.then((copy) => new Blob([copy], { type: "text/plain" }));
  blob.catch(() => {}); // said by whoever awaits the text
  await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
}
