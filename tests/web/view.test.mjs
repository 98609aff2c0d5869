/** The canvas on the stage: what zooming does, however small its steps are. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { View } from "../../web/editor/view.mjs";

test("a slow pinch leaves the fitted view in both directions", () => {
  for (const factor of [1.004, 1 / 1.004]) {
    const view = new View();
    for (let step = 0; step < 60; step += 1) view.zoomBy(factor);
    assert.ok(Math.abs(view.zoom - factor ** 60) < 1e-9, String(view.zoom));
  }
});

test("zooming in and out again ends at exactly the fitted size", () => {
  const view = new View();
  for (const factor of [1.25, 1.25, 0.8, 0.79]) view.zoomBy(factor);
  assert.equal(view.zoom, 1);
});

test("a pinch keeps what is under the fingers there", () => {
  const view = new View();
  view.stage = [600, 600];
  const rest = [300, 300];
  let [finger, under] = [[400, 300], view.toCanvas([400, 300])];
  for (let step = 1; step <= 100; step += 1) {
    view.pinch(finger, [400 + step, 300], rest);
    finger = [400 + step, 300];
  }
  assert.ok(Math.abs(view.zoom - 2) < 1e-9, String(view.zoom));
  assert.ok(Math.hypot(...view.toStage(under).map((side, axis) => side - finger[axis])) < 1e-6);
});
