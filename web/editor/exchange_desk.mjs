// The part of the exchange that is loaded on demand: every format, the sheet to paste into, files, the picture.
import { createState } from "../lib/commands.mjs";
import { detect, FORMATS, read, write } from "../lib/formats/index.mjs";
import { tError } from "../lib/i18n.mjs";
import { layoutsFromPng } from "../lib/png.mjs";
import { bounds } from "../lib/regions.mjs";
import { instanceColor, textOn } from "./colors.mjs";
import { html, set, svg } from "./dom.mjs";
import { excerpt } from "./exchange.mjs";
import { layoutPicture } from "./layout_picture.mjs";

const LARGEST_FILE = 64_000_000;

export class ExchangeDesk {
  constructor(editor) {
    this.editor = editor;
    this.formats = FORMATS;
  }

  /** The sheet to paste into: what is recognised is drawn small before it is taken over. */
  openPaste(text = "") {
    const { editor } = this;
    const { t } = editor;
    const area = html("textarea", { class: "ic-field", rows: 7, placeholder: t("editor.paste_placeholder"), "aria-label": t("editor.paste_layout"), spellcheck: "false", style: "font-family:ui-monospace,monospace;font-size:11px" });
    const format = html("select", { class: "ic-field", "aria-label": t("editor.format") }, html("option", { value: "" }, t("editor.format_auto")), ...FORMATS.map((one) => html("option", { value: one.name }, t(one.key))));
    const order = choice(t("editor.order"), ["", "xyxy", "xywh", "yxyx"], t("editor.order_auto"));
    const message = html("p", { style: "margin:0;flex:1;min-width:0", "aria-live": "polite" });
    const place = html("pre", { hidden: true });
    const mini = svg("svg", { class: "ic-mini", "aria-hidden": "true" });
    const button = (label, more, action) => html("button", { type: "button", class: `ic-button ${more}`, disabled: true, onclick: action }, label);
    const replace = button(t("editor.replace"), "ic-primary", () => take(true));
    const append = button(t("editor.append"), "ic-outlined", () => take(false));
    let found = null;
    const take = (all) => {
      close();
      if (all) this.replace(found);
      else editor.run("append", found);
    };
    const look = () => {
      const seen = this.look(area.value, format.value, order.value);
      found = seen.layout;
      message.textContent = seen.message;
      message.style.color = seen.error ? "var(--ic-error)" : "";
      place.hidden = !seen.error || !seen.excerpt;
      place.textContent = seen.excerpt ?? "";
      order.hidden = !seen.takesOrder;
      drawMini(mini, found);
      replace.disabled = append.disabled = found === null;
      if (seen.error?.offset !== undefined && seen.error.offset !== null) set(area, { "aria-invalid": "true" });
      else set(area, { "aria-invalid": null });
    };
    for (const input of [area, format, order]) input.addEventListener("input", look);
    const close = editor.menus.sheet(t("editor.paste_layout"), area, html("div", { class: "ic-row" }, format, order),
      html("div", { class: "ic-row", style: "align-items:flex-start" }, mini, message), place, html("div", { class: "ic-row" }, replace, append));
    area.value = text;
    look();
    area.focus();
  }

  /** What a text holds, or why it cannot be read. */
  look(text, format, order) {
    const { t, layout } = this.editor;
    if (text.trim() === "") return { layout: null, message: t("editor.paste_help") };
    try {
      const name = format || detect(text);
      const known = FORMATS.find((one) => one.name === name);
      const takesOrder = Boolean(known?.options?.includes?.("order"));
      // Boxes of the IFAdapter dataset are in pixels of its own sizes, never of ours.
      const canvas = name === "ifadapter" ? undefined : layout.canvas;
      const found = read(text, name, { canvas, ...(takesOrder && order ? { order } : {}) });
      return { layout: found, takesOrder, message: t("editor.paste_found", { count: found.instances.length, format: t(known.key), width: String(found.canvas.width), height: String(found.canvas.height) }) };
    } catch (error) {
      return { layout: null, error, message: tError(t, error), excerpt: excerpt(text, error), takesOrder: true };
    }
  }

  /** Take over a whole layout with its size, unless a link gives the size. */
  replace(layout) {
    const { editor } = this;
    editor.broken.hide();
    const { driven, width, height } = editor.host.size;
    const canvas = driven ? { ...layout.canvas, width, height } : layout.canvas;
    editor.apply({ state: createState({ ...layout, canvas }) });
    editor.linkSize();
    editor.fit();
    editor.say(editor.t("editor.replaced", { count: layout.instances.length }));
  }

  chooseFile() {
    choose(".json,.txt,.png,application/json,text/plain,image/png", (file) => this.openFile(file));
  }

  choosePicture() {
    choose("image/*", (file) => this.editor.pictures.useFile(file));
  }

  /** A file: a PNG with our layout in its workflow, another picture as background, text as a layout. */
  async openFile(file) {
    const { editor } = this;
    const { t } = editor;
    if (file.size > LARGEST_FILE) return editor.say(t("editor.file_too_large", { size: Math.round(file.size / 1e6), limit: LARGEST_FILE / 1e6 }), true);
    try {
      if (!file.type.startsWith("image/")) return this.openPaste(await file.text());
      const layouts = file.type === "image/png" ? await layoutsFromPng(new Uint8Array(await file.arrayBuffer())) : [];
      return layouts.length ? this.openPaste(layouts[0].text) : editor.pictures.useFile(file);
    } catch (error) {
      return editor.sayError(error);
    }
  }

  copyAs(format) {
    try {
      this.editor.exchange.toClipboard(write(this.editor.layout, format));
    } catch (error) {
      this.editor.sayError(error);
    }
  }

  /** The layout drawn over the picture under it, as a PNG file. */
  async savePicture() {
    const { editor } = this;
    const canvas = layoutPicture(editor.layout, editor.pictures.shown, editor.t);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const link = html("a", { href: URL.createObjectURL(blob), download: "layout.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}

function choice(label, values, automatic) {
  return html("select", { class: "ic-field", "aria-label": label, hidden: true }, ...values.map((value) => html("option", { value }, value || automatic)));
}

function choose(accept, use) {
  const input = html("input", { type: "file", accept });
  input.addEventListener("change", () => input.files[0] && use(input.files[0]));
  input.click();
}

/** A layout drawn small. */
function drawMini(element, layout) {
  element.replaceChildren();
  element.style.display = layout ? "" : "none";
  if (!layout) return;
  const { width, height } = layout.canvas;
  set(element, { viewBox: `0 0 ${width} ${height}`, style: `aspect-ratio:${width}/${height};max-height:120px` });
  layout.instances.forEach((instance, index) => {
    const [x0, y0, x1, y1] = bounds(instance);
    const color = instanceColor(instance, index);
    const size = Math.min(width, height) / 9;
    element.append(
      svg("rect", { x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height, fill: color, "fill-opacity": 0.25, stroke: color, "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" }),
      svg("rect", { x: x0 * width, y: y0 * height, width: size, height: size, fill: color }),
      svg("text", { x: x0 * width + size / 2, y: y0 * height + size * 0.78, "text-anchor": "middle", fill: textOn(color), style: `font:600 ${size * 0.8}px system-ui` }, instance.id));
  });
}
