// A value that is no document: shown as it is, with the place of the error; nothing is overwritten unasked.
import { createLayout } from "../lib/document.mjs";
import { excerpt } from "../lib/errors.mjs";
import { tError } from "../lib/i18n.mjs";
import { createState } from "../lib/commands.mjs";
import { html } from "./dom.mjs";

export class Broken {
  constructor(editor) {
    this.editor = editor;
    this.text = null;
    this.message = html("p", { style: "margin:0" });
    this.place = html("pre");
    const { t } = editor;
    const button = (label, action) =>
      html("button", { type: "button", class: "ic-button ic-outlined", onclick: action }, label);
    this.element = html(
      "div",
      { class: "ic-sheet", hidden: true, role: "alert" },
      html(
        "div",
        { class: "ic-panel" },
        html("h2", {}, t("editor.broken_title")),
        this.message,
        this.place,
        html("p", { class: "ic-muted", style: "margin:0" }, t("editor.broken_text")),
        html(
          "div",
          { class: "ic-row" },
          button(t("editor.repair"), () => editor.exchange.openPaste(this.text)),
          button(t("editor.copy_text"), () => editor.exchange.toClipboard(this.text)),
          button(t("editor.start_anew"), () => this.discard()),
        ),
      ),
    );
    editor.root.append(this.element);
  }

  show(text, error) {
    this.text = text;
    this.message.textContent = tError(this.editor.t, error);
    this.place.textContent = excerpt(text, error);
    this.place.hidden = this.place.textContent === "";
    this.element.hidden = false;
  }

  hide() {
    if (this.text !== null) this.editor.writtenLayout = null; // whatever is drawn is to be written in its place
    this.text = null;
    this.element.hidden = true;
  }

  discard() {
    this.hide();
    const { width, height } = this.editor.hostSize(this.editor.layout.canvas);
    this.editor.apply({ state: createState(createLayout(width, height)) });
    this.editor.write();
  }
}
