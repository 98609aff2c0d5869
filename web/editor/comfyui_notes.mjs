// What there is to say of a layout beside the document itself: how it is wired, and why the last run ended.
import { findInstance, listed } from "../lib/choosing.mjs";
import {
  adaptersAfter,
  drawsRegionsAlone,
  halfWired,
  isConnected,
  isOn,
  nodesAfter,
} from "./comfyui_flow.mjs";
import { isInside, isLinked } from "./comfyui_graph.mjs";
import { sourceOf } from "./comfyui_wiring.mjs";

// Nodes that name instances of a layout, each with the input that does: one, or a list of them.
const NAMING = { IC_InstanceLora: "instance", IC_RepairInstance: "instances" };
// Inputs of a layout node that bring instances with names of their own.
const UPSTREAM = ["bounding_boxes", "masks", "elements"];

const note = (severity, code, params = {}) => ({
  severity,
  instance: null,
  index: null,
  field: "graph",
  code,
  params,
});

/**
 * Problems of a layout node with these instances, as lib/problems.mjs has those of documents; `failure` is what a run
 * said, if any.
 */
export function notesOf(node, root, failure, instances) {
  const said = failure ? [note("error", "problem.run_failed", { message: failure })] : [];
  if (!isInside(node, root)) return said;
  const adapters = adaptersAfter(node, root);
  const wrong = new Map(
    adapters.flatMap((one) => {
      const code = halfWired(one, root);
      return code ? [[`${code} ${one.title}`, note("warning", `problem.${code}`, { node: one.title })]] : [];
    }),
  );
  said.push(...wrong.values());
  // Compose Layout encodes the prompt by itself.
  const encodes = ({ comfyClass }) => comfyClass === "IC_ComposeLayout";
  // With regions alone the prompt had better not name what they draw.
  if (!adapters.every(encodes) && !drawsRegionsAlone(node, root) && !isConnected(node, "prompt"))
    said.push(note("info", "problem.prompt_unused"));
  said.push(...strangers(node, root, instances));
  return said;
}

/** Names in other nodes that the layout has no instance for: left behind by a change of names, or by a removal. */
function strangers(node, root, instances) {
  if (UPSTREAM.some((name) => isLinked(node, name))) return [];
  const found = new Map();
  for (const place of nodesAfter(node, root, Object.keys(NAMING)).filter(isOn)) {
    const { comfyClass, title } = place.node;
    // Through another node the instances may have other names.
    if (sourceOf(place, "layout")?.output?.node !== node) continue;
    const text = String(sourceOf(place, NAMING[comfyClass])?.widget?.value ?? "");
    const named =
      comfyClass === "IC_RepairInstance"
        ? listed(text, instances)
        : [{ name: text.trim(), at: findInstance(text.trim(), instances) }];
    for (const { name, at } of named)
      if (at < 0 && name !== "")
        found.set(`${title} ${name}`, note("warning", "problem.no_such_instance", { node: title, name }));
  }
  return [...found.values()];
}
