// Menus of the editor, and the sheet of its shortcuts.
import { GUIDES } from "../lib/guides.mjs";
import { ASPECTS, TEMPLATES } from "../lib/templates.mjs";
import { LARGEST_CANVAS, SMALLEST_CANVAS } from "../lib/document.mjs";
import { boxPolygon, outlineArea, outlines, simplify } from "../lib/mask.mjs";
import { html } from "./dom.mjs";
import { Popups } from "./popups.mjs";

const GRIDS = [0, 8, 16, 32, 64];

export class Menus extends Popups {
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
    const entry = (label, action, options = {}) =>
      this.item(label, action, { ...options, disabled: options.disabled ?? none });
    const line = () => html("hr");
    return [
      entry(t("editor.edit_caption"), () => editor.focusCaption(), { shortcut: "Enter", disabled: !one }),
      entry(t("editor.rename"), () => editor.list.rename(selected[0].id), { shortcut: "F2", disabled: !one }),
      entry(t("editor.duplicate"), () => editor.duplicate(), { drawing: "copy", shortcut: "Ctrl+D" }),
      entry(t("editor.delete"), () => editor.remove(), { drawing: "trash", shortcut: "Del" }),
      line(),
      entry(t("editor.to_front"), () => editor.run("reorder", "front"), {
        drawing: "front",
        shortcut: "Shift+]",
      }),
      entry(t("editor.forward"), () => editor.run("reorder", "forward"), { shortcut: "]" }),
      entry(t("editor.backward"), () => editor.run("reorder", "backward"), { shortcut: "[" }),
      entry(t("editor.to_back"), () => editor.run("reorder", "back"), {
        drawing: "back",
        shortcut: "Shift+[",
      }),
      line(),
      entry(t("editor.hidden"), () => this.toggle("enabled"), {
        checked: !none && selected.every((one_) => !one_.enabled),
        shortcut: "Ctrl+Shift+H",
      }),
      entry(t("editor.locked_state"), () => this.toggle("locked"), {
        checked: !none && selected.every((one_) => one_.locked),
        shortcut: "Ctrl+L",
      }),
      entry(t("editor.to_polygon"), () => this.toPolygon(), {
        drawing: "polygon",
        disabled: !one || Boolean(selected[0].mask?.polygon),
      }),
      entry(t("editor.to_box"), () => this.toBox(), { drawing: "box", disabled: !one || !selected[0].mask }),
      entry(t("editor.draw_again"), () => this.drawAgain(), { drawing: "redo" }),
      line(),
      this.item(t("editor.select_all"), () => editor.run("selectAll"), {
        shortcut: "Ctrl+A",
        disabled: editor.layout.instances.length === 0,
      }),
      this.item(t("editor.paste_layout"), () => editor.exchange.openPaste(), { drawing: "paste" }),
    ];
  }

  /** The host draws the selected instances of the last picture again, and tells how that goes. */
  async drawAgain() {
    const { editor } = this;
    try {
      const { code, params } = await editor.host.drawAgain(editor.selected, editor.layout.instances);
      editor.say(editor.t(code, params), true);
    } catch (error) {
      editor.sayError(error);
    }
  }

  openSizes(button) {
    const { editor } = this;
    const { t, layout, settings } = editor;
    const { width, height } = layout.canvas;
    const label = t("editor.size");
    if (editor.host.size.driven) return this.show([this.title(t("editor.size_driven"))], { button, label });
    const preset = (aspect) =>
      this.item(
        `${aspect.ratio}   ${aspect.width} × ${aspect.height}`,
        () => editor.setSize(aspect.width, aspect.height, settings.keepPixels),
        { checked: aspect.width === width && aspect.height === height },
      );
    const side = (value, name, use) => {
      const input = html("input", {
        type: "number",
        class: "ic-field ic-number",
        value: String(value),
        min: SMALLEST_CANVAS,
        max: LARGEST_CANVAS,
        step: 8,
        "aria-label": name,
      });
      input.addEventListener("change", () => use(Math.round(Number(input.value) / 8) * 8));
      return input;
    };
    const swap = (canvas) => editor.setSize(canvas.height, canvas.width, settings.keepPixels);
    const own = html(
      "div",
      { class: "ic-row", style: "padding:2px 8px" },
      side(width, t("editor.width"), (value) =>
        editor.setSize(value, editor.layout.canvas.height, settings.keepPixels),
      ),
      "×",
      side(height, t("editor.height"), (value) =>
        editor.setSize(editor.layout.canvas.width, value, settings.keepPixels),
      ),
    );
    return this.show(
      [
        this.title(t("editor.size_presets")),
        ...ASPECTS.map(preset),
        html("hr"),
        own,
        this.item(t("editor.swap_sides"), () => swap(editor.layout.canvas), { drawing: "redo" }),
        html("hr"),
        this.item(t("editor.keep_pixels"), () => editor.setSetting("keepPixels", !settings.keepPixels), {
          checked: settings.keepPixels,
        }),
      ],
      { button, label },
    );
  }

  openSnapping(button) {
    const { editor } = this;
    const { t, settings } = editor;
    const flag = (name, label, shortcut) =>
      this.item(label, () => editor.setSetting(name, !settings[name]), { checked: settings[name], shortcut });
    this.show(
      [
        flag("snap", t("editor.snap"), "S"),
        html("hr"),
        flag("thirds", t("editor.snap_guides")),
        flag("regions", t("editor.snap_regions")),
        html("hr"),
        this.title(t("editor.grid")),
        ...GRIDS.map((grid) =>
          this.item(
            grid ? t("editor.grid_pixels", { count: grid }) : t("editor.no_grid"),
            () => editor.setSetting("grid", grid),
            { checked: settings.grid === grid },
          ),
        ),
        html("hr"),
        this.title(t("editor.guides")),
        ...Object.keys(GUIDES).map((name) =>
          this.item(t(`editor.guides_${name}`), () => editor.setSetting("guides", name), {
            checked: settings.guides === name,
          }),
        ),
      ],
      { button, label: t("editor.snapping") },
    );
  }

  openPictures(button) {
    const { editor } = this;
    const { t, settings, pictures } = editor;
    const choice = (name, label) =>
      this.item(label, () => pictures.choose(name), { checked: settings.picture === name });
    const share = { min: 0, max: 1, step: 0.05 };
    const slider = (label, name) => this.slider(label, name, share, () => pictures.render());
    this.show(
      [
        this.title(t("editor.picture_under")),
        choice("auto", t("editor.picture_auto")),
        choice("result", t("editor.picture_result")),
        choice("reference", t("editor.picture_reference")),
        choice("none", t("editor.picture_none")),
        ...this.results(),
        html("hr"),
        slider(t("editor.picture_opacity"), "opacity"),
        ...(pictures.heats.size ? [slider(t("editor.heat_opacity"), "heat")] : []),
        html("hr"),
        this.item(
          t("editor.open_picture"),
          () => editor.exchange.importExport().then((part) => part.choosePicture()),
          { drawing: "picture" },
        ),
        ...(editor.host.keepsPicture
          ? [this.item(t("editor.forget_picture"), () => editor.host.forgetPicture(), { drawing: "trash" })]
          : []),
        html("hr"),
        this.slider(t("editor.brush_size"), "brush", { min: 4, max: 400, step: 2 }),
        html("hr"),
        ...this.labelEntries(),
      ],
      { button, label: t("editor.picture") },
    );
  }

  /** What is written on the regions, and how large. */
  labelEntries() {
    const { editor } = this;
    const { t, settings } = editor;
    return [
      this.title(t("editor.labels")),
      ...["captions", "numbers", "none"].map((name) =>
        this.item(t(`editor.labels_${name}`), () => editor.setSetting("labels", name), {
          checked: settings.labels === name,
        }),
      ),
      this.slider(t("editor.label_size"), "labelSize", { min: 9, max: 24, step: 1 }),
    ];
  }

  /** A row whose slider sets a setting within bounds, and says when it did. */
  slider(label, name, bounds, changed = () => {}) {
    const { editor } = this;
    const value = String(editor.settings[name]);
    const input = html("input", { type: "range", ...bounds, value, "aria-label": label });
    input.addEventListener("input", () => {
      editor.setSetting(name, Number(input.value));
      changed();
    });
    return html("label", { class: "ic-slider-row" }, label, input);
  }

  /** Which of several pictures of runs to show: the newest, or one of a node's batch, the node that ran last first. */
  results() {
    const { editor } = this;
    const { t, host, pictures } = editor;
    const chosen = host.chosenResult;
    const all = (host.results ?? [])
      .toReversed()
      .flatMap(({ id, node, files }) =>
        files.map((_, index) => ({ node: id, index, title: node.title ?? id, several: files.length > 1 })),
      );
    if (all.length < 2) return [];
    const item = (label, choice, checked) =>
      this.item(
        label,
        () => {
          host.chooseResult(choice);
          pictures.choose("result");
        },
        { checked },
      );
    const named = ({ node, index, title, several }) =>
      item(
        several
          ? t("editor.picture_of_batch", { title, node, number: index + 1 })
          : t("editor.picture_of", { title, node }),
        { node, index },
        chosen?.node === node && chosen.index === index,
      );
    return [html("hr"), item(t("editor.picture_newest"), null, chosen === null), ...all.map(named)];
  }

  openTemplates(button) {
    const { editor } = this;
    const { t } = editor;
    const number = (name) =>
      html("input", {
        type: "number",
        class: "ic-field ic-number",
        style: "width:44px",
        min: 1,
        max: 10,
        value: "2",
        "aria-label": name,
      });
    const [rows, columns] = [number(t("editor.rows")), number(t("editor.columns"))];
    const use = (name, options) => {
      this.close();
      editor.run("applyTemplate", name, options);
      editor.keys.focus({ preventScroll: true });
    };
    const grid = html(
      "div",
      { class: "ic-row", style: "padding:2px 8px" },
      t("template.grid"),
      rows,
      "×",
      columns,
      html(
        "button",
        {
          type: "button",
          class: "ic-button ic-outlined",
          onclick: () => use("grid", { rows: Number(rows.value), columns: Number(columns.value) }),
        },
        t("editor.make"),
      ),
    );
    this.show(
      [
        this.item(t("editor.own_layouts"), () => editor.exchange.openKept(), { drawing: "keep" }),
        html("hr"),
        this.title(t("editor.templates_title")),
        ...TEMPLATES.filter((template) => template.name !== "grid").map((template) =>
          this.item(t(template.key), () => use(template.name), { drawing: "templates" }),
        ),
        grid,
        html("hr"),
        this.item(t("editor.try_example"), () => editor.exchange.useExample()),
      ],
      { button, label: t("editor.templates") },
    );
  }

  async openExchange(button) {
    const { editor } = this;
    const { t } = editor;
    const { activeElement } = document;
    const part = await editor.exchange.importExport();
    // While it was loaded somebody may have opened something else, whose keys it would take.
    if (document.activeElement !== activeElement) return;
    const empty = editor.layout.instances.length === 0;
    this.show(
      [
        this.item(t("editor.paste_layout"), () => part.openPaste(), { drawing: "paste" }),
        this.item(t("editor.open_file"), () => part.chooseFile(), { drawing: "exchange" }),
        html("hr"),
        this.title(t("editor.copy_as")),
        ...part.formats.map((format) =>
          this.item(t(format.key), () => part.copyAs(format.name), { disabled: empty }),
        ),
        html("hr"),
        this.item(t("editor.save_picture"), () => part.savePicture(), {
          drawing: "download",
          disabled: empty,
        }),
      ],
      { button, label: t("editor.exchange") },
    );
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
    const [largest, ...others] = loops.toSorted((one, other) => outlineArea(other) - outlineArea(one));
    const polygon = only.mask ? simplify(largest, 0.006) : largest;
    const { refused } = editor.run("setMask", only.id, { polygon });
    if (others.length && !refused)
      editor.say(editor.t("editor.outline_of_largest", { count: others.length }), true);
  }

  toBox() {
    this.editor.run("setMask", this.editor.selected[0].id, null);
  }

  openShortcuts() {
    const { t } = this.editor;
    const rows = t("editor.shortcut_sheet")
      .split("\n")
      .map((line) => line.split(" | "));
    this.sheet(
      t("editor.shortcuts"),
      html("dl", {}, ...rows.flatMap(([keys, what]) => [html("dt", {}, keys), html("dd", {}, what)])),
      ...(this.editor.host.examine ? [this.installationButton()] : []),
    );
  }

  /** Opens what of this installation helps or hinders the pack. */
  installationButton() {
    const { t, exchange } = this.editor;
    const onclick = () => exchange.later().then((part) => part.openInstallation(this.editor));
    return html(
      "button",
      { type: "button", class: "ic-button ic-outlined", onclick },
      t("editor.check_installation"),
    );
  }
}
