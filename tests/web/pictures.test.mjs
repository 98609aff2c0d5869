/** Which picture lies under the regions. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Pictures } from "../../web/editor/pictures.mjs";
import { app } from "./comfyui.mjs";

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
