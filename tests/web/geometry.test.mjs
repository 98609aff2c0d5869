/** Properties of the geometry that every drag relies on. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as geometry from "../../web/lib/geometry.mjs";
import { between, forEachSeed, near, pick, randomBox } from "./support.mjs";

const { HANDLES, WHOLE, area, centre, encloses, height, width } = geometry;
const onCanvas = (box) => encloses([-1e-9, -1e-9, 1 + 1e-9, 1 + 1e-9], box);

test("a move ends on the canvas and goes as far as it can", () => {
  forEachSeed((random) => {
    const box = randomBox(random);
    const wanted = [between(random, -2, 2), between(random, -2, 2)];
    const by = geometry.clampMove(box, ...wanted);
    const to = geometry.moved(box, ...by);
    assert.ok(onCanvas(to));
    for (const axis of [0, 1]) {
      const atEdge = Math.min(Math.abs(to[axis]), Math.abs(1 - to[axis + 2])) < 1e-9;
      assert.ok(atEdge || Math.abs(by[axis] - wanted[axis]) < 1e-9);
    }
  });
});

test("a box outside the canvas comes back by a move of nothing", () => {
  const box = [1.2, -0.5, 1.4, -0.2];
  assert.ok(onCanvas(geometry.moved(box, ...geometry.clampMove(box, 0, 0))));
});

test("resizing keeps the other edges, stays on the canvas and never turns the box over", () => {
  forEachSeed((random) => {
    const box = randomBox(random, 0.05);
    const handle = pick(random, HANDLES);
    const to = geometry.resizeBox(box, handle, between(random, -0.5, 1.5), between(random, -0.5, 1.5), {
      least: [0.02, 0.03],
    });
    assert.ok(onCanvas(to));
    assert.ok(width(to) >= 0.02 - 1e-9 && height(to) >= 0.03 - 1e-9);
    const kept = { w: 2, e: 0, n: 3, s: 1 };
    for (const [letter, index] of Object.entries(kept))
      if (handle.includes(letter)) assert.equal(to[index], box[index]);
    if (handle === "n" || handle === "s") assert.deepEqual([to[0], to[2]], [box[0], box[2]]);
  }, 500);
});

test("resizing meets the pointer where the canvas and the least size allow it", () => {
  const box = [0.2, 0.2, 0.6, 0.6];
  assert.deepEqual(geometry.resizeBox(box, "se", 0.9, 0.7), [0.2, 0.2, 0.9, 0.7]);
  assert.deepEqual(geometry.resizeBox(box, "nw", 0.1, 0.3), [0.1, 0.3, 0.6, 0.6]);
  assert.deepEqual(geometry.resizeBox(box, "w", 0.9, 0.3), [0.59, 0.2, 0.6, 0.6]);
});

test("a kept ratio is kept, a kept centre too", () => {
  forEachSeed((random) => {
    const box = randomBox(random, 0.1);
    const options = { keepRatio: random() < 0.6, aboutCentre: random() < 0.5, least: [0.01, 0.01] };
    const to = geometry.resizeBox(box, pick(random, HANDLES), random(), random(), options);
    assert.ok(onCanvas(to), `${box} → ${to}`);
    if (options.keepRatio) assert.ok(Math.abs(width(to) / height(to) - width(box) / height(box)) < 1e-6);
    if (options.aboutCentre) assert.ok(near(centre(to), centre(box), 1e-9));
  }, 500);
});

test("a drawn box has the two points in its corners, whichever comes first", () => {
  forEachSeed((random) => {
    const [from, to] = [
      [random(), random()],
      [random(), random()],
    ];
    assert.deepEqual(geometry.drawBox(from, to), geometry.drawBox(to, from));
    const square = geometry.drawBox(from, to, { ratio: 0.5 });
    assert.ok(Math.abs(width(square) / height(square) - 0.5) < 1e-6);
    assert.ok(near(centre(geometry.drawBox(from, to, { fromCentre: true })), from, 1e-9));
  });
});

test("handles are found where they sit, corners first", () => {
  const box = [0.2, 0.3, 0.6, 0.9];
  for (const handle of HANDLES)
    assert.equal(geometry.handleAt(box, ...geometry.handlePoint(box, handle), [0.01, 0.01]), handle);
  assert.equal(geometry.handleAt(box, 0.4, 0.6, [0.01, 0.01]), null);
  assert.equal(geometry.handleAt([0.5, 0.5, 0.51, 0.51], 0.5, 0.5, [0.02, 0.02]).length, 2);
});

test("group resizing keeps places within the group", () => {
  forEachSeed((random) => {
    const boxes = [randomBox(random), randomBox(random), randomBox(random)];
    const [from, to] = [geometry.union(boxes), randomBox(random)];
    const there = geometry.mapped(boxes, from, to);
    assert.ok(near(geometry.union(there), to, 1e-9));
    geometry.mapped(there, to, from).forEach((box, index) => assert.ok(near(box, boxes[index], 1e-6)));
  });
});

test("snapping lands exactly on the nearest line in reach, and says which", () => {
  const lines = geometry.snapLines([{ id: "b", box: [0.55, 0.4, 0.8, 0.8] }]);
  const { delta, guides } = geometry.snap([0.1, 0.1, 0.54, 0.3], lines, [0.02, 0.02]);
  assert.ok(near(delta, [0.01, 0], 1e-9));
  assert.deepEqual(guides, [{ axis: "x", at: 0.55, from: 0.1, to: 0.8, kind: "edge" }]);
  const far = geometry.snap([0.1, 0.1, 0.4, 0.23], lines, [0.001, 0.001]);
  assert.deepEqual(far, { delta: [0, 0], guides: [] });
});

test("a snapped shift is never longer than the reach, and a handle moves only its edges", () => {
  forEachSeed((random) => {
    const lines = geometry.snapLines([
      { id: "b", box: randomBox(random) },
      { id: "c", box: randomBox(random) },
    ]);
    const [box, handle] = [randomBox(random), pick(random, [null, ...HANDLES])];
    const { delta, guides } = geometry.snap(box, lines, [0.03, 0.02], { handle });
    assert.ok(Math.abs(delta[0]) <= 0.03 && Math.abs(delta[1]) <= 0.02);
    if (handle === "n" || handle === "s") assert.equal(delta[0], 0);
    const shown = geometry.moved(box, ...delta);
    for (const guide of guides) {
      const axis = guide.axis === "x" ? 0 : 1;
      const values = [shown[axis], shown[axis + 2], (shown[axis] + shown[axis + 2]) / 2];
      assert.ok(values.some((value) => Math.abs(value - guide.at) < 1e-9));
    }
  });
});

test("the grid serves where no line is near", () => {
  const { delta } = geometry.snap([0.11, 0.13, 0.3, 0.3], { x: [], y: [] }, [0.01, 0.01], {
    grid: [0.125, 0.125],
  });
  assert.ok(near(delta, [0.015, -0.005], 1e-9));
});

test("aligning and distributing keep sizes and what they promise", () => {
  forEachSeed((random) => {
    const boxes = Array.from({ length: 4 }, () => randomBox(random));
    const edges = { left: 0, top: 1, right: 2, bottom: 3 };
    for (const [edge, index] of Object.entries(edges)) {
      const done = geometry.aligned(boxes, edge);
      assert.ok(done.every((box) => Math.abs(box[index] - geometry.union(boxes)[index]) < 1e-9));
      done.forEach((box, at) => assert.ok(Math.abs(area(box) - area(boxes[at])) < 1e-9));
    }
    const middle = geometry.aligned(boxes, "middle").map((box) => centre(box)[1]);
    assert.ok(middle.every((value) => Math.abs(value - middle[0]) < 1e-9));
    const spread = geometry.distributed(boxes, "x").sort((one, other) => centre(one)[0] - centre(other)[0]);
    const gaps = spread.slice(1).map((box, at) => box[0] - spread[at][2]);
    const order = boxes
      .map((_, at) => at)
      .sort((one, other) => centre(boxes[one])[0] - centre(boxes[other])[0]);
    const total =
      boxes[order.at(-1)][2] - boxes[order[0]][0] - boxes.reduce((sum, box) => sum + width(box), 0);
    if (total > 0) assert.ok(gaps.every((gap) => Math.abs(gap - total / 3) < 1e-9));
  });
});

test("pixels there and back", () => {
  forEachSeed((random) => {
    const [box, canvas] = [randomBox(random), { width: 1152, height: 896 }];
    assert.ok(near(geometry.fromPixels(geometry.toPixels(box, canvas), canvas), box, 1e-9));
    assert.ok(near(geometry.tidyBox(box), box, 5.1e-6));
  });
  assert.equal(geometry.clipped([1, 0, 2, 1]), null);
  assert.deepEqual(geometry.clipped([-1, -1, 2, 2]), [...WHOLE]);
});
