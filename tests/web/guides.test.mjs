import assert from "node:assert/strict";
import test from "node:test";
import { snap, snapLines } from "../../web/lib/geometry.mjs";
import { GUIDES, guideLines, nextGuides } from "../../web/lib/guides.mjs";

test("guides lie as far from the one side as from the other, and the golden ones divide so that parts relate alike", () => {
  for (const lines of Object.values(GUIDES))
    lines.forEach((at, index) => assert.ok(Math.abs(at + lines.at(-1 - index) - 1) < 1e-12));
  const [short, long] = GUIDES.golden;
  assert.ok(Math.abs(long / 1 - short / long) < 1e-12);
});

test("the key goes through all of them, and an unknown name has no lines", () => {
  const seen = [];
  for (let name = "none"; !seen.includes(name); name = nextGuides(name)) seen.push(name);
  assert.deepEqual(seen.sort(), Object.keys(GUIDES).sort());
  assert.deepEqual(guideLines("toString"), []);
});

test("boxes snap to the guides that are shown", () => {
  const lines = snapLines([], { guides: guideLines("golden") });
  const { delta, guides } = snap([0.37, 0.1, 0.47, 0.2], lines, [0.02, 0.02]);
  assert.ok(Math.abs(delta[0] - (GUIDES.golden[0] - 0.37)) < 1e-12);
  assert.equal(guides[0].kind, "guide");
});
