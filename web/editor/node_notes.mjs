// What there is to say of a node, shown in it: a widget that is there only while there is something.
import { parse } from "../lib/document.mjs";
import { findProblems } from "../lib/problems.mjs";
import { html } from "./dom.mjs";

const NAME = "notes";
const TOLD = "instance_composer_told";
const STYLE =
  "box-sizing:border-box;margin:0;padding:6px 8px;overflow:auto;user-select:text;font:12px/1.4 system-ui,sans-serif;" +
  "color:var(--input-text,#ddd);background:var(--comfy-input-bg,#222);border-radius:6px;border-inline-start:3px solid #d9a400";

export class NodeNotes {
  /**
   * `wiring()` names what is wrong with the node's links, null for nothing. `kept()` are the outputs that ComfyUI
   * keeps of the node's last run and gives back with the workflow, undefined where there are none.
   */
  constructor(node, t, wiring, kept) {
    Object.assign(this, { node, t, wiring, kept, found: [], told: null, shown: "", hasRun: false });
  }

  /** A run of the node tells of a layout that has something worth a look. */
  executed(output) {
    if (!output?.instance_layout_noted) return;
    this.hasRun = true;
    const [text] = output.instance_layout_noted;
    try {
      this.found = text ? findProblems(parse(text)).filter((one) => this.concerns(one)) : [];
    } catch {
      this.found = []; // a document that this page is too old for
    }
    // A run that has nothing to do for the node sends its outputs again, and nothing is told anew.
    if (this.told) requestAnimationFrame(() => this.keepTold());
    this.check();
  }

  /** That only so many instances are placed well holds for the adapter. */
  concerns({ code }) {
    return code !== "problem.many_instances" || this.node.comfyClass !== "IC_DrawRegions";
  }

  /** A sentence of the server about the run, in its own words; null for none any more. */
  tell(sentence) {
    this.hasRun = true;
    this.told = sentence;
    this.keepTold();
    this.check();
  }

  keepTold() {
    const kept = this.kept();
    if (kept) kept[TOLD] = this.told ? [this.told] : [];
  }

  /** What an earlier run left, of a workflow that was elsewhere meanwhile. */
  restore() {
    const kept = this.kept();
    if (!this.node.graph || this.hasRun || !kept) return;
    this.told = kept[TOLD]?.[0] ?? null;
    this.executed(kept);
    this.check();
  }

  check() {
    const wrong = this.node.graph ? this.wiring() : null;
    const lines = [
      ...(wrong ? [this.t(`problem.${wrong}`, { node: this.node.title })] : []),
      ...this.found.map(({ code, params }) => this.t(code, params)),
      ...(this.told ? [this.told] : []),
    ];
    const text = lines.join("\n");
    if (text === this.shown) return;
    this.shown = text;
    if (!lines.length) return this.remove();
    this.widget ??= this.add();
    this.widget.element.replaceChildren(...lines.map((line) => html("div", {}, line)));
    this.node.setDirtyCanvas?.(true, true);
  }

  add() {
    const element = html("div", { class: "ic-notes", role: "status", tabindex: 0, style: STYLE });
    const widget = this.node.addDOMWidget(NAME, "IC_NOTES", element, {
      serialize: false,
      hideInPanel: true,
      getMinHeight: () => 64,
    });
    widget.serialize = false;
    const [width, height] = this.node.computeSize();
    const before = this.node.size[1];
    this.node.setSize([Math.max(this.node.size[0], width), Math.max(before, height)]);
    this.grown = this.node.size[1] - before;
    return widget;
  }

  remove() {
    const { node, widget } = this;
    this.widget = null;
    if (!widget) return;
    if (node.removeWidget) node.removeWidget(widget);
    else node.widgets.splice(node.widgets.indexOf(widget), 1);
    widget.element.remove();
    // What a person made of the node's height meanwhile stays.
    node.setSize([node.size[0], Math.max(node.computeSize()[1], node.size[1] - this.grown)]);
    node.setDirtyCanvas?.(true, true);
  }
}
