// Import and export, loaded on demand: the sheet to paste into, files, copies in other formats, the picture.
import { chatRequest } from "../lib/chat_request.mjs";
import { parse, pathText, serialise } from "../lib/document.mjs";
import { excerpt, LayoutError } from "../lib/errors.mjs";
import { ASKED, FORMATS, ORDERS, READ_ONLY, readOwn, UNITS, WRITE_ONLY } from "../lib/formats.mjs";
import { tError } from "../lib/i18n.mjs";
import { requireShort } from "../lib/json.mjs";
import { layoutsFromPng } from "../lib/png.mjs";
import { findProblems } from "../lib/problems.mjs";
import { chooseLayout } from "./chooser.mjs";
import { html, icon, set, svg } from "./dom.mjs";
import { KeptLayouts } from "./kept_layouts.mjs";
import { layoutPicture } from "./layout_picture.mjs";
import { drawMini } from "./mini.mjs";

const LARGEST_FILE = 64_000_000;
const PAUSE = 150; // milliseconds without a key before the host is asked

const READABLE = [...FORMATS, ...READ_ONLY];
const WRITABLE = [...FORMATS, ...WRITE_ONLY];
const OFFERED = ["order", "units"]; // of formats that take them, always; others only where they are asked for

export class ImportExport {
  constructor(editor) {
    this.editor = editor;
    this.formats = WRITABLE;
  }

  /** The sheet to paste into: what is recognised is drawn small before it is taken over. */
  openPaste(text = "") {
    const { editor } = this;
    const { t } = editor;
    const area = html("textarea", {
      class: "ic-field",
      rows: 7,
      placeholder: t("editor.paste_placeholder"),
      "aria-label": t("editor.paste_layout"),
      spellcheck: "false",
      style: "font-family:ui-monospace,monospace;font-size:11px",
    });
    const format = html(
      "select",
      { class: "ic-field", "aria-label": t("editor.format") },
      html("option", { value: "" }, t("editor.format_auto")),
      ...READABLE.map((one) => html("option", { value: one.name }, t(one.key))),
    );
    const options = {
      order: choice(t("editor.order"), ORDERS, t("editor.order_auto"), (value) => value),
      units: choice(t("editor.units"), UNITS, t("editor.units_auto"), (value) => t(`unit.${value}`)),
      image: field(t("editor.which_picture")),
      frame: field(t("editor.which_frame")),
    };
    const message = html("p", { style: "margin:0;flex:1;min-width:0", "aria-live": "polite" });
    const place = html("pre", { hidden: true });
    const warnings = html("ul", { class: "ic-warnings", hidden: true });
    const mini = svg("svg", { class: "ic-mini", "aria-hidden": "true" });
    const button = (label, more, action) =>
      html("button", { type: "button", class: `ic-button ${more}`, disabled: true, onclick: action }, label);
    const replace = button(t("editor.replace"), "ic-primary", () => take(true));
    const append = button(t("editor.append"), "ic-outlined", () => take(false));
    let found = null;
    const take = (all) => {
      close();
      editor.broken.hide();
      if (all) editor.replace(found);
      else editor.run("append", found);
      editor.write();
    };
    const show = (seen) => {
      found = seen.layout;
      message.textContent = seen.message;
      message.style.color = seen.error ? "var(--ic-error)" : "";
      place.hidden = !seen.error || !seen.excerpt;
      place.textContent = seen.excerpt ?? "";
      warnings.hidden = !seen.warnings?.length;
      warnings.replaceChildren(...(seen.warnings ?? []).map((text) => html("li", {}, text)));
      for (const [name, input] of Object.entries(options))
        input.hidden = !seen.offers?.includes(name) && input.value === "";
      drawMini(mini, found);
      replace.disabled = append.disabled = found === null;
      set(area, { "aria-invalid": Number.isInteger(seen.error?.offset) ? "true" : null });
    };
    let question = 0;
    const look = async () => {
      const own = (question += 1);
      const answered = this.lookHere(area.value, format.value);
      if (answered) return show(answered);
      replace.disabled = append.disabled = true;
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      // What was asked before the last change is of no interest any more.
      const told = Object.fromEntries(Object.entries(options).map(([name, input]) => [name, input.value]));
      const seen = own === question && (await this.ask(area.value, { format: format.value, ...told }));
      if (seen && own === question) show(seen);
      return undefined;
    };
    for (const input of [area, format, ...Object.values(options)]) input.addEventListener("input", look);
    const close = editor.menus.sheet(
      t("editor.paste_layout"),
      area,
      html("div", { class: "ic-row", style: "flex-wrap:wrap" }, format, ...Object.values(options)),
      html("div", { class: "ic-row", style: "align-items:flex-start" }, mini, message),
      warnings,
      place,
      html("div", { class: "ic-row", style: "flex-wrap:wrap" }, replace, append, this.requestButton()),
    );
    area.value = text;
    look();
    area.focus();
  }

  openKept() {
    return new KeptLayouts(this.editor).open();
  }

  /** For those who have no layout yet: any chat model makes one when asked like this. */
  requestButton() {
    const { exchange, layout, t } = this.editor;
    const copy = () => exchange.toClipboard(chatRequest(layout, t), Promise.resolve(t("editor.chat_copied")));
    return html(
      "button",
      { type: "button", class: "ic-button ic-outlined", title: t("editor.chat_help"), onclick: copy },
      icon("copy"),
      t("editor.chat_copy"),
    );
  }

  /** What a text holds that can be read here, or why it cannot be read; null for one that the host must read. */
  lookHere(text, format) {
    if (text.trim() === "") return { layout: null, message: this.editor.t("editor.paste_help") };
    try {
      const layout = readOwn(text, format);
      return layout && this.found(layout, "layout");
    } catch (error) {
      return this.refused(text, error);
    }
  }

  /** What a text of another program holds, or why it cannot be read. */
  async ask(text, told) {
    const { host, layout } = this.editor;
    const { width, height } = layout.canvas;
    try {
      requireShort(text);
      const answer = await answerTo(host.readLayout(text, { ...told, canvas: { width, height } }), text);
      return this.found(parse(answer.document), answer.format, answer.reading);
    } catch (error) {
      return this.refused(text, error);
    }
  }

  found(layout, name, reading) {
    const { t } = this.editor;
    const { key, options } = READABLE.find((one) => one.name === name);
    const { width, height } = layout.canvas;
    const message = t("editor.paste_found", {
      count: layout.instances.length,
      format: t(key),
      width: String(width),
      height: String(height),
    });
    const seen = { layout, message, warnings: [], offers: options.filter((one) => OFFERED.includes(one)) };
    if (!reading) return seen;
    const { units, order } = reading;
    const how = [UNITS.includes(units) ? t(`unit.${units}`) : units, order].filter(Boolean).join(", ");
    if (how) seen.message = t("editor.paste_read", { found: message, reading: how });
    for (const { code, params, path } of reading.warnings) {
      seen.warnings.push(
        t(`error.${code}`, { ...worded(t, params), where: path.length ? pathText(path) : params.where }),
      );
      seen.offers.push(...(ASKED[code] ?? []).filter((one) => options.includes(one)));
    }
    return seen;
  }

  refused(text, error) {
    // Without a place there is nothing to show but the text itself, which stands above.
    const place = Number.isInteger(error.offset) ? excerpt(text, error) : "";
    const offers = ASKED[error.code?.replace("error.", "")] ?? [];
    if (error.params) error.params = worded(this.editor.t, error.params);
    return { layout: null, error, message: tError(this.editor.t, error), excerpt: place, offers };
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
    if (file.size > LARGEST_FILE)
      return editor.say(
        t("editor.file_too_large", { size: Math.round(file.size / 1e6), limit: LARGEST_FILE / 1e6 }),
        true,
      );
    try {
      if (!file.type.startsWith("image/")) return this.openPaste(await file.text());
      const layouts =
        file.type === "image/png" ? await layoutsFromPng(new Uint8Array(await file.arrayBuffer())) : [];
      if (layouts.length > 1)
        return chooseLayout(
          layouts.map(({ text, title }) => ({
            text,
            title,
            theme: editor.root.dataset.theme,
            open: () => this.openPaste(text),
          })),
          t,
        );
      return layouts.length ? this.openPaste(layouts[0].text) : editor.pictures.useFile(file);
    } catch (error) {
      return editor.sayError(error);
    }
  }

  copyAs(format) {
    const { exchange, host, layout } = this.editor;
    const count = findProblems(layout).filter(({ severity }) => severity === "error").length;
    if (count) return this.editor.sayError(new LayoutError("error.has_errors", { count }));
    const text = serialise(layout);
    if (format === "layout") return exchange.toClipboard(text);
    const answered = answerTo(host.writeLayout(text, format), text);
    const note = answered.then(({ lost }) => this.without(format, lost));
    note.catch(() => {}); // said by whoever awaits the text
    return exchange.toClipboard(
      answered.then((answer) => answer.text),
      note,
    );
  }

  /** What a format does not keep, in one line; null where it keeps all. */
  without(format, lost) {
    const { t } = this.editor;
    if (!lost?.length) return null;
    const names = lost.map((name) => t(`lost.${name}`)).join(", ");
    return t("editor.copied_without", { format: t(WRITABLE.find((one) => one.name === format).key), names });
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

/** The host's answer about a text; LayoutError where there is none and for what it refuses. */
async function answerTo(asked, text) {
  const answer = await asked.catch(() => null);
  if (!answer) throw new LayoutError("error.no_server");
  if (answer.refused) throw new LayoutError("error.refused", { reason: answer.refused });
  if (!answer.error) return answer;
  const { code, params, path, position } = answer.error;
  const where = path.length ? pathText(path) : params.where;
  throw new LayoutError(`error.${code}`, { ...params, where }, { path, text, offset: position ?? undefined });
}

/** Parameters with units in the person's words, and sides of a canvas as they are written. */
function worded(t, params) {
  const words = { ...params };
  if (params.choices)
    words.choices = params.choices
      .split(", ")
      .map((unit) => t(`unit.${unit}`))
      .join(" / ");
  for (const side of ["width", "height"]) if (params[side]) words[side] = String(params[side]);
  return words;
}

function choice(label, values, automatic, say) {
  return html(
    "select",
    { class: "ic-field", "aria-label": label, hidden: true },
    html("option", { value: "" }, automatic),
    ...values.map((value) => html("option", { value }, say(value))),
  );
}

function field(label) {
  return html("input", {
    type: "text",
    class: "ic-field",
    "aria-label": label,
    placeholder: label,
    hidden: true,
  });
}

function choose(accept, use) {
  const input = html("input", { type: "file", accept });
  input.addEventListener("change", () => input.files[0] && use(input.files[0]));
  input.click();
}
