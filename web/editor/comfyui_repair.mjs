// "Draw this again": names instances in a Repair Instance that has the layout, makes one where there is none, and
// runs that node alone.
import { executionId, nodesAfter, sampledThrough } from "./comfyui_flow.mjs";

const REPAIR = "IC_RepairInstance";
const SAMPLERS = ["KSampler"];
const DECODERS = ["VAEDecode", "VAEDecodeTiled"];
const SETTINGS = ["steps", "cfg", "sampler_name", "scheduler"];
const LARGEST_SEED = 2 ** 32;
const GAP = 40; // graph units between the decoder and the node that is made

/**
 * Draw instances of a layout node's layout again, each with a new seed.
 * @returns {{code: string, params?: object}} what to tell: that it runs, or why not
 */
export function drawAgain(app, node, instances, all) {
  const root = app.rootGraph ?? app.graph;
  const places = nodesAfter(node, root, [REPAIR]);
  const place = places.find((one) => one.node.mode === 0) ?? makeRepair(app, node, root);
  if (!place) return { code: places.length ? "editor.repair_is_off" : "editor.no_repair" };
  const widget = place.node.widgets.find((one) => one.name === "instances");
  const names = instances.map((one) => nameOf(one, all));
  const seeded = names.map((name) => `${name}@${Math.floor(Math.random() * LARGEST_SEED)}`);
  widget.value = [...kept(widget.value, names, all), ...seeded].join(", ");
  widget.callback?.(widget.value);
  app.queuePrompt(0, 1, [executionId(place)]);
  return { code: "editor.drawing_again", params: { names: names.join(", "), node: place.node.title } };
}

/** An id, which outlives a change of order; a number where the node's text would read the id otherwise. */
const nameOf = ({ id }, all) =>
  /[,@]|^\s|\s$/.test(id) ? String(all.findIndex((one) => one.id === id) + 1) : id;

/** What was named before and is still there, without the ones that are drawn anew. */
function kept(text, names, all) {
  const known = new Set(all.flatMap(({ id }, index) => [id, String(index + 1)]));
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => {
      const name = known.has(part) ? part : part.replace(/\s*@[^@]*$/, "");
      return known.has(name) && !names.includes(name);
    });
}

/** A Repair Instance beside the decoder of a picture that was sampled through the layout; null if none is found. */
function makeRepair(app, node, root) {
  const sampled = [...sampledThrough(node, root).values()].filter((place) => place.node.graph === node.graph);
  const ofType = (types) =>
    sampled.find((place) => types.includes(place.node.type) && place.node.mode === 0)?.node;
  const [sampler, decoder] = [ofType(SAMPLERS), ofType(DECODERS)];
  const made = sampler && decoder && LiteGraph.createNode(REPAIR);
  if (!made) return null;
  node.graph.add(made);
  made.pos = [decoder.pos[0] + Math.max(decoder.size[0], sampler.size[0]) + GAP, decoder.pos[1]];
  for (const name of SETTINGS) {
    const [from, to] = [sampler, made].map((one) => one.widgets.find((widget) => widget.name === name));
    if (from && to) to.value = from.value;
  }
  const slot = (one, name) => one.inputs.findIndex((input) => input.name === name);
  const follow = (one, name) => {
    const origin = one.getInputNode(slot(one, name));
    origin?.connect(one.getInputLink(slot(one, name)).origin_slot, made, slot(made, name));
  };
  const give = (one, type, name) =>
    one.connect(
      one.outputs.findIndex((output) => output.type === type),
      made,
      slot(made, name),
    );
  for (const name of ["model", "positive", "negative"]) follow(sampler, name);
  follow(decoder, "vae");
  give(decoder, "IMAGE", "image");
  give(node, "INSTANCE_LAYOUT", "layout");
  app.canvas.setDirty(true, true);
  return nodesAfter(node, root, [REPAIR]).find((place) => place.node === made) ?? null;
}
