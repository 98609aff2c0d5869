/** A person's settings, kept in the browser by several editors at once. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { loadSettings, saveSetting } from "../../web/editor/settings.mjs";

const kept = new Map();
globalThis.localStorage = {
  getItem: (key) => kept.get(key) ?? null,
  setItem: (key, value) => kept.set(key, value),
};

test("what one editor sets is not taken back by another one that sets something else", () => {
  const [one, other] = [loadSettings(), loadSettings()];
  assert.deepEqual(one, other);
  saveSetting("snap", false);
  saveSetting("labelSize", 15);
  assert.deepEqual(loadSettings(), { ...one, snap: false, labelSize: 15 });
});

test("damaged storage gives the defaults and takes new settings", () => {
  const defaults = (kept.clear(), loadSettings());
  for (const text of ["{", "null", "7", '"text"']) {
    kept.forEach((_, key) => kept.set(key, text));
    saveSetting("grid", 32);
    assert.deepEqual(loadSettings(), { ...defaults, grid: 32 }, text);
  }
});
