// The row of buttons above the stage. One tab stop; arrow keys go from button to button. What a narrow editor has no
// room for goes into a menu at the row's end, the least needed first.
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
    const opens = { "aria-haspopup": "menu", "aria-expanded": "false" };
    const menu = (name, label, open) => {
      // At the menu of the rest, when the button itself is in there.
      const button = iconButton(name, label, () => editor.menus[open](this.shownFor(button)), opens);
      return button;
    };
    this.undo = iconButton("undo", t("editor.undo"), () => editor.undo(), { shortcut: "Ctrl+Z" });
    this.redo = iconButton("redo", t("editor.redo"), () => editor.redo(), { shortcut: "Ctrl+Y" });
    this.size = html("button", {
      type: "button",
      class: "ic-button ic-size",
      ...opens,
      onclick: () => editor.menus.openSizes(this.shownFor(this.size)),
    });
    this.snap = menu("magnet", t("editor.snapping"), "openSnapping");
    this.picture = menu("picture", t("editor.picture"), "openPictures");
    this.panel = iconButton("panel", t("editor.panel"), () => editor.host.toggleWindow("panel"));
    this.large = iconButton("expand", t("editor.large"), () => editor.host.toggleWindow("large"), {
      shortcut: "F",
    });
    const templates = menu("templates", t("editor.templates"), "openTemplates");
    const exchange = menu("exchange", t("editor.exchange"), "openExchange");
    const help = iconButton("help", t("editor.shortcuts"), () => editor.menus.openShortcuts(), {
      shortcut: "?",
    });
    this.more = iconButton("more", t("editor.more_tools"), () => this.openMore(), opens);
    const [box, select, ...shapes] = this.tools;
    this.separators = [0, 1].map(() => html("span", { class: "ic-separator" }));
    this.element = html(
      "div",
      { class: "ic-toolbar", role: "toolbar", "aria-label": t("editor.tools") },
      box,
      select,
      ...shapes,
      this.separators[0],
      templates,
      this.snap,
      this.picture,
      html("span", { class: "ic-spacer" }),
      this.undo,
      this.redo,
      this.separators[1],
      this.size,
      exchange,
      help,
      this.more,
      this.panel,
      this.large,
    );
    // The way back from the large editor is none of them: it is always there.
    this.yielding = [
      help,
      this.panel,
      ...[...shapes].reverse(),
      this.redo,
      templates,
      this.snap,
      exchange,
      this.picture,
      this.size,
      select,
      this.undo,
      box,
    ];
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.element);
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.buttons.forEach((button, at) => (button.tabIndex = at ? -1 : 0));
  }

  destroy() {
    this.observer.disconnect();
  }

  /** Show as many buttons as there is room for. */
  fit() {
    const { element, more, separators, yielding } = this;
    if (!element.clientWidth) return;
    const isCut = () => element.scrollWidth > element.clientWidth;
    for (const part of [...yielding, ...separators]) part.hidden = false;
    more.hidden = true;
    more.hidden = !isCut();
    for (const part of [...separators, ...yielding]) if (isCut()) part.hidden = true;
    const shown = this.buttons.filter((button) => !button.hidden);
    const stop = shown.find((button) => button.tabIndex === 0) ?? shown[0];
    this.buttons.forEach((button) => (button.tabIndex = button === stop ? 0 : -1));
  }

  /** What a menu opens at: its button, or the one of the rest where that is in there. */
  shownFor(button) {
    return button.hidden ? this.more : button;
  }

  /** The buttons without room, in their order, by their names. */
  openMore() {
    const { menus } = this.editor;
    const entries = this.buttons
      .filter((button) => button.hidden && button !== this.more)
      .map((button) =>
        menus.item(button.getAttribute("aria-label"), () => button.click(), {
          drawing: button.dataset.drawing,
          checked: button.dataset.tool && button.getAttribute("aria-pressed") === "true" ? true : undefined,
          disabled: button.disabled,
        }),
      );
    menus.show(entries, { button: this.more, label: this.editor.t("editor.more_tools") });
  }

  get buttons() {
    return [...this.element.querySelectorAll("button")];
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const buttons = this.buttons.filter((button) => !button.disabled && !button.hidden);
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
      this.fit();
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
    for (const [kind, button, shortcut] of [
      ["panel", this.panel, ""],
      ["large", this.large, " (F)"],
    ]) {
      const isOpen = editor.host.window === kind;
      const label = isOpen ? t("editor.small") : t(`editor.${kind}`);
      set(button, { "aria-label": label, title: label + shortcut, "aria-pressed": String(isOpen) });
    }
  }
}
