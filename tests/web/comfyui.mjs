/** Stands in for ComfyUI's `app` and `api`, which the editor's host modules import: fill them in, then import those. */

import { registerHooks } from "node:module";

export const app = { nodeOutputs: {}, rootGraph: { nodes: [] } };
export const api = { apiURL: (path) => path, addEventListener: () => {} };
Object.assign(globalThis, { comfyuiApp: app, comfyuiApi: api });

const source = (name, held) => `data:text/javascript,export const ${name} = globalThis.${held};`;

registerHooks({
  resolve(specifier, context, next) {
    if (specifier.endsWith("/scripts/app.js"))
      return { url: source("app", "comfyuiApp"), shortCircuit: true };
    if (specifier.endsWith("/scripts/api.js"))
      return { url: source("api", "comfyuiApi"), shortCircuit: true };
    return next(specifier, context);
  },
});

/** A graph of nodes, linked by [id of the origin, its output, id of the target, its input]. */
export function graphOf(nodes, links, more = {}) {
  const graph = {
    nodes,
    links: links.map(([origin_id, origin_slot, target_id, target_slot]) => ({
      origin_id,
      origin_slot,
      target_id,
      target_slot,
    })),
    isRootGraph: true,
    getNodeById: (id) => nodes.find((node) => String(node.id) === String(id)),
    ...more,
  };
  for (const node of nodes) Object.assign(node, { graph, mode: 0 });
  return graph;
}
