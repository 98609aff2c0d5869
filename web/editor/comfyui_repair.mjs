// "Draw this again": names instances in a Repair Instance that has the layout, makes one where there is none, and
// runs that node alone.
import { findInstance, listed, nameInList } from "../lib/choosing.mjs";
import { executionId, isOn, nodesAfter, placesOf, sampledThrough } from "./comfyui_flow.mjs";
import { give, sourceOf } from "./comfyui_wiring.mjs";

const REPAIR = "IC_RepairInstance";
const SAMPLERS = ["KSampler"];
const DECODERS = ["VAEDecode", "VAEDecodeTiled"];
const SETTINGS = ["steps", "cfg", "sampler_name", "scheduler"];
const LARGEST_SEED = 2 ** 32;
const GAP = 40; // graph units between the decoder and the node that is made
const REPORT_SIZE = [480, 100]; // what the node's text takes: its least width, and height in addition

/**
 * Draw instances of a layout node's layout again, each with a new seed.
 * @returns {{code: string, params?: object}} what to tell: that it runs, or why not
 */
export function drawAgain(app, node, instances, all) {
  const names = instances.map((one) => nameInList(one, all));
  const nameless = names.indexOf(null);
  if (nameless >= 0) return { code: "editor.repair_unnamed", params: { id: instances[nameless].id } };
  const root = app.rootGraph ?? app.graph;
  const places = nodesAfter(node, root, [REPAIR]);
  const place = places.find((one) => one.node.mode === 0) ?? makeRepair(app, node, root);
  if (!place) return { code: places.length ? "editor.repair_is_off" : "editor.no_repair" };
  const { title } = place.node;
  const { widget } = sourceOf(place, "instances");
  if (!widget) return { code: "editor.repair_is_linked", params: { node: title } };
  const seeded = names.map((name) => `${name}@${Math.floor(Math.random() * LARGEST_SEED)}`);
  widget.value = [...kept(widget.value, names, all), ...seeded].join(", ");
  widget.callback?.(widget.value);
  app.queuePrompt(0, 1, [executionId(place)]);
  return { code: "editor.drawing_again", params: { names: names.join(", "), node: title } };
}

/** What was named before and is still there, without the ones that are drawn anew, whatever they were called. */
function kept(text, names, all) {
  const anew = names.map((name) => findInstance(name, all));
  return listed(text, all).flatMap(({ part, at }) => (at >= 0 && !anew.includes(at) ? [part] : []));
}

/**
 * A Repair Instance for a picture that was sampled through the layout; null if none is found. It lies where both the
 * layout and the decoder are in the same graph or in subgraphs of it, beside the one or the other.
 */
function makeRepair(app, node, root) {
  const sampled = [...sampledThrough(node, root).values()].filter(isOn);
  const decoder = sampled.find((place) => DECODERS.includes(place.node.type));
  const samplers = sampled.filter((place) => SAMPLERS.includes(place.node.type));
  const latent = decoder && sourceOf(decoder, "samples")?.output;
  const sampler = samplers.find((place) => place.node === latent?.node) ?? samplers[0];
  const made = decoder && sampler && LiteGraph.createNode(REPAIR);
  if (!made) return null;
  const near = (place) => shared([place, decoder]);
  const [own] = placesOf(node, root).sort((one, other) => near(other) - near(one));
  const depth = shared([own, decoder, sampler]);
  const beside = decoder.around[depth] ?? decoder.node;
  beside.graph.add(made);
  for (const name of [...SETTINGS, "model", "positive", "negative"])
    give(sourceOf(sampler, name), made, name, depth);
  give(sourceOf(decoder, "vae"), made, "vae", depth);
  give({ output: outputOf(decoder, "IMAGE") }, made, "image", depth);
  give({ output: outputOf(own, "INSTANCE_LAYOUT") }, made, "layout", depth);
  // As large as it is when it has told what it drew.
  made.setSize([Math.max(made.size[0], REPORT_SIZE[0]), made.size[1] + REPORT_SIZE[1]]);
  made.pos = freePlace(made, beside.pos[0] + beside.size[0] + GAP, beside.pos[1]);
  app.canvas.setDirty(true, true);
  return nodesAfter(node, root, [REPAIR]).find((place) => place.node === made) ?? null;
}

/** In how many subgraph nodes, outwards in, all places are together. */
function shared([first, ...others]) {
  const end = first.around.findIndex((one, at) => others.some(({ around }) => around[at] !== one));
  return end < 0 ? first.around.length : end;
}

const outputOf = ({ node, around }, type) => ({
  node,
  around,
  slot: node.outputs.findIndex((output) => output.type === type),
});

/** The first place downwards where a node covers no other. */
function freePlace(made, x, y) {
  const title = LiteGraph.NODE_TITLE_HEIGHT;
  const others = made.graph.nodes.filter((one) => one !== made);
  const covered = (top) =>
    others.find(
      ({ pos, size }) =>
        pos[0] < x + made.size[0] + GAP &&
        x < pos[0] + size[0] + GAP &&
        pos[1] - title < top + made.size[1] + GAP &&
        top - title < pos[1] + size[1] + GAP,
    );
  let top = y;
  for (let over = covered(top); over; over = covered(top)) top = over.pos[1] + over.size[1] + title + GAP + 1;
  return [x, top];
}
