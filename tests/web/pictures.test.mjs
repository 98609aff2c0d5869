/** Which picture lies under the regions. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Pictures } from "../../web/editor/pictures.mjs";
import { api, app, graphOf } from "./comfyui.mjs";

const { NodePictures } = await import("../../web/editor/comfyui_pictures.mjs");

/** The pictures of an editor without a page; `kept` is what it keeps as settings of the person. */
function pictures(picture = "auto") {
  const kept = {};
  const editor = {
    settings: { picture },
    host: { keepPicture: async () => true },
    setSetting(name, value) {
      kept[name] = value;
      this.settings = { ...this.settings, [name]: value };
    },
  };
  const made = Object.assign(Object.create(Pictures.prototype), {
    editor,
    images: { preview: null, result: null, reference: null },
    opened: false,
    render() {},
  });
  return { made, kept };
}

test("a picture that is opened is seen at once, in its editor, until a run brings another", async () => {
  globalThis.createImageBitmap = async (file) => file;
  for (const setting of ["auto", "result", "none"]) {
    const { made, kept } = pictures(setting);
    made.set("result", "earlier result");
    await made.useFile("photo");
    assert.equal(made.shown, "photo", setting);
    assert.deepEqual(kept, {}, "other editors go on as they were set");
  }
  const { made } = pictures();
  await made.useFile("photo");
  made.set("preview", "preview");
  made.set("result", "result");
  made.set("preview", null);
  assert.equal(made.shown, "result");
  await made.useFile("photo again");
  made.set("reference", null);
  assert.equal(made.shown, "result", "taken away");
  await made.useFile("third photo");
  made.choose("none");
  assert.equal(made.shown, null);
});

test("whoever wants to see references sees the results where there is none", () => {
  const { made } = pictures("reference");
  made.set("result", "result");
  assert.equal(made.shown, "result");
  made.set("reference", "photo");
  assert.equal(made.shown, "photo");
});

/** The reference of a node to which a Load Image is linked: what is asked of the server, what is shown. */
function referenced() {
  const asked = [];
  const shown = [];
  const chosen = { name: "image", value: "one.png" };
  const gone = new Set();
  globalThis.Image = class {
    decode() {
      asked.push(new URLSearchParams(this.src.split("?")[1]).get("filename"));
      return gone.has(asked.at(-1)) ? Promise.reject(new Error("404")) : Promise.resolve();
    }
  };
  app.nodeOutputs = {};
  const origin = { id: 2, graph: { isRootGraph: true }, widgets: [chosen] };
  const node = { inputs: [{ name: "image" }], isInputConnected: () => true, getInputNode: () => origin };
  const set = (_kind, image) => shown.push(image && asked.at(-1));
  const made = new NodePictures({ node, editor: { pictures: { set } } });
  return { made, asked, shown, chosen, gone };
}

const settled = () => new Promise((done) => setTimeout(done));

test("a reference that could not be had is asked for again", async () => {
  const { made, asked, shown, gone } = referenced();
  gone.add("one.png");
  await made.showReference();
  gone.clear();
  await made.showReference();
  await made.showReference();
  assert.deepEqual(asked, ["one.png", "one.png"]);
  assert.deepEqual(shown, ["one.png"]);
});

test("another picture that is chosen in the linked node is shown, one that is gone not asked for at every change", async () => {
  const { made, asked, shown, chosen, gone } = referenced();
  await made.showReference();
  chosen.value = "two.png";
  made.checkReference();
  await settled();
  assert.deepEqual(shown, ["one.png", "two.png"]);
  gone.add("three.png");
  chosen.value = "three.png";
  for (let change = 0; change < 3; change += 1) {
    made.checkReference();
    await settled();
  }
  assert.deepEqual(asked, ["one.png", "two.png", "three.png"]);
  chosen.value = "two.png";
  made.checkReference();
  await settled();
  assert.equal(shown.at(-1), "two.png");
});

test("what a run told of stays while the graph is changed elsewhere", async () => {
  const { made, shown } = referenced();
  await made.showReference();
  await made.showReference({ filename: "scaled.png" });
  made.checkReference();
  await settled();
  assert.deepEqual(shown, ["one.png", "scaled.png"]);
});

test("the linked picture is shown again once the opened one is taken away", async () => {
  const { made, asked, shown } = referenced();
  made.node.properties = {};
  made.mount.commit = () => {};
  await made.showReference();
  api.fetchApi = async () => ({ ok: true, json: async () => ({ name: "photo.png", type: "input" }) });
  await made.keepPicture(new Blob(["x"]));
  made.forgetPicture();
  await settled();
  assert.deepEqual(asked, ["one.png", "one.png"]);
  assert.deepEqual(shown, ["one.png", null, "one.png"]);
});

const port = (type) => ({ type, name: type });
const HEAT = { instance: "1", filename: "heat.png", type: "temp" };

/** A layout, a sampler that has it, a Show Attention Maps, and a layout that only gives the latent its width. */
function heated() {
  globalThis.Image = class {
    naturalWidth = 1024;
    naturalHeight = 1024;
    decode() {
      return Promise.resolve();
    }
  };
  const outputs = [port("INSTANCE_LAYOUT"), port("INT")];
  const [layout, other] = [1, 2].map((id) => ({
    id,
    comfyClass: "IC_InstanceLayout",
    outputs,
    properties: {},
  }));
  const latent = { id: 3, inputs: [port("INT")], outputs: [port("LATENT")] };
  const sampler = {
    id: 4,
    inputs: [port("LATENT"), port("INSTANCE_LAYOUT")],
    outputs: [port("LATENT")],
  };
  const show = {
    id: 5,
    comfyClass: "IC_ShowAttentionMaps",
    inputs: [port("LATENT"), port("INSTANCE_LAYOUT")],
    outputs: [port("IMAGE")],
  };
  const preview = { id: 6, inputs: [port("LATENT")], outputs: [] };
  app.rootGraph = graphOf(
    [layout, other, latent, sampler, show, preview],
    [
      [2, 1, 3, 0],
      [3, 0, 4, 0],
      [1, 0, 4, 1],
      [4, 0, 5, 0],
      [1, 0, 5, 1],
      [4, 0, 6, 0],
    ],
  );
  app.nodeOutputs = {};
  const editing = (node) => {
    const pictures = {
      heats: new Map(),
      setHeats: (heats) => (pictures.heats = heats),
      set() {},
      progress() {},
    };
    const editor = { pictures, layout: { canvas: { width: 1024, height: 1024 } } };
    const made = new NodePictures({ node, isAlive: true, editor, commit() {} });
    return { made, heats: () => [...pictures.heats.keys()] };
  };
  return { layout, other, show, editing };
}

/** A run that brings the outputs by node. */
async function run(made, ...brought) {
  made.startRun();
  for (const [id, output] of brought) {
    app.nodeOutputs[id] = output;
    made.result(id, output);
    await settled();
  }
  made.endRun();
  await settled();
}

const picture = () => ["6", { images: [{ filename: "picture.png" }] }];
const heat = () => ["5", { instance_heat_maps: [HEAT] }];

test("heat lies over the regions of the layout that its node has, not of one that gives the size", async () => {
  const { layout, other, editing } = heated();
  const [own, foreign] = [editing(layout), editing(other)];
  for (const { made } of [own, foreign]) await run(made, heat(), picture());
  assert.deepEqual([own.heats(), foreign.heats()], [["1"], []]);
});

test("heat is that of the picture of its run", async () => {
  const { layout, show, editing } = heated();
  const { made, heats } = editing(layout);
  await run(made, picture(), heat());
  assert.deepEqual(heats(), ["1"]);
  await run(made, heat(), picture());
  assert.deepEqual(heats(), ["1"]);
  await run(made);
  assert.deepEqual(heats(), ["1"], "a run of something else");
  await run(made, picture());
  assert.deepEqual(heats(), []);
  await run(made, heat());
  show.mode = 2;
  await run(made);
  assert.deepEqual(heats(), [], "its node is off");
});

test("heat comes back with the workflow, unless its node is off", async () => {
  const { layout, show, editing } = heated();
  await run(editing(layout).made, picture(), heat());
  const again = editing(layout);
  await again.made.showResult();
  await settled();
  assert.deepEqual(again.heats(), ["1"]);
  show.mode = 2;
  const off = editing(layout);
  await off.made.showResult();
  await settled();
  assert.deepEqual(off.heats(), []);
});

test("what came with the workflow leaves a picture that is opened, what a run brings does not", async () => {
  const { layout, editing } = heated();
  const { made } = editing(layout);
  const told = [];
  made.pictures.set = (kind, image, isNew) => image && told.push([kind, isNew]);
  await run(made, picture());
  made.last = null;
  await made.showResult();
  assert.deepEqual(told, [
    ["result", true],
    ["result", false],
  ]);
});
