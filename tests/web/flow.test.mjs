/** What flows where in ComfyUI's graph, in links and past them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { graphOf } from "./comfyui.mjs";

const { adaptersAfter, drawsRegionsAlone, halfWired, sampledThrough } =
  await import("../../web/editor/comfyui_flow.mjs");
const { executionScope } = await import("../../web/editor/comfyui_graph.mjs");

const port = (name, type) => ({ name, type });
const named = (value) => [{ name: "name", value }];

/** A layout that is drawn; the model goes on as `between` says, the prompts by links. `rest` are its links. */
function drawn(between, rest) {
  const layout = { id: 1, outputs: [port("layout", "INSTANCE_LAYOUT")] };
  const draw = {
    id: 2,
    comfyClass: "IC_DrawRegions",
    inputs: [port("layout", "INSTANCE_LAYOUT")],
    outputs: [port("model", "MODEL"), port("positive", "CONDITIONING"), port("negative", "CONDITIONING")],
  };
  const sampler = {
    id: 3,
    inputs: [port("model", "MODEL"), port("positive", "CONDITIONING"), port("negative", "CONDITIONING")],
    outputs: [port("latent", "LATENT")],
  };
  const links = [
    [1, 0, 2, 0],
    [2, 1, 3, 1],
    [2, 2, 3, 2],
  ];
  const root = graphOf([layout, draw, sampler, ...between], [...links, ...rest]);
  return { root, layout, draw };
}

const setter = (id, name, type = "SetNode") => ({
  id,
  type,
  isVirtualNode: true,
  inputs: [port("MODEL", "MODEL")],
  outputs: [port("*", "*")],
  widgets: named(name),
});
const getter = (id, name) => ({
  id,
  type: "GetNode",
  isVirtualNode: true,
  outputs: [port("MODEL", "MODEL")],
  widgets: named(name),
});

test("what a node sets by a name goes on where a node gets it", () => {
  const { root, draw } = drawn(
    [setter(4, "drawn"), getter(5, "drawn")],
    [
      [2, 0, 4, 0],
      [5, 0, 3, 0],
    ],
  );
  assert.equal(halfWired(draw, root), null);
  const other = drawn(
    [
      setter(4, "drawn"),
      getter(5, "plain"),
      { id: 6, outputs: [port("MODEL", "MODEL")] },
      setter(7, "plain"),
    ],
    [
      [2, 0, 4, 0],
      [6, 0, 7, 0],
      [5, 0, 3, 0],
      [4, 0, 8, 0],
    ],
  );
  assert.notEqual(halfWired(other.draw, other.root), "wired_model");
});

test("nothing is said of a flow that goes on in a way of a pack's own", () => {
  const { root, draw } = drawn([setter(4, "drawn", "Broadcast")], [[2, 0, 4, 0]]);
  assert.equal(halfWired(draw, root), null);
});

test("a model that reaches nothing is still told of", () => {
  const reroute = { ...setter(4, "", "Reroute"), widgets: [] };
  for (const [between, rest] of [
    [[], []],
    [[reroute], [[2, 0, 4, 0]]],
  ]) {
    const { root, draw } = drawn(between, rest);
    assert.equal(halfWired(draw, root), "wired_prompts");
  }
});

test("a layout that goes by a name is followed to what is sampled through it", () => {
  const layout = { id: 1, outputs: [port("layout", "INSTANCE_LAYOUT")] };
  const draw = {
    id: 2,
    comfyClass: "IC_DrawRegions",
    inputs: [port("layout", "INSTANCE_LAYOUT")],
    outputs: [port("model", "MODEL")],
  };
  const sampler = { id: 3, inputs: [port("model", "MODEL")], outputs: [port("latent", "LATENT")] };
  const root = graphOf(
    [layout, draw, sampler, setter(4, "regions"), getter(5, "regions")],
    [
      [1, 0, 4, 0],
      [5, 0, 2, 0],
      [2, 0, 3, 0],
    ],
  );
  assert.deepEqual(adaptersAfter(layout, root), [draw]);
  assert.ok(sampledThrough(layout, root).has("3"));
  assert.ok(executionScope(layout, root)("3"), "its failure is told");
});

test("Draw Regions takes a layout alone until another node that places it does too", () => {
  const { root, layout } = drawn([], []);
  assert.equal(drawsRegionsAlone(layout, root), true);
  const adapter = { id: 4, comfyClass: "IC_ApplyIFAdapter", inputs: [port("layout", "INSTANCE_LAYOUT")] };
  const both = drawn([adapter], [[1, 0, 4, 0]]);
  assert.equal(drawsRegionsAlone(both.layout, both.root), false);
  const nowhere = { id: 1, outputs: [port("layout", "INSTANCE_LAYOUT")] };
  assert.equal(drawsRegionsAlone(nowhere, graphOf([nowhere], [])), false);
});
