// What there is to say of a layout beside the document itself: how it is wired, and why the last run ended.
import { adaptersAfter, drawsRegionsAlone, halfWired, isConnected, nodesAfter } from "./comfyui_flow.mjs";
import { isInside } from "./comfyui_graph.mjs";

// Nodes that name instances, and what reads the names: it is loaded with the first such node.
const NAMING = ["IC_InstanceLora", "IC_RepairInstance", "IC_AttributeConcentration"];
let reader = null;

export const note = (severity, code, params = {}) => ({
  severity,
  instance: null,
  index: null,
  field: "graph",
  code,
  params,
});

/** Problems of a layout node, as lib/problems.mjs has those of documents; `failure` is what a run said, if any. */
export function notesOf(node, root, failure) {
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
  return said;
}

/** Notes on names in other nodes that no instance has; `changed` is called when there may be some. */
export function strangersTo(node, root, instances, changed) {
  if (!isInside(node, root)) return [];
  if (!reader && nodesAfter(node, root, NAMING).length) {
    reader = { strangers: () => [] };
    import("./later.mjs").then(
      (part) => {
        reader = part;
        changed();
      },
      () => (reader = null),
    );
  }
  return reader?.strangers(node, root, instances) ?? [];
}
