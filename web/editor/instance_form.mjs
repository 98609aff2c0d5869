// The form of the selected instances: caption, negative, strength, part of the run, colour, place.
import { STRONGEST } from "../lib/document.mjs";
import { clampMove, toPixels, union } from "../lib/geometry.mjs";
import { MOST_TOKENS } from "../lib/problems.mjs";
import { bounds } from "../lib/regions.mjs";
import { instanceColor } from "./colors.mjs";
import { isComposing } from "./composing.mjs";
import { html, iconButton, set } from "./dom.mjs";

const SHOWN_FROM = 40; // tokens: below, their number is of no interest
let bursts = 0;

export class InstanceForm {
  constructor(editor) {
    this.editor = editor;
    const { t } = editor;
    this.caption = this.textField("caption", t("editor.caption"), t("editor.caption_placeholder"));
    this.negative = this.textField("negative", t("editor.negative"), t("editor.negative_placeholder"));
    this.addNegative = html(
      "button",
      { type: "button", class: "ic-button ic-muted", onclick: () => this.openNegative() },
      `+ ${t("editor.negative")}`,
    );
    this.tokens = html("span", { class: "ic-hint" });
    this.color = html("input", {
      type: "color",
      class: "ic-swatch",
      "aria-label": t("editor.color"),
      title: t("editor.color"),
    });
    this.color.addEventListener("input", () => this.change({ color: this.color.value }, "color"));
    this.color.addEventListener("change", () => editor.settle());
    const fit = iconButton("box", t("editor.to_box"), () => editor.menus.toBox(), { class: "ic-to-box" });
    this.toBox = fit;
    this.captions = html(
      "div",
      { class: "ic-row" },
      this.addNegative,
      html("span", { class: "ic-spacer" }),
      this.tokens,
      fit,
      this.color,
    );
    this.several = this.alignButtons();
    this.element = html(
      "div",
      { class: "ic-details" },
      this.several,
      this.caption,
      this.negative,
      this.captions,
      this.settings(),
      this.place(),
    );
    this.element.addEventListener(
      "change",
      (event) => event.target.matches("textarea, input") && editor.settle(),
    );
  }

  textField(field, label, placeholder) {
    const area = html("textarea", {
      class: "ic-field",
      rows: 1,
      "aria-label": label,
      placeholder,
      spellcheck: "true",
    });
    area.addEventListener("focus", () => (this.burst = `${field}:${++bursts}`));
    area.addEventListener("input", () => {
      this.editor.apply(this.editor.commands.set(this.editor.state, null, { [field]: area.value }), {
        key: this.burst,
      });
      this.grow(area);
    });
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !isComposing(event) && !event.ctrlKey) {
        event.preventDefault();
        this.editor.keys.focus({ preventScroll: true });
      }
    });
    return area;
  }

  /** As high as its text, up to six lines. */
  grow(area) {
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight + 2, 112)}px`;
  }

  openNegative() {
    this.showsNegative = this.editor.selected[0]?.id;
    this.render();
    this.negative.focus();
  }

  change(fields, name) {
    this.editor.apply(this.editor.commands.set(this.editor.state, null, fields), {
      key: `${name}:${this.ids}`,
    });
  }

  settings() {
    const { t, uid } = { t: this.editor.t, uid: this.editor.uid.bind(this.editor) };
    this.strength = html("input", {
      type: "range",
      min: 0,
      max: 2,
      step: 0.05,
      "aria-label": t("editor.strength"),
    });
    this.strengthNumber = html("input", {
      type: "number",
      class: "ic-field ic-number",
      min: 0,
      max: STRONGEST,
      step: 0.05,
      id: uid("strength"),
    });
    this.strength.addEventListener("input", () =>
      this.change({ strength: Number(this.strength.value) }, "strength"),
    );
    this.strengthNumber.addEventListener("change", () =>
      this.number(this.strengthNumber, 0, STRONGEST, (strength) => this.change({ strength }, "strength")),
    );
    this.strength.addEventListener("dblclick", () => this.change({ strength: 1 }, "strength"));
    const end = (name) => {
      const input = html("input", {
        type: "range",
        min: 0,
        max: 1,
        step: 0.01,
        "aria-label": t(name === "start" ? "editor.start" : "editor.end"),
      });
      input.addEventListener("input", () => this.setSpan(name, Number(input.value)));
      return input;
    };
    this.start = end("start");
    this.end = end("end");
    this.spanFill = html("div", { class: "ic-span-fill" });
    this.spanText = html("output", { class: "ic-hint", style: "min-width:58px;text-align:end" });
    return html(
      "div",
      { class: "ic-settings" },
      html("label", { for: uid("strength"), title: t("editor.strength_help") }, t("editor.strength")),
      this.strength,
      this.strengthNumber,
      html("span", { class: "ic-name", title: t("editor.steps_help") }, t("editor.steps")),
      html("div", { class: "ic-span" }, this.spanFill, this.start, this.end),
      this.spanText,
    );
  }

  setSpan(name, value) {
    const { commands, state } = this.editor;
    this.editor.apply(commands.setSpan(state, null, name, value), { key: `span:${this.ids}` });
  }

  number(input, low, high, use) {
    const value = Number(input.value);
    const fits = input.value !== "" && Number.isFinite(value) && value >= low && value <= high;
    set(input, { "aria-invalid": fits ? null : "true" });
    if (fits) use(value);
    else this.editor.say(this.editor.t("editor.number_range", { low, high }), true);
  }

  /** Left, top, width and height in pixels. */
  place() {
    const { t } = this.editor;
    const names = [t("editor.left"), t("editor.top"), t("editor.width"), t("editor.height")];
    this.numbers = names.map((name, side) => {
      const input = html("input", {
        type: "number",
        class: "ic-field ic-number",
        step: 1,
        "aria-label": name,
      });
      input.addEventListener("change", () => this.setPlace(side, input));
      return input;
    });
    const short = ["X", "Y", t("editor.width_short"), t("editor.height_short")];
    return html(
      "div",
      { class: "ic-place" },
      ...this.numbers.map((input, side) =>
        html("label", { class: "ic-muted", title: names[side] }, short[side], input),
      ),
    );
  }

  setPlace(side, input) {
    const { editor } = this;
    const around = editor.freeBox;
    if (!around) return this.editor.run("move", 0, 0); // says what is locked
    const { canvas } = editor.layout;
    const most = side % 2 === 0 ? canvas.width : canvas.height;
    const place = toPixels(around, canvas);
    // As far as there is room: what goes beyond would be put elsewhere than it says.
    const reach = (way) => Math.round(place[side] + clampMove(around, way, way)[side] * most);
    const [low, high] =
      side < 2 ? [reach(-1), reach(1)] : [1, Math.max(1, Math.round(most - place[side - 2]))];
    this.number(input, low, high, (value) => {
      if (side < 2)
        return editor.run(
          "move",
          ...(side === 0 ? [(value - place[0]) / canvas.width, 0] : [0, (value - place[1]) / canvas.height]),
        );
      const corner = [
        (place[0] + (side === 2 ? value : place[2])) / canvas.width,
        (place[1] + (side === 3 ? value : place[3])) / canvas.height,
      ];
      return editor.run("resize", "se", ...corner, { least: [1 / canvas.width, 1 / canvas.height] });
    });
  }

  alignButtons() {
    const { editor } = this;
    const { t } = editor;
    const button = (label, d, action) => {
      const made = iconButton("box", label, action);
      made.querySelector("path").setAttribute("d", d);
      return made;
    };
    const align = (edge) => () => editor.run("align", edge);
    return html(
      "div",
      { class: "ic-row", role: "group", "aria-label": t("editor.align"), style: "flex-wrap:wrap;gap:0" },
      button(t("editor.align_left"), "M2.5 2v12M5 4h8v3H5zM5 9.5h5v3H5z", align("left")),
      button(t("editor.align_centre"), "M8 2v12M3.5 4h9v3h-9zM5 9.5h6v3H5z", align("centre")),
      button(t("editor.align_right"), "M13.5 2v12M3 4h8v3H3zM6 9.5h5v3H6z", align("right")),
      button(t("editor.align_top"), "M2 2.5h12M4 5v8h3V5zM9.5 5v5h3V5z", align("top")),
      button(t("editor.align_middle"), "M2 8h12M4 3.5v9h3v-9zM9.5 5v6h3V5z", align("middle")),
      button(t("editor.align_bottom"), "M2 13.5h12M4 3v8h3V3zM9.5 6v5h3V6z", align("bottom")),
      button(t("editor.distribute_across"), "M2.5 2v12M13.5 2v12M6 4.5h4v7H6z", () =>
        editor.run("distribute", "x"),
      ),
      button(t("editor.distribute_down"), "M2 2.5h12M2 13.5h12M4.5 6h7v4h-7z", () =>
        editor.run("distribute", "y"),
      ),
    );
  }

  focus(field) {
    if (field === "negative") return this.openNegative();
    const target =
      {
        strength: this.strengthNumber,
        start: this.start,
        end: this.end,
        box: this.numbers[0],
        mask: this.numbers[0],
        color: this.color,
      }[field] ?? this.caption;
    target.focus({ preventScroll: true });
    target.scrollIntoView?.({ block: "nearest" });
    return undefined;
  }

  render() {
    const { selected, layout } = this.editor;
    if (selected.length === 0) return;
    const [first] = selected;
    const one = selected.length === 1;
    this.ids = selected.map((instance) => instance.id).join(" ");
    this.several.hidden = one;
    for (const [element, shown] of [
      [this.caption, one],
      [this.addNegative, one && !first.negative && this.showsNegative !== first.id],
      [this.negative, one && (first.negative || this.showsNegative === first.id)],
      [this.toBox, one && first.mask !== null],
    ])
      element.hidden = !shown;
    if (one) {
      this.fill(this.caption, first.caption);
      this.fill(this.negative, first.negative);
      this.renderTokens(first);
    } else this.tokens.textContent = "";
    const shared = (field) =>
      selected.every((instance) => instance[field] === first[field]) ? first[field] : null;
    const strength = shared("strength");
    this.fill(this.strength, String(strength ?? 1));
    this.fill(this.strengthNumber, strength === null ? "" : String(Number(strength.toFixed(3))));
    this.fill(this.start, String(first.start));
    this.fill(this.end, String(first.end));
    this.spanFill.style.cssText = `left:${first.start * 100}%;right:${100 - first.end * 100}%`;
    this.spanText.textContent = `${Math.round(first.start * 100)}–${Math.round(first.end * 100)} %`;
    this.fill(this.color, instanceColor(first, layout.instances.indexOf(first)));
    const place = toPixels(union(selected.map(bounds)), layout.canvas).map(Math.round);
    this.numbers.forEach((input, side) => this.fill(input, String(place[side])));
  }

  renderTokens(instance) {
    const { count, exact } = this.editor.tokens.of(instance.caption);
    const code = exact ? "editor.tokens" : "editor.tokens_about";
    const counts = count > SHOWN_FROM && !this.editor.host.regionsAlone;
    this.tokens.textContent = counts ? this.editor.t(code, { count, limit: MOST_TOKENS }) : "";
    set(this.tokens, { "data-over": count > MOST_TOKENS });
  }

  /** Set a value without disturbing who types in it. */
  fill(input, value) {
    if (input.value === value) return;
    const keepsText = document.activeElement === input && input.type === "number";
    if (!keepsText) set(input, { "aria-invalid": null }).value = value;
    if (input.tagName === "TEXTAREA") requestAnimationFrame(() => this.grow(input));
  }
}
