// Menus, the sheet of shortcuts and short messages. One is open at a time; Escape closes and gives the focus back.
import { ASPECTS, TEMPLATES } from "../lib/templates.mjs";
import { LARGEST_CANVAS, SMALLEST_CANVAS } from "../lib/document.mjs";
import { boxPolygon, outlines, simplify } from "../lib/mask.mjs";
import { html, icon, iconButton } from "./dom.mjs";

const GRIDS = [0, 8, 16, 32, 64];
const TOAST = 3500;

export class Menus {
  constructor(editor) {
    this.editor = editor;
    this.element = null;
  }

  get open() {
    return this.element !== null;
  }

  close(focus = false) {
    if (!this.element) return;
    this.element.remove();
    this.element = null;
    this.opener?.setAttribute?.("aria-expanded", "false");
    document.removeEventListener("pointerdown", this.outside, true);
    if (focus) (this.opener?.focus ? this.opener : this.editor.keys).focus({ preventScroll: true });
    this.opener = null;
  }

  /** Show entries beside a button, or at a point of the screen. */
  show(entries, { button = null, x = 0, y = 0, label }) {
    const again = button && this.opener === button;
    this.close();
    if (again) return;
    const { root } = this.editor;
    this.opener = button;
    button?.setAttribute("aria-expanded", "true");
    this.element = html("div", { class: "ic-menu", role: "group", "aria-label": label }, ...inMenus(entries, label));
    root.append(this.element);
    this.place(button, x, y);
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("pointerdown", (event) => event.stopPropagation());
    this.element.addEventListener("contextmenu", (event) => event.preventDefault());
    this.outside = (event) => {
      if (!this.element?.contains(event.target) && !button?.contains(event.target)) this.close();
    };
    document.addEventListener("pointerdown", this.outside, true);
    this.items[0]?.focus({ preventScroll: true });
  }

  place(button, x, y) {
    const { root } = this.editor;
    const frame = root.getBoundingClientRect();
    const ratio = frame.width / root.offsetWidth || 1;
    const rect = button?.getBoundingClientRect();
    const wanted = rect ? [rect.left, rect.bottom + 2] : [x, y];
    const left = (wanted[0] - frame.left) / ratio;
    const top = (wanted[1] - frame.top) / ratio;
    const { offsetWidth, offsetHeight } = this.element;
    this.element.style.left = `${Math.max(4, Math.min(left, root.clientWidth - offsetWidth - 4))}px`;
    this.element.style.top = `${Math.max(4, Math.min(top, root.clientHeight - offsetHeight - 4))}px`;
  }

  get items() {
    return [...this.element.querySelectorAll('[role^="menuitem"], input, select')];
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      event.stopPropagation();
      this.close(true);
    } else if (step && !event.target.matches("input, select")) {
      event.preventDefault();
      const { items } = this;
      items.at((items.indexOf(document.activeElement) + step) % items.length).focus();
    }
  }

  item(label, action, { drawing, shortcut, disabled, checked } = {}) {
    const role = checked === undefined ? "menuitem" : "menuitemcheckbox";
    const run = (event) => {
      if (disabled) return;
      const { opener } = this;
      this.close();
      // Focus first: what the action opens may take it.
      if (opener?.focus && event.detail === 0) opener.focus({ preventScroll: true });
      else this.editor.keys.focus({ preventScroll: true });
      action();
    };
    return html("button", { type: "button", role, tabindex: -1, "aria-disabled": disabled ? "true" : null, "aria-checked": checked === undefined ? null : String(checked), onclick: run },
      checked ? icon("check") : drawing ? icon(drawing) : html("span", { class: "ic-icon-space" }), label, shortcut && html("kbd", { "aria-hidden": "true" }, shortcut));
  }

  title(text) {
    return html("div", { class: "ic-menu-title", role: "presentation" }, text);
  }

  // --- The menus ---------------------------------------------------------------------------------------------

  openContext(x, y) {
    this.show(this.selectionEntries(), { x, y, label: this.editor.t("editor.selection_menu") });
  }

  openContextAtSelection() {
    const { stage } = this.editor;
    const rect = stage.element.getBoundingClientRect();
    const [px, py] = stage.anchor();
    this.openContext(rect.left + px * stage.ratio, rect.top + py * stage.ratio);
  }

  openSelection(button) {
    this.show(this.selectionEntries(), { button, label: this.editor.t("editor.selection_menu") });
  }

  selectionEntries() {
    const { editor } = this;
    const { t, selected } = editor;
    const none = selected.length === 0;
    const one = selected.length === 1;
    const entry = (label, action, options = {}) => this.item(label, action, { ...options, disabled: options.disabled ?? none });
    const line = () => html("hr");
    return [
      entry(t("editor.edit_caption"), () => editor.focusCaption(), { shortcut: "Enter", disabled: !one }),
      entry(t("editor.rename"), () => editor.list.rename(selected[0].id), { shortcut: "F2", disabled: !one }),
      entry(t("editor.duplicate"), () => editor.duplicate(), { drawing: "copy", shortcut: "Ctrl+D" }),
      entry(t("editor.delete"), () => editor.remove(), { drawing: "trash", shortcut: "Del" }),
      line(),
      entry(t("editor.to_front"), () => editor.run("reorder", "front"), { drawing: "front", shortcut: "Shift+]" }),
      entry(t("editor.forward"), () => editor.run("reorder", "forward"), { shortcut: "]" }),
      entry(t("editor.backward"), () => editor.run("reorder", "backward"), { shortcut: "[" }),
      entry(t("editor.to_back"), () => editor.run("reorder", "back"), { drawing: "back", shortcut: "Shift+[" }),
      line(),
      entry(t("editor.hidden"), () => this.toggle("enabled"), { checked: !none && selected.every((one_) => !one_.enabled), shortcut: "Ctrl+Shift+H" }),
      entry(t("editor.locked_state"), () => this.toggle("locked"), { checked: !none && selected.every((one_) => one_.locked), shortcut: "Ctrl+L" }),
      entry(t("editor.to_polygon"), () => this.toPolygon(), { drawing: "polygon", disabled: !one || Boolean(selected[0].mask?.polygon) }),
      entry(t("editor.to_box"), () => this.toBox(), { drawing: "box", disabled: !one || !selected[0].mask }),
      line(),
      this.item(t("editor.select_all"), () => editor.run("selectAll"), { shortcut: "Ctrl+A", disabled: editor.layout.instances.length === 0 }),
      this.item(t("editor.paste_layout"), () => editor.exchange.openPaste(), { drawing: "paste" }),
    ];
  }

  openSizes(button) {
    const { editor } = this;
    const { t, layout, settings } = editor;
    const { width, height } = layout.canvas;
    const label = t("editor.size");
    if (editor.host.size.driven) return this.show([this.title(t("editor.size_driven"))], { button, label });
    const preset = (aspect) => this.item(`${aspect.ratio}   ${aspect.width} × ${aspect.height}`, () => editor.setSize(aspect.width, aspect.height, settings.keepPixels), { checked: aspect.width === width && aspect.height === height });
    const side = (value, name, use) => {
      const input = html("input", { type: "number", class: "ic-field ic-number", value: String(value), min: SMALLEST_CANVAS, max: LARGEST_CANVAS, step: 8, "aria-label": name });
      input.addEventListener("change", () => use(Math.round(Number(input.value) / 8) * 8));
      return input;
    };
    const own = html("div", { class: "ic-row", style: "padding:2px 8px" },
      side(width, t("editor.width"), (value) => editor.setSize(value, editor.layout.canvas.height, settings.keepPixels)), "×",
      side(height, t("editor.height"), (value) => editor.setSize(editor.layout.canvas.width, value, settings.keepPixels)));
    return this.show([
      this.title(t("editor.size_presets")), ...ASPECTS.map(preset), html("hr"), own,
      this.item(t("editor.swap_sides"), () => editor.setSize(height, width, settings.keepPixels), { drawing: "redo" }), html("hr"),
      this.item(t("editor.keep_pixels"), () => editor.setSetting("keepPixels", !settings.keepPixels), { checked: settings.keepPixels }),
    ], { button, label });
  }

  openSnapping(button) {
    const { editor } = this;
    const { t, settings } = editor;
    const flag = (name, label, shortcut) => this.item(label, () => editor.setSetting(name, !settings[name]), { checked: settings[name], shortcut });
    this.show([
      flag("snap", t("editor.snap"), "S"), html("hr"), flag("thirds", t("editor.snap_thirds"), "T"), flag("regions", t("editor.snap_regions")), html("hr"),
      this.title(t("editor.grid")),
      ...GRIDS.map((grid) => this.item(grid ? t("editor.grid_pixels", { count: grid }) : t("editor.no_grid"), () => editor.setSetting("grid", grid), { checked: settings.grid === grid })),
    ], { button, label: t("editor.snapping") });
  }

  openPictures(button) {
    const { editor } = this;
    const { t, settings, pictures } = editor;
    const choice = (name, label) => this.item(label, () => pictures.choose(name), { checked: settings.picture === name });
    const slider = (label, name) => {
      const input = html("input", { type: "range", min: 0, max: 1, step: 0.05, value: String(settings[name]), "aria-label": label });
      input.addEventListener("input", () => {
        editor.setSetting(name, Number(input.value));
        pictures.render();
      });
      return html("label", { class: "ic-slider-row" }, label, input);
    };
    const brush = html("input", { type: "range", min: 4, max: 400, step: 2, value: String(settings.brush), "aria-label": t("editor.brush_size") });
    brush.addEventListener("input", () => editor.setSetting("brush", Number(brush.value)));
    this.show([
      this.title(t("editor.picture_under")),
      choice("auto", t("editor.picture_auto")), choice("result", t("editor.picture_result")), choice("reference", t("editor.picture_reference")), choice("none", t("editor.picture_none")),
      html("hr"), slider(t("editor.picture_opacity"), "opacity"),
      ...(pictures.heats.size ? [slider(t("editor.heat_opacity"), "heat")] : []),
      html("hr"), this.item(t("editor.open_picture"), () => editor.exchange.importExport().then((part) => part.choosePicture()), { drawing: "picture" }),
      html("hr"), html("label", { class: "ic-slider-row" }, t("editor.brush_size"), brush),
    ], { button, label: t("editor.picture") });
  }

  openTemplates(button) {
    const { editor } = this;
    const { t } = editor;
    const number = (name) => html("input", { type: "number", class: "ic-field ic-number", style: "width:44px", min: 1, max: 10, value: "2", "aria-label": name });
    const [rows, columns] = [number(t("editor.rows")), number(t("editor.columns"))];
    const use = (name, options) => {
      this.close();
      editor.run("applyTemplate", name, options);
      editor.keys.focus({ preventScroll: true });
    };
    const grid = html("div", { class: "ic-row", style: "padding:2px 8px" }, t("template.grid"), rows, "×", columns,
      html("button", { type: "button", class: "ic-button ic-outlined", onclick: () => use("grid", { rows: Number(rows.value), columns: Number(columns.value) }) }, t("editor.make")));
    this.show([
      this.title(t("editor.templates_title")),
      ...TEMPLATES.filter((template) => template.name !== "grid").map((template) => this.item(t(template.key), () => use(template.name), { drawing: "templates" })),
      grid, html("hr"), this.item(t("editor.try_example"), () => editor.exchange.useExample()),
    ], { button, label: t("editor.templates") });
  }

  async openExchange(button) {
    const { editor } = this;
    const { t } = editor;
    const part = await editor.exchange.importExport();
    const empty = editor.layout.instances.length === 0;
    this.show([
      this.item(t("editor.paste_layout"), () => part.openPaste(), { drawing: "paste" }),
      this.item(t("editor.open_file"), () => part.chooseFile(), { drawing: "exchange" }), html("hr"),
      this.title(t("editor.copy_as")),
      ...part.formats.map((format) => this.item(t(format.key), () => part.copyAs(format.name), { disabled: empty })),
      html("hr"),
      this.item(t("editor.save_picture"), () => part.savePicture(), { drawing: "download", disabled: empty }),
    ], { button, label: t("editor.exchange") });
  }

  /** Turn a switch on for all selected instances, or off when all have it. */
  toggle(field) {
    const { selected } = this.editor;
    this.editor.run("set", null, { [field]: !selected.every((instance) => instance[field]) });
  }

  /** The shape as corners that can be dragged. */
  toPolygon() {
    const { editor } = this;
    const [only] = editor.selected;
    const loops = only.mask ? outlines(only.mask) : [boxPolygon(only.box).polygon];
    const [largest] = loops.sort((one, other) => other.length - one.length);
    editor.run("setMask", only.id, { polygon: only.mask ? simplify(largest, 0.006) : largest });
  }

  toBox() {
    this.editor.run("setMask", this.editor.selected[0].id, null);
  }

  // --- Sheets and messages -------------------------------------------------------------------------------------

  /** A panel over the editor; returns a function that closes it. */
  sheet(label, ...content) {
    const { root, t, keys } = this.editor;
    const before = document.activeElement;
    const title = html("div", { class: "ic-row" }, html("h2", {}, label), html("span", { class: "ic-spacer" }), iconButton("close", t("editor.close"), () => close()));
    const panel = html("div", { class: "ic-panel", role: "dialog", "aria-label": label, tabindex: -1 }, title, ...content);
    const sheet = html("div", { class: "ic-sheet" }, panel);
    const close = () => {
      sheet.remove();
      (root.contains(before) ? before : keys).focus({ preventScroll: true });
    };
    sheet.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      if (event.target === sheet) close();
    });
    sheet.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        close();
      } else if (event.key === "Tab") keepInside(panel, event);
    });
    sheet.addEventListener("wheel", (event) => event.stopPropagation());
    this.close();
    root.append(sheet);
    panel.focus({ preventScroll: true });
    return close;
  }

  openShortcuts() {
    const { t } = this.editor;
    const rows = t("editor.shortcut_sheet").split("\n").map((line) => line.split(" | "));
    this.sheet(t("editor.shortcuts"), html("dl", {}, ...rows.flatMap(([keys, what]) => [html("dt", {}, keys), html("dd", {}, what)])));
  }

  toast(text) {
    clearTimeout(this.toastTimer);
    this.toastElement?.remove();
    this.toastElement = html("div", { class: "ic-toast", "aria-hidden": "true" }, text);
    this.editor.root.append(this.toastElement);
    this.toastTimer = setTimeout(() => this.toastElement.remove(), TOAST);
  }
}

/** Runs of entries become menus; fields between them stand on their own, since a menu may not hold any. */
function inMenus(entries, label) {
  const parts = [];
  for (const entry of entries) {
    const belongs = entry.matches('[role^="menuitem"], [role="presentation"], hr');
    const last = parts.at(-1);
    if (!belongs) parts.push(entry);
    else if (last?.matches('[role="menu"]')) last.append(entry);
    else parts.push(html("div", { role: "menu", "aria-label": label }, entry));
  }
  // A line or title alone is no menu.
  return parts.map((part) => (part.matches('[role="menu"]') && !part.querySelector('[role^="menuitem"]') ? html("div", {}, ...part.childNodes) : part));
}

/** Tab stays inside a sheet. */
function keepInside(panel, event) {
  const stops = [...panel.querySelectorAll("button, input, textarea, select")].filter((element) => !element.disabled && element.offsetParent);
  const edge = event.shiftKey ? stops[0] : stops.at(-1);
  if (document.activeElement !== edge && document.activeElement !== panel) return;
  event.preventDefault();
  (event.shiftKey ? stops.at(-1) : stops[0])?.focus();
}
