// What there is to say of a layout beside the document itself: how it is wired, and why the last run ended.
import { adaptersAfter, halfWired, isConnected } from "./comfyui_flow.mjs";
import { isInside } from "./comfyui_graph.mjs";

const note = (severity, code, params = {}) => ({
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
  if (!adapters.every(encodes) && !isConnected(node, "prompt"))
    said.push(note("info", "problem.prompt_unused"));
  return said;
}
