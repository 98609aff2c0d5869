// Width and height of the picture as the layout node has them: its widgets, or links in their place.
import { isLinked } from "./comfyui_graph.mjs";
import { chain } from "./comfyui_page.mjs";

const SIDES = ["width", "height"];

export class NodeSize {
  used = null; // what the last run used, which alone knows the numbers that links give

  /** `changed` is called when a widget was changed by hand. */
  constructor(node, changed) {
    this.node = node;
    for (const side of SIDES) {
      const widget = this.widget(side);
      if (widget) chain(widget, "callback", changed);
    }
  }

  widget(name) {
    return this.node.widgets?.find((widget) => widget.name === name);
  }

  /** `driven` when links give the sizes; a side that only the next run tells is null. */
  get value() {
    const side = (name) =>
      isLinked(this.node, name) ? (this.used?.[name] ?? null) : Number(this.widget(name)?.value) || 1024;
    return {
      width: side("width"),
      height: side("height"),
      driven: SIDES.some((name) => isLinked(this.node, name)),
    };
  }

  set(width, height) {
    for (const [name, value] of Object.entries({ width, height })) {
      const widget = this.widget(name);
      if (!widget || widget.value === value) continue;
      widget.value = value;
      widget.callback?.(value);
    }
    this.node.setDirtyCanvas?.(true, true);
  }
}
