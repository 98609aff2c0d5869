// The empty stage: one picture of how it is done, and ways to begin without drawing.
import { html, svg } from "./dom.mjs";

export class EmptyState {
  constructor(editor) {
    const { t } = editor;
    this.editor = editor;
    const button = (label, action, more = "ic-outlined") =>
      html("button", { type: "button", class: `ic-button ${more}`, onclick: action }, label);
    this.element = html(
      "div",
      { class: "ic-empty" },
      lesson(t),
      html("p", { class: "ic-title" }, t("editor.empty_title")),
      html("p", { class: "ic-muted" }, t("editor.empty_text")),
      html(
        "div",
        { class: "ic-row" },
        button(t("editor.try_example"), () => editor.exchange.useExample()),
        button(t("editor.templates"), (event) => editor.menus.openTemplates(event.currentTarget)),
        button(t("editor.paste_layout"), () => editor.exchange.openPaste()),
      ),
    );
    editor.stage.element.append(this.element);
  }

  render() {
    this.element.hidden =
      this.editor.layout.instances.length > 0 ||
      this.editor.dragging ||
      Boolean(this.editor.pointer.drawing.points) ||
      this.editor.broken.text !== null;
  }
}

/** Drag a box, write what it shows, get the picture. */
function lesson(t) {
  const box = (x, y, w, h, color, number) => [
    svg("rect", {
      x,
      y,
      width: w,
      height: h,
      rx: 2,
      fill: color,
      "fill-opacity": 0.22,
      stroke: color,
      "stroke-width": 1.5,
    }),
    svg("rect", { x: x + 2, y: y + 2, width: 12, height: 11, rx: 2, fill: color }),
    svg("text", { x: x + 8, y: y + 11, "text-anchor": "middle", style: "fill:#000;font-size:9px" }, number),
  ];
  return svg(
    "svg",
    { class: "ic-lesson", viewBox: "0 0 240 116", "aria-hidden": "true" },
    svg("rect", { class: "ic-ghost", x: 4, y: 4, width: 232, height: 108, rx: 6 }),
    ...box(22, 30, 84, 66, "#e69f00", "1"),
    svg("text", { x: 64, y: 70, "text-anchor": "middle" }, t("editor.lesson_one")),
    ...box(134, 18, 84, 62, "#56b4e9", "2"),
    svg("text", { x: 176, y: 56, "text-anchor": "middle" }, t("editor.lesson_two")),
    svg("path", {
      d: "M214 77l10 20-5.5-1-3 6.5-4-2 3-6.5-4.5-3.5z",
      fill: "#fff",
      stroke: "#000",
      "stroke-width": 1,
    }),
  );
}
