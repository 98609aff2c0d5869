// What there is to say of a layout beside the document itself: how it is wired, and why the last run ended.
import { adaptersAfter, drawsRegionsAlone, halfWired, isConnected, isOn } from "./comfyui_flow.mjs";
import { isInside } from "./comfyui_graph.mjs";
import { strangers } from "./comfyui_naming.mjs";

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
  const unknown = strangers(node, root, instances)
    .filter(({ place }) => isOn(place))
    .map(({ place, name }) => note("warning", "problem.no_such_instance", { node: place.node.title, name }));
  said.push(...new Map(unknown.map((one) => [JSON.stringify(one.params), one])).values());
  return said;
}
