/** Colours of instances. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { instanceColor, PALETTE } from "../../web/editor/colors.mjs";

test("a colour is its own where it is one, and nothing else gets into a style sheet", () => {
  assert.equal(instanceColor({ color: "#Ff0080" }, 3), "#Ff0080");
  for (const color of [null, "red", "#fff", "#ffffff;background:url(http://elsewhere/x)", "\n#ffffff"])
    assert.equal(instanceColor({ color }, 12), PALETTE[2], String(color));
});
