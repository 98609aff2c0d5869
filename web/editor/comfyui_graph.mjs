// Questions about ComfyUI's graph: what runs after a node, where a linked picture comes from.

/** The name under which ComfyUI keeps the outputs of a node: the graph's id before it inside subgraphs. */
export const locator = (node) =>
  (node.graph?.isRootGraph ?? true) ? String(node.id) : `${node.graph.id}:${node.id}`;

export const linksOf = (graph) => [...(graph.links?.values?.() ?? Object.values(graph.links ?? {}))];

/**
 * Ids of the nodes whose links go on from a node: its own, and those of the nodes that get by a name what it sets.
 * Packs have such pairs, Set and Get, in which nothing is linked.
 */
export function sendersOf(graph, id) {
  const named = ({ widgets }) => widgets?.[0]?.value;
  const from = graph.getNodeById?.(id);
  const getters = /setnode$/i.test(from?.type)
    ? graph.nodes.filter((node) => /getnode$/i.test(node.type) && named(node) === named(from))
    : [];
  return [id, ...getters.map((node) => node.id)].map(String);
}

/** Whether a link arrives at the input of a name. */
export function isLinked(node, name) {
  const slot = node.inputs?.findIndex((input) => input.name === name) ?? -1;
  return slot >= 0 && node.isInputConnected(slot);
}

/** Whether a switch of a node is on, as one that it has not yet is; null where a link decides, which only a run knows. */
export const switchOf = (node, name) =>
  isLinked(node, name) ? null : node.widgets?.find((widget) => widget.name === name)?.value !== false;

/** A test whether an execution id ("3", or "2:1" inside a subgraph) comes after a node. */
export function executionScope(node, root) {
  const after = [];
  for (const { prefix, graph, id } of levels(node, root)) {
    for (const next of downstream(graph, id)) after.push(`${prefix}${next}`);
  }
  return (executed) => after.some((id) => executed === id || executed.startsWith(`${id}:`));
}

/** The node itself in its graph, then the subgraph nodes around it, outwards. */
function levels(node, root) {
  const path = pathTo(root, node.graph) ?? [];
  const ids = [...path.map((container) => container.id), node.id];
  const graphs = [...path.map((container) => container.graph), node.graph];
  return ids.map((id, depth) => ({
    id,
    graph: graphs[depth],
    prefix: ids
      .slice(0, depth)
      .map((one) => `${one}:`)
      .join(""),
  }));
}

/** Whether a node is in a graph or in one of its subgraphs, and was not taken out of it. */
export const isInside = (node, root) =>
  Boolean(node.graph) && node.graph.getNodeById(node.id) === node && pathTo(root, node.graph) !== null;

/** The subgraph nodes around a graph, outwards in; null if it is not inside. */
export function pathTo(graph, wanted) {
  if (graph === wanted) return [];
  for (const node of graph.nodes ?? []) {
    const rest = node.subgraph && pathTo(node.subgraph, wanted);
    if (rest) return [node, ...rest];
  }
  return null;
}

/** Ids of all nodes that links lead to from one. */
function downstream(graph, id) {
  const links = linksOf(graph);
  const found = new Set();
  const queue = [String(id)];
  while (queue.length) {
    const senders = sendersOf(graph, queue.pop());
    for (const link of links) {
      const to = String(link.target_id);
      if (senders.includes(String(link.origin_id)) && !found.has(to)) {
        found.add(to);
        queue.push(to);
      }
    }
  }
  return found;
}

/** The node that a link comes from to the input of a name. */
export const linkedNode = (node, name) =>
  node.getInputNode(node.inputs.findIndex((input) => input.name === name));

/** The address of the picture that a linked node shows already, before any run; null if it shows none. */
export function upstreamPicture(node, name, app, api) {
  const origin = linkedNode(node, name);
  if (!origin) return null;
  const shown = app.nodeOutputs?.[locator(origin)]?.images?.[0];
  if (shown) return api.apiURL(`/view?${new URLSearchParams(shown)}`);
  const chosen = origin.widgets?.find((widget) => widget.name === "image")?.value;
  if (typeof chosen !== "string") return null;
  const [, path, type = "input"] = chosen.match(/^(.*?)(?: \[(\w+)\])?$/);
  const at = path.lastIndexOf("/");
  return api.apiURL(
    `/view?${new URLSearchParams({ filename: path.slice(at + 1), subfolder: path.slice(0, Math.max(at, 0)), type })}`,
  );
}
