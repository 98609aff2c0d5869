/** What entries of the menus do. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Menus } from "../../web/editor/menus.mjs";
import * as commands from "../../web/lib/commands.mjs";
import { createInstance, createLayout } from "../../web/lib/document.mjs";
import { createTranslator } from "../../web/lib/i18n.mjs";
import { fromRaster, maskBounds, outlines } from "../../web/lib/mask.mjs";
import { readJson } from "./support.mjs";

const t = createTranslator({ en: readJson("locales/en/main.json") }, "en");

/** A square of samples with others left out of it or added. */
function painted(side, ...boxes) {
  const pixels = new Uint8Array(side * side);
  for (const [x0, y0, x1, y1, value] of boxes)
    for (let y = y0; y < y1; y += 1) pixels.fill(value, y * side + x0, y * side + x1);
  return fromRaster(pixels, side, side);
}

/** The outline of an instance made corners: its new mask and what is said. */
function outlined(mask, fields = {}) {
  const instance = createInstance("1", maskBounds(mask), { mask, ...fields });
  const state = commands.createState(createLayout(1024, 1024, { instances: [instance] }), ["1"]);
  const said = [];
  let result = null;
  const editor = {
    t,
    selected: [instance],
    run: (name, ...args) => (result = commands[name](state, ...args)),
    say: (text, isShown) => said.push([text, isShown]),
  };
  new Menus(editor).toPolygon();
  return { mask: result.state.layout.instances[0].mask, said };
}

test("an outline takes one part, and says how many others it leaves out", () => {
  const large = [4, 4, 26, 26, 1];
  const small = [40, 40, 50, 50, 1];
  const whole = outlined(painted(64, large));
  assert.deepEqual(whole.said, []);
  const parts = painted(64, small, large);
  const traced = structuredClone(outlines(parts));
  const one = outlined(parts);
  assert.deepEqual(one.mask, whole.mask, "the largest is kept");
  const [[text, isShown]] = one.said;
  assert.match(text, /1 more part or hole is left out/);
  assert.equal(isShown, true);
  assert.deepEqual(outlines(parts), traced, "the outlines stay as they were");
  const two = outlined(painted(64, small, large, [10, 10, 14, 14, 0]));
  assert.match(two.said[0][0], /2 more parts or holes are left out/);
});

test("of a locked shape nothing is said to be left out", () => {
  const parts = painted(64, [4, 4, 26, 26, 1], [40, 40, 50, 50, 1]);
  assert.deepEqual(outlined(parts, { locked: true }).said, []);
});

test("a menu whose parts come late does not open over what was opened since", async () => {
  for (const moved of [true, false]) {
    const element = () => ({ setAttribute() {}, append() {}, addEventListener() {} });
    globalThis.document = { activeElement: "stage", createElement: element, createElementNS: element };
    const part = { formats: [] };
    const exchange = {
      importExport: async () => {
        if (moved) document.activeElement = "sheet";
        return part;
      },
    };
    const menus = new Menus({ t: (code) => code, layout: { instances: [] }, exchange });
    let shown = 0;
    Object.assign(menus, { show: () => (shown += 1), item: () => null, title: () => null });
    await menus.openExchange(null);
    assert.equal(shown, moved ? 0 : 1);
  }
  delete globalThis.document;
});

test("every picture of the runs can be chosen, those of the node that ran last first", () => {
  const entries = [];
  const menus = Object.create(Menus.prototype);
  menus.item = (label, action) => entries.push([label, action]);
  globalThis.document = { createElement: () => ({ append() {} }) };
  const chosen = [];
  const results = [
    { id: "7", node: { title: "Preview" }, files: Array(40).fill({}) },
    { id: "9", node: { title: "Upscaled" }, files: Array(8).fill({}) },
  ];
  menus.editor = {
    t,
    pictures: { choose() {} },
    host: { chosenResult: null, results, chooseResult: (choice) => chosen.push(choice) },
  };
  menus.results();
  delete globalThis.document;
  for (const [, action] of entries) action();
  const places = (node, count) => Array.from({ length: count }, (_, index) => ({ node, index }));
  assert.deepEqual(chosen, [null, ...places("9", 8), ...places("7", 40)]);
});
