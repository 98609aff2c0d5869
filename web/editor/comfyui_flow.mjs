// What flows where in ComfyUI's graph, through subgraphs: pictures sampled through a layout, halves of an adapter.
import { linksOf, locator, sendersOf } from "./comfyui_graph.mjs";

// ComfyUI's numbers for the inside ends of a subgraph.
const [INPUTS, OUTPUTS] = ["-10", "-20"];
const [MUTED, BYPASSED] = [2, 4];
const LAYOUT = /^(?:INSTANCE_LAYOUT|BOUNDING_BOX(?:ES)?|MASK|\*)$/;
// Nodes of ours that paint into what they show.
const PAINTING = new Set(["IC_LayoutPreview", "IC_ShowAttentionMaps", "IC_CompositionScore"]);
// Nodes that follow a layout by patching the model and marking the prompts: each is without effect alone.
const PLACING = ["IC_ApplyIFAdapter", "IC_DrawRegions", "IC_ComposeLayout", "IC_AttributeConcentration"];

/** @typedef {{node: any, around: any[]}} Place a node and the subgraph nodes around it, outwards in */

/** The id under which a run speaks of a node. @param {Place} place */
export const executionId = ({ node, around }) => [...around, node].map(({ id }) => id).join(":");

/** The link that arrives at an input. */
export const linkTo = (node, slot) =>
  linksOf(node.graph ?? {}).find(
    (link) => String(link.target_id) === String(node.id) && link.target_slot === slot,
  );

/** Where the links from one output arrive: places with the input's number. */
function* arrivals(graph, around, id, slot) {
  const senders = sendersOf(graph, id);
  for (const link of linksOf(graph)) {
    if (!senders.includes(String(link.origin_id)) || link.origin_slot !== slot) continue;
    if (String(link.target_id) === OUTPUTS) {
      const outside = around.at(-1);
      if (outside) yield* arrivals(outside.graph, around.slice(0, -1), outside.id, link.target_slot);
      continue;
    }
    const node = graph.getNodeById(link.target_id);
    if (node?.subgraph) yield* arrivals(node.subgraph, [...around, node], INPUTS, link.target_slot);
    else if (node) yield { node, around, slot: link.target_slot };
  }
}

/** Every node in a graph and its subgraphs. @returns {Generator<Place>} */
export function* allPlaces(graph, around = []) {
  for (const node of graph?.nodes ?? []) {
    if (node.subgraph) yield* allPlaces(node.subgraph, [...around, node]);
    else yield { node, around };
  }
}

/** All places of a node: several where its subgraph is used more than once. */
export const placesOf = (node, root) => [...allPlaces(root)].filter((place) => place.node === node);

const isType = (port, type) => String(port?.type) === type;
const slotsOf = (node, wanted) =>
  (node.outputs ?? []).flatMap((output, slot) => (wanted.test(String(output.type)) ? [slot] : []));

/**
 * Nodes whose pictures were sampled through a layout, by execution id: those that come after a latent that came
 * after the layout's regions. What only has its prompt or its size is another picture.
 * @returns {Map<string, Place>}
 */
export function sampledThrough(node, root) {
  const found = new Map();
  const seen = new Set();
  const queue = placesOf(node, root).map((place) => ({
    ...place,
    slots: slotsOf(node, LAYOUT),
    sampled: false,
  }));
  while (queue.length) {
    const { node: from, around, slots, sampled } = queue.shift();
    for (const slot of slots) {
      const latent = sampled || isType(from.outputs[slot], "LATENT");
      for (const place of arrivals(from.graph, around, from.id, slot)) {
        const key = `${executionId(place)} ${latent}`;
        if (seen.has(key) || place.node.mode === MUTED || PAINTING.has(place.node.comfyClass)) continue;
        seen.add(key);
        const paints = drawsLayout(place.node);
        // A sampler shows previews before its latent goes anywhere.
        const samples = (place.node.outputs ?? []).some((output) => isType(output, "LATENT"));
        if ((latent || samples) && !paints) found.set(executionId(place), place);
        if (!paints)
          queue.push({ ...place, slots: (place.node.outputs ?? []).map((_, at) => at), sampled: latent });
      }
    }
  }
  return found;
}

/** Whether a node and all subgraph nodes around it take part in runs. @param {Place} place */
export const isOn = ({ node, around }) => [node, ...around].every(({ mode }) => mode === 0);

const takes = (node, type) =>
  (node.inputs ?? []).some((input, slot) => isType(input, type) && linkTo(node, slot));

/** Whether a node takes a layout and gives pictures: it draws the one into the other, unless it samples. */
const drawsLayout = (node) =>
  node.comfyClass !== "IC_RepairInstance" &&
  takes(node, "INSTANCE_LAYOUT") &&
  (node.outputs ?? []).some((output) => isType(output, "IMAGE"));

/** Whether what a node gets may go on without a link, in a way that only the node's pack knows. */
const isElsewhere = (node) => node.isVirtualNode && node.type !== "Reroute";

/** Places that end a flow of one type from outputs of a node: samplers, guiders. @returns {Map<string, Place>} */
function ends(place, names, type) {
  const found = new Map();
  const seen = new Set();
  const first = place.node.outputs.flatMap((output, slot) => (names.includes(output.name) ? [slot] : []));
  const queue = [{ ...place, slots: first }];
  while (queue.length) {
    const { node: from, around, slots } = queue.shift();
    const following = slots.flatMap((slot) => [...arrivals(from.graph, around, from.id, slot)]);
    if (isElsewhere(from) && !following.length)
      found.set(executionId({ node: from, around }), { node: from, around });
    for (const next of following) {
      const id = executionId(next);
      if (seen.has(id) || next.node.mode === MUTED) continue;
      seen.add(id);
      const on = slotsOf(next.node, new RegExp(`^(?:${type}|\\*)$`));
      if (on.length) queue.push({ ...next, slots: on });
      else found.set(id, next);
    }
  }
  return found;
}

/**
 * What is wrong with how a node that places a layout is wired: "wired_model" where only its MODEL reaches a
 * sampler, "wired_prompts" where only its prompts do, null where all is well, nothing is connected yet or it cannot be
 * told.
 */
export function halfWired(node, root) {
  if (node.mode === MUTED || node.mode === BYPASSED) return null;
  for (const place of placesOf(node, root)) {
    const models = ends(place, ["model", "out_model"], "MODEL");
    const prompts = ends(place, ["positive", "negative", "out_positive", "out_negative"], "CONDITIONING");
    if ([...models.values(), ...prompts.values()].some(({ node: end }) => isElsewhere(end))) continue;
    for (const [id, { node: end }] of models)
      if (!prompts.has(id) && (takes(end, "CONDITIONING") || prompts.size === 0)) return "wired_model";
    for (const [id, { node: end }] of prompts)
      if (!models.has(id) && (takes(end, "MODEL") || models.size === 0)) return "wired_prompts";
  }
  return null;
}

/** The nodes that a layout reaches and that place it. @returns {any[]} */
export const adaptersAfter = (node, root) => [
  ...new Set(nodesAfter(node, root, PLACING).map((place) => place.node)),
];

/** Whether Draw Regions takes a layout, and nothing that reads it by the rules of the adapter. */
export function drawsRegionsAlone(node, root) {
  const classes = adaptersAfter(node, root).map(({ comfyClass }) => comfyClass);
  return classes.length > 0 && classes.every((one) => one === "IC_DrawRegions");
}

/** Places of the nodes of these classes that a layout reaches, of all without them. @returns {Place[]} */
export function nodesAfter(node, root, classes = null) {
  const found = [];
  const seen = new Set();
  const queue = placesOf(node, root).map((place) => ({ ...place, slots: slotsOf(node, LAYOUT) }));
  while (queue.length) {
    const { node: from, around, slots } = queue.shift();
    for (const slot of slots) {
      for (const next of arrivals(from.graph, around, from.id, slot)) {
        const id = executionId(next);
        if (seen.has(id)) continue;
        seen.add(id);
        const isMeant = classes?.includes(next.node.comfyClass);
        if (isMeant || !classes) found.push(next);
        if (!isMeant) queue.push({ ...next, slots: slotsOf(next.node, LAYOUT) });
      }
    }
  }
  return found;
}

/** Whether the output of a name goes anywhere. */
export const isConnected = (node, name) => {
  const slot = (node.outputs ?? []).findIndex((output) => output.name === name);
  return (
    slot >= 0 &&
    linksOf(node.graph ?? {}).some(
      (link) => String(link.origin_id) === String(node.id) && link.origin_slot === slot,
    )
  );
};

/** The heat maps that ComfyUI keeps of a node which a layout reaches; undefined without any. */
export const keptHeat = (node, root, outputs) =>
  nodesAfter(node, root)
    .filter(isOn)
    .map((place) => outputs?.[locator(place.node)]?.instance_heat_maps)
    .findLast(Boolean);

/** The pictures that ComfyUI keeps of nodes: [{id, node, files}], in the order of `places`. */
export function keptPictures(places, outputs) {
  return [...places].flatMap(([id, { node }]) => {
    const files = outputs?.[locator(node)]?.images;
    return Array.isArray(files) && files.length ? [{ id, node, files }] : [];
  });
}
