// Names by which other nodes of the graph call a layout's instances.
import { findInstance, listed, nameInList } from "../lib/choosing.mjs";
import { isOn, nodesAfter } from "./comfyui_flow.mjs";
import { isLinked } from "./comfyui_graph.mjs";
import { note } from "./comfyui_notes.mjs";
import { sourceOf } from "./comfyui_wiring.mjs";

// Inputs of a layout node that bring instances with names of their own.
const UPSTREAM = ["bounding_boxes", "masks", "elements"];
const NOBODY = ["", "-", "none"];

/** One name alone. */
const single = {
  read: (text, all) => [{ name: text.trim(), at: findInstance(text.trim(), all) }],
  rename: (text, id, name) => (text.trim() === id ? name : text),
};

/** A list, with a seed behind a name: "fox@3, 2". */
const list = {
  read: listed,
  rename: (text, id, name, all) => {
    const parts = listed(text, all);
    const held = nameInList({ id: name }, [...all, { id: name }]) === name; // else a list would take it apart
    if (!held || !parts.some((one) => one.name === id)) return text;
    return parts
      .map((one) => (one.name === id ? name + one.part.slice(one.name.length) : one.part))
      .join(", ");
  },
};

/** A line for each entity, with the instance behind its last "=": "red book = fox". */
const LINE = /^(\s*[^#\s].*=\s*)(.*?)(\s*)$/u;
const lines = {
  read: (text, all) =>
    text.split("\n").flatMap((line) => {
      const name = LINE.exec(line)?.[2];
      return name === undefined ? [] : [{ name, at: findInstance(name, all) }];
    }),
  rename: (text, id, name) =>
    text
      .split("\n")
      .map((line) =>
        line.replace(LINE, (all, before, named, after) => (named === id ? before + name + after : all)),
      )
      .join("\n"),
};

// Nodes that name instances, each with the input that does and how.
const NAMING = {
  IC_InstanceLora: ["instance", single],
  IC_RepairInstance: ["instances", list],
  IC_AttributeConcentration: ["overrides", lines],
};

/** The nodes that name instances of this layout node's own: each with the widget that does, and how it is read. */
function* naming(node, root) {
  if (UPSTREAM.some((name) => isLinked(node, name))) return;
  for (const place of nodesAfter(node, root, Object.keys(NAMING))) {
    // Through another node the instances may have other names.
    if (sourceOf(place, "layout")?.output?.node !== node) continue;
    const [input, form] = NAMING[place.node.comfyClass];
    const widget = sourceOf(place, input)?.widget;
    if (typeof widget?.value === "string") yield { place, widget, form };
  }
}

/** Notes on names that no instance has: left behind by a removal, or by a change of names elsewhere. */
export function strangers(node, root, instances) {
  const found = new Map();
  for (const { place, widget, form } of naming(node, root)) {
    if (!isOn(place)) continue;
    const { title } = place.node;
    for (const { name, at } of form.read(widget.value, instances))
      if (at < 0 && !NOBODY.includes(name.toLowerCase()))
        found.set(`${title} ${name}`, note("warning", "problem.no_such_instance", { node: title, name }));
  }
  return [...found.values()];
}

/** An instance has another name: the nodes that call it by the one it had among `before` call it by the new one. */
export function renamed(node, root, id, name, before) {
  for (const { widget, form } of naming(node, root)) {
    const text = form.rename(widget.value, id, name, before);
    if (text === widget.value) continue;
    widget.value = text;
    widget.callback?.(text);
  }
}
