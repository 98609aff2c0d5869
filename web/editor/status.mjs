// The line at the foot: what is worth looking at, each finding with a way out.
import { FIX_LABELS } from "../lib/fixes.mjs";
import { html, icon, set } from "./dom.mjs";

export class Status {
  constructor(editor) {
    this.editor = editor;
    const { t } = editor;
    this.text = html("span", { class: "ic-status-text", tabindex: -1 }); // the keys stay in the editor
    this.toggle = html("button", {
      type: "button",
      class: "ic-button",
      "aria-expanded": "false",
      "aria-controls": editor.uid("problems"),
      onclick: () => editor.setSetting("problemsOpen", !editor.settings.problemsOpen),
    });
    const zoom = (name, label, action, shortcut) => {
      const button = html(
        "button",
        {
          type: "button",
          class: "ic-button",
          "aria-label": label,
          title: `${label} (${shortcut})`,
          onclick: action,
        },
        icon(name),
      );
      return button;
    };
    this.percent = html("span", { class: "ic-badge", style: "min-width:34px;text-align:center" });
    const zooms = html(
      "span",
      { class: "ic-row", style: "gap:0" },
      zoom("minus", t("editor.zoom_out"), () => editor.zoom(0.8), "-"),
      this.percent,
      zoom("add", t("editor.zoom_in"), () => editor.zoom(1.25), "+"),
      zoom("fit", t("editor.zoom_fit"), () => editor.fit(), "0"),
    );
    this.items = new Map();
    this.list = html("ul", {
      class: "ic-problems",
      id: editor.uid("problems"),
      "aria-label": t("editor.problems"),
    });
    this.line = html("div", { class: "ic-status-line" }, this.toggle, this.text, zooms);
    this.element = html("div", { class: "ic-status" }, this.list, this.line);
  }

  render() {
    const { editor } = this;
    const { t, problems, settings } = editor;
    const shown = settings.problemsOpen && problems.length > 0;
    const empty = editor.layout.instances.length === 0;
    const severe = problems.some((problem) => problem.severity === "error");
    const label = problems.length
      ? t("editor.problem_count", { count: problems.length })
      : t(empty ? "editor.no_regions" : "editor.no_problems");
    if (this.label !== label) {
      this.label = label;
      const drawing = problems.length ? (severe ? "error" : "warning") : empty ? "help" : "check";
      this.toggle.replaceChildren(icon(drawing), label);
    }
    this.toggle.style.color = problems.length ? `var(--ic-${severe ? "error" : "warning"})` : "";
    this.line.toggleAttribute("data-severe", severe && !shown);
    this.toggle.disabled = problems.length === 0;
    set(this.toggle, { "aria-expanded": String(shown) });
    this.list.hidden = !shown;
    this.percent.textContent = `${Math.round(editor.stage.view.zoom * 100)} %`;
    this.text.textContent = problems.length && !shown ? this.say(problems[0]) : "";
    this.text.title = this.text.textContent;
    const listed = shown ? problems : null;
    if (this.shown !== listed) this.renderList(listed ?? []);
    this.shown = listed;
  }

  /** Equal findings keep their elements: a check may come between the press and the release of a button. */
  renderList(problems) {
    const { editor, list, items } = this;
    const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
    const keys = problems.map((problem) => JSON.stringify(problem));
    this.items = new Map(keys.map((key, at) => [key, items.get(key) ?? this.item(problems[at])]));
    for (const [key, item] of items) if (!this.items.has(key)) item.remove();
    [...this.items.values()].forEach((item, place) => {
      if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
    });
    if (focused < 0 || list.contains(document.activeElement)) return;
    // What had the focus is mended: the keys go on with the next finding.
    const next = list.children[Math.min(focused, list.children.length - 1)];
    (next?.querySelector("button") ?? editor.keys).focus({ preventScroll: true });
  }

  say(problem) {
    return this.editor.t(problem.code, problem.params);
  }

  item(problem) {
    const { editor } = this;
    const severity = problem.severity === "info" ? "hint" : problem.severity;
    const message = html(
      "button",
      { type: "button", class: "ic-message", onclick: () => this.show(problem) },
      this.say(problem),
    );
    const fix =
      problem.fix &&
      html(
        "button",
        { type: "button", class: "ic-button ic-fix", onclick: () => editor.fix(problem) },
        editor.t(FIX_LABELS[problem.fix], problem.params),
      );
    return html(
      "li",
      { class: "ic-problem", "data-severity": severity },
      icon(severity === "error" ? "error" : severity === "hint" ? "help" : "warning"),
      message,
      fix,
    );
  }

  show(problem) {
    if (problem.instance === null) return;
    this.editor.run("select", [problem.instance]);
    this.editor.announceSelection();
  }
}
