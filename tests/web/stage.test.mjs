/** Drawing of regions: work is done once for what does not change. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Stage } from "../../web/editor/stage.mjs";
import { View } from "../../web/editor/view.mjs";
import { fromRaster } from "../../web/lib/mask.mjs";

test("moving the canvas keeps the outline of a painted shape, another size or shape does not", () => {
  const stage = Object.assign(Object.create(Stage.prototype), { view: new View() });
  stage.view.stage = [540, 540];
  const region = {};
  const masks = [1, 2].map((part) => fromRaster(Uint8Array.of(1, part - 1, 0, 1), 2, 2));
  const drawn = (mask) => stage.outlineOf(region, { mask }, [0, 0], [0, 0]);
  const first = drawn(masks[0]);
  const kept = region.painted;
  stage.view.panBy(20, 10);
  assert.equal(drawn(masks[0]), first);
  assert.equal(region.painted, kept);
  assert.notEqual(drawn(masks[1]), first);
  assert.equal(drawn(masks[0]), first);
  stage.view.zoomBy(2);
  assert.notEqual(drawn(masks[0]), first);
});
