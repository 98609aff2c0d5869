// Where an input of a node gets its value, out through subgraphs, and how a value inside one is taken further out.

import { linkTo } from "./comfyui_flow.mjs";

const INPUTS = "-10"; // ComfyUI's number for the inside end at which a subgraph's inputs begin

/** @typedef {{node: any, around: any[], slot: number}} Output an output of a node, and the subgraph nodes around it */

const inputSlot = (node, name) => (node.inputs ?? []).findIndex((input) => input.name === name);

/**
 * What an input gets: `{output}` where a link brings it, `{widget}` where a widget has it, of the node itself or of
 * the subgraph node whose input it is; null where nothing does.
 * @param {{node: any, around: any[]}} place
 * @returns {{output: Output} | {widget: any} | null}
 */
export function sourceOf({ node, around }, name) {
  // A subgraph node's own getInputLink speaks of what is inside.
  const link = linkTo(node, inputSlot(node, name));
  const widget = node.widgets?.find((one) => one.name === name);
  const own = widget ? { widget } : null;
  if (!link) return own;
  if (String(link.origin_id) !== INPUTS)
    return { output: { node: node.graph.getNodeById(link.origin_id), around, slot: link.origin_slot } };
  const outside = around.at(-1);
  const port = outside?.inputs[link.origin_slot];
  return (port && sourceOf({ node: outside, around: around.slice(0, -1) }, port.name)) ?? own;
}

/** The same output as it is `depth` subgraph nodes deep: each subgraph on the way gets an output unless it has one. */
export function takeOut({ node, around, slot }, depth, name) {
  if (around.length <= depth) return { node, around, slot };
  const outside = around.at(-1);
  const ends = outside.subgraph.outputs;
  const comesFrom = (end) =>
    end.getLinks().some((link) => String(link.origin_id) === String(node.id) && link.origin_slot === slot);
  let at = ends.findIndex(comesFrom);
  if (at < 0) {
    const taken = new Set(ends.map((end) => end.name));
    let free = name;
    for (let number = 2; taken.has(free); number += 1) free = `${name}_${number}`;
    const { type } = node.outputs[slot];
    at = ends.indexOf(outside.subgraph.addOutput(free, String(type)));
    ends[at].connect(node.outputs[slot], node);
  }
  return takeOut({ node: outside, around: around.slice(0, -1), slot: at }, depth, name);
}

/** Link what `sourceOf` found to an input of a node that is inside the first `depth` of the subgraph nodes. */
export function give(source, node, name, depth) {
  if (!source) return;
  if ("output" in source) {
    const { node: from, slot } = takeOut(source.output, depth, name);
    from.connect(slot, node, inputSlot(node, name));
    return;
  }
  const widget = node.widgets?.find((one) => one.name === name);
  if (widget) widget.value = source.widget.value;
}
