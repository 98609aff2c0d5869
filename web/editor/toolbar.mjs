// The row of buttons above the stage. One tab stop; arrow keys go from button to button.
import { nearestAspect } from "../lib/templates.mjs";
import { canRedo, canUndo } from "../lib/history.mjs";
import { html, iconButton, set } from "./dom.mjs";

export class Toolbar {
  constructor(editor) {
    this.editor = editor;
    const { t } = editor;
    const tool = (name, label, shortcut) =>
      iconButton(name, label, () => editor.setTool(name), {
        shortcut,
        "aria-pressed": "false",
        "data-tool": name,
      });
    this.tools = [
      tool("box", t("editor.tool_box"), "R"),
      tool("select", t("editor.tool_select"), "V"),
      tool("polygon", t("editor.tool_polygon"), "P"),
      tool("brush", t("editor.tool_brush"), "B"),
      tool("eraser", t("editor.tool_eraser"), "E"),
    ];
    const menu = (name, label, open) => {
      const button = iconButton(name, label, () => editor.menus[open](button), {
        "aria-haspopup": "menu",
        "aria-expanded": "false",
      });
      return button;
    };
    this.undo = iconButton("undo", t("editor.undo"), () => editor.undo(), { shortcut: "Ctrl+Z" });
    this.redo = iconButton("redo", t("editor.redo"), () => editor.redo(), { shortcut: "Ctrl+Y" });
    this.size = html("button", {
      type: "button",
      class: "ic-button ic-size",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
      onclick: () => editor.menus.openSizes(this.size),
    });
    this.snap = menu("magnet", t("editor.snapping"), "openSnapping");
    this.picture = menu("picture", t("editor.picture"), "openPictures");
    this.large = iconButton("expand", t("editor.large"), () => editor.host.toggleLarge(), { shortcut: "F" });
    this.element = html(
      "div",
      { class: "ic-toolbar", role: "toolbar", "aria-label": t("editor.tools") },
      ...this.tools,
      html("span", { class: "ic-separator" }),
      menu("templates", t("editor.templates"), "openTemplates"),
      this.snap,
      this.picture,
      html("span", { class: "ic-spacer" }),
      this.undo,
      this.redo,
      html("span", { class: "ic-separator" }),
      this.size,
      menu("exchange", t("editor.exchange"), "openExchange"),
      iconButton("help", t("editor.shortcuts"), () => editor.menus.openShortcuts(), {
        shortcut: "?",
        class: "ic-optional",
      }),
      this.large,
    );
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.buttons.forEach((button, at) => (button.tabIndex = at ? -1 : 0));
  }

  get buttons() {
    return [...this.element.querySelectorAll("button")];
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const buttons = this.buttons.filter((button) => !button.disabled && button.offsetParent);
    const next = buttons.at((buttons.indexOf(document.activeElement) + step) % buttons.length);
    this.buttons.forEach((button) => (button.tabIndex = button === next ? 0 : -1));
    next.focus();
    event.preventDefault();
  }

  render() {
    const { editor } = this;
    const { t } = editor;
    for (const button of this.tools)
      set(button, { "aria-pressed": String(button.dataset.tool === editor.tool) });
    this.undo.disabled = !canUndo(editor.history);
    this.redo.disabled = !canRedo(editor.history);
    const { width, height } = editor.layout.canvas;
    const shown = `${width} × ${height}`;
    if (this.size.textContent !== shown) {
      const { ratio, width: w, height: h } = nearestAspect(width, height);
      this.size.textContent = shown;
      this.size.title = t("editor.size_title", {
        ratio: Math.abs(width / height - w / h) < 0.02 ? ratio : "",
      });
      this.size.setAttribute(
        "aria-label",
        t("editor.size_label", { width: String(width), height: String(height) }),
      );
    }
    set(this.snap, { "aria-pressed": String(editor.settings.snap) });
    set(this.picture, { "aria-pressed": String(editor.pictures.shown !== null) });
    const label = editor.large ? t("editor.small") : t("editor.large");
    set(this.large, { "aria-label": label, title: `${label} (F)`, "aria-pressed": String(editor.large) });
  }
}
