/** Commands: what they change, what they leave alone, what they refuse. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as commands from "../../web/lib/commands.mjs";
import { createInstance, createLayout, find, parse, serialise } from "../../web/lib/document.mjs";
import { area, centre, encloses, HANDLES, union } from "../../web/lib/geometry.mjs";
import { findProblems } from "../../web/lib/problems.mjs";
import { fromRaster } from "../../web/lib/mask.mjs";
import { bounds, stepOf } from "../../web/lib/regions.mjs";
import { TEMPLATES, templateBoxes } from "../../web/lib/templates.mjs";
import { between, forEachSeed, integer, near, pick, randomBox, randomLayout } from "./support.mjs";

const ids = (state) => state.layout.instances.map((item) => item.id);
const three = (fields = {}) =>
  commands.createState(
    createLayout(1000, 500, {
      instances: ["1", "2", "3"].map((id, index) =>
        createInstance(id, [0.1 * index, 0.1, 0.1 * index + 0.4, 0.5], {
          caption: `thing ${id}`,
          ...fields[id],
        }),
      ),
    }),
  );
const frozen = (value) => {
  if (value && typeof value === "object" && !Object.isFrozen(value) && !(value instanceof Map)) {
    Object.freeze(value);
    Object.values(value).forEach(frozen);
  }
  return value;
};

/** Every command, applied to a state with arbitrary arguments. */
const EVERY = {
  select: (state, random) => commands.select(state, [pick(random, ids(state)), "nobody"]),
  toggle: (state, random) => commands.toggle(state, pick(random, ids(state))),
  selectAll: (state) => commands.selectAll(state),
  clear: (state) => commands.clear(state),
  selectWithin: (state, random) => commands.selectWithin(state, randomBox(random), { add: random() < 0.5 }),
  cycle: (state, random) => commands.cycle(state, pick(random, [1, -1])),
  cycleAt: (state, random) => commands.cycleAt(state, random(), random()),
  add: (state, random) => commands.add(state, randomBox(random)),
  duplicate: (state) => commands.duplicate(state),
  move: (state, random) => commands.move(state, between(random, -1, 1), between(random, -1, 1)),
  nudge: (state, random) => commands.nudge(state, integer(random, -9, 9), integer(random, -9, 9)),
  resize: (state, random) => commands.resize(state, pick(random, ["nw", "e", "s"]), random(), random()),
  align: (state, random) => commands.align(state, pick(random, ["left", "middle", "bottom"])),
  distribute: (state, random) => commands.distribute(state, pick(random, ["x", "y"])),
  reorder: (state, random) => commands.reorder(state, pick(random, ["front", "back", "forward", "backward"])),
  moveTo: (state, random) => commands.moveTo(state, pick(random, ids(state)), integer(random, 0, 9)),
  set: (state, random) => commands.set(state, null, { strength: between(random, 0, 5) }),
  setSpan: (state, random) => commands.setSpan(state, null, pick(random, ["start", "end"]), random()),
  rename: (state, random) =>
    commands.rename(state, pick(random, ids(state)), pick(random, ["1", "new", " "])),
  setCanvas: (state, random) =>
    commands.setCanvas(state, integer(random, 200, 3000), integer(random, 200, 3000)),
  applyTemplate: (state, random) => commands.applyTemplate(state, pick(random, TEMPLATES).name),
};

test("any run of commands leaves a layout without errors, distinct ids, a true selection, and old states alone", () => {
  forEachSeed((random) => {
    let state = frozen(commands.createState(randomLayout(random, { masks: random() < 0.3 })));
    if (findProblems(state.layout).some(({ severity }) => severity === "error")) return;
    for (let step = 0; step < 12; step += 1) {
      const [name, command] = pick(random, Object.entries(EVERY));
      const next = command(state, random);
      assert.ok("refused" in next, name);
      state = frozen(next.state);
      const errors = findProblems(state.layout).filter(({ severity }) => severity === "error");
      assert.deepEqual(errors, [], name);
      assert.equal(new Set(ids(state)).size, ids(state).length);
      assert.ok(
        state.selection.every((id) => find(state.layout, id)),
        name,
      );
    }
    assert.ok(serialise(state.layout));
  }, 300);
});

test("locked instances stay where they are and are named", () => {
  forEachSeed((random) => {
    const before = commands.selectAll(three({ 2: { locked: true } })).state;
    for (const name of ["move", "nudge", "resize", "align", "distribute"]) {
      const { state, refused } = EVERY[name](before, random);
      assert.equal(find(state.layout, "2"), find(before.layout, "2"), name);
      assert.deepEqual(refused, { code: "refused.locked", params: { count: 1, names: "2" } });
    }
    assert.deepEqual(ids(commands.remove(before).state), ["2"]);
    assert.equal(commands.setMask(before, "2", null).state, before);
    assert.equal(find(commands.applyTemplate(before, "grid").state.layout, "2"), find(before.layout, "2"));
    assert.equal(find(commands.set(before, ["2"], { caption: "x" }).state.layout, "2").caption, "x");
  }, 10);
});

test("a group moves as one and stops at the edge", () => {
  forEachSeed((random) => {
    const before = commands.selectAll(three()).state;
    const { state } = commands.move(before, between(random, -1, 1), between(random, -1, 1));
    const shifts = state.layout.instances.map((item, at) =>
      item.box.map((value, side) => value - before.layout.instances[at].box[side]),
    );
    for (const shift of shifts)
      assert.ok(near(shift, [...shifts[0].slice(0, 2), ...shifts[0].slice(0, 2)], 2.1e-5));
    assert.ok(encloses([0, 0, 1, 1], union(state.layout.instances.map(bounds))));
  });
});

test("a mask moves and stretches with its box", () => {
  forEachSeed((random) => {
    const polygon = {
      polygon: [
        [0.1, 0.1],
        [0.4, 0.15],
        [0.2, 0.5],
      ],
    };
    const before = commands.add(commands.createState(), [0, 0, 1, 1], { mask: polygon }).state;
    assert.deepEqual(before.layout.instances[0].box, [0.1, 0.1, 0.4, 0.5]);
    const [x, y] = [between(random, 0.2, 1), between(random, 0.2, 1)];
    const { state } = commands.resize(before, "se", x, y);
    const [item] = state.layout.instances;
    assert.ok(near(bounds(item), item.box, 2e-5));
    assert.equal(item.mask.polygon.length, 3);
  }, 50);
  const rle = { rle: { size: [10, 10], counts: [22, 3, 75] } };
  const painted = commands.add(commands.createState(), [0, 0, 1, 1], { mask: rle }).state;
  const moved = commands.move(painted, 0.5, 0.2).state.layout.instances[0];
  assert.deepEqual(moved.mask.rle, { size: [10, 10], counts: [74, 3, 23] });
  assert.deepEqual(moved.box, [0.7, 0.4, 0.8, 0.7]);
});

test("a nudge is exact pixels of the canvas", () => {
  const before = commands.select(three(), ["1"]).state;
  const { state } = commands.nudge(before, 7, 3);
  assert.ok(near(state.layout.instances[0].box, [0.007, 0.106, 0.407, 0.506], 1e-9));
});

test("stacking: to the ends, by one, to a place", () => {
  const state = commands.select(three(), ["1"]).state;
  const after = (result) => ids(result.state).join("");
  assert.equal(after(commands.reorder(state, "front")), "231");
  assert.equal(after(commands.reorder(state, "forward")), "213");
  assert.equal(after(commands.reorder(state, "back")), "123");
  assert.equal(commands.reorder(state, "back").state, state);
  assert.equal(after(commands.reorder(state, "backward", ["3"])), "132");
  assert.equal(after(commands.reorder(state, "forward", ["1", "2"])), "312");
  assert.equal(after(commands.reorder(state, "back", ["2", "3"])), "231");
  assert.equal(after(commands.moveTo(state, "3", 0)), "312");
  assert.equal(after(commands.moveTo(state, "1", 99)), "231");
});

test("names are unique and not empty", () => {
  const state = commands.select(three(), ["1"]).state;
  assert.equal(commands.rename(state, "1", "2").refused.code, "refused.id_taken");
  assert.equal(commands.rename(state, "1", " ").refused.code, "refused.id_empty");
  const { state: renamed } = commands.rename(state, "1", "fox");
  assert.deepEqual([ids(renamed), renamed.selection], [["fox", "2", "3"], ["fox"]]);
});

test("copies have ids of their own, lie in front, are selected and free", () => {
  const before = commands.select(three({ 1: { locked: true } }), ["1", "2"]).state;
  const { state } = commands.duplicate(before);
  assert.deepEqual(ids(state), ["1", "2", "3", "1-2", "2-2"]);
  assert.deepEqual(state.selection, ["1-2", "2-2"]);
  assert.ok(!find(state.layout, "1-2").locked);
  assert.ok(
    near(
      centre(find(state.layout, "2-2").box),
      centre(find(before.layout, "2").box).map((value) => value + 0.02),
      1e-5,
    ),
  );
});

test("Tab goes round in stacking order, Alt-click down through the stack", () => {
  let state = three();
  const seen = [];
  for (let step = 0; step < 4; step += 1) {
    state = commands.cycle(state, 1).state;
    seen.push(state.selection.join());
  }
  assert.equal(seen.join(""), "1231");
  assert.deepEqual(commands.cycle(commands.clear(state).state, -1).state.selection, ["3"]);
  const stack = [];
  state = commands.clear(state).state;
  for (let step = 0; step < 4; step += 1) {
    state = commands.cycleAt(state, 0.25, 0.3).state;
    stack.push(state.selection.join());
  }
  assert.equal(stack.join(""), "3213");
});

test("the same object comes back when nothing changes", () => {
  const state = commands.select(three(), ["1"]).state;
  for (const { state: next } of [
    commands.select(state, ["1"]),
    commands.move(state, 0, 0),
    commands.set(state, null, { caption: "thing 1" }),
    commands.setCanvas(state, 1000, 500),
    commands.rename(state, "1", "1"),
    commands.setPrompt(state, {}),
    commands.moveTo(state, "1", 0),
    commands.remove(state, ["nobody"]),
    commands.resize(state, "se", 0.4, 0.5),
  ]) {
    assert.equal(next, state);
  }
});

test("place and shape are not fields", () => {
  const { state } = commands.set(three(), ["1"], { id: "x", box: [0, 0, 1, 1], color: "#00ff00" });
  assert.deepEqual(state.layout.instances[0].box, [0, 0.1, 0.4, 0.5]);
  assert.equal(state.layout.instances[0].color, "#00ff00");
  assert.equal(state.layout.instances[0].id, "1");
});

test("another canvas keeps fractions, or pixels", () => {
  const state = three();
  assert.equal(
    commands.setCanvas(state, 500, 1000).state.layout.instances[0].box,
    state.layout.instances[0].box,
  );
  const kept = commands.setCanvas(state, 2000, 1000, { keepPixels: true }).state.layout.instances[1].box;
  assert.ok(near(kept, [0.05, 0.05, 0.25, 0.25], 1e-5));
  const small = commands.setCanvas(state, 100, 16, { keepPixels: true }).state.layout;
  assert.equal(small.instances.length, 3);
  assert.ok(findProblems(small).every(({ severity }) => severity !== "error"));
  assert.equal(commands.setCanvas(state, 10, 500).refused.code, "refused.canvas");
  assert.equal(commands.setCanvas(state, 100.5, 500).refused.code, "refused.canvas");
});

test("a shape keeps its pixels on another canvas, or comes back to its edge whole", () => {
  const polygon = {
    polygon: [
      [0.7, 0.2],
      [0.9, 0.2],
      [0.8, 0.6],
    ],
  };
  const pixels = new Uint8Array(64 * 64);
  for (let row = 10; row < 30; row += 1) pixels.fill(1, row * 64 + 46, row * 64 + 58);
  for (const mask of [polygon, fromRaster(pixels, 64, 64)]) {
    const { state } = commands.add(commands.createState(createLayout(2048, 1024)), [0, 0, 1, 1], { mask });
    const inPixels = ({ layout }) => {
      const [item] = layout.instances;
      assert.ok(item.mask !== null);
      return bounds(item).map((side, at) => side * (at % 2 ? layout.canvas.height : layout.canvas.width));
    };
    const before = inPixels(state);
    for (const width of [4096, 1536, 1024]) {
      const back = Math.min(0, width - before[2]);
      const expected = [before[0] + back, before[1], before[2] + back, before[3]];
      const seen = inPixels(commands.setCanvas(state, width, 1024, { keepPixels: true }).state);
      assert.ok(near(seen, expected, 33), `${width}: ${seen}, not ${expected}`); // a sample of the 64 is 32 pixels
    }
  }
});

test("whatever is kept at its pixels has no errors afterwards", () => {
  forEachSeed((random) => {
    const state = commands.createState(randomLayout(random));
    if (findProblems(state.layout).some(({ severity }) => severity === "error")) return;
    const sides = [integer(random, 16, 4000), integer(random, 16, 4000)];
    const { layout } = commands.setCanvas(state, ...sides, { keepPixels: true }).state;
    layout.instances.forEach((item, at) =>
      assert.equal(item.mask === null, state.layout.instances[at].mask === null),
    );
    assert.deepEqual(
      findProblems(layout).filter(({ severity }) => severity === "error"),
      [],
    );
  });
});

test("whatever has no width or height gets some by a drag, and stays a document", () => {
  forEachSeed((random) => {
    const side = () => pick(random, [0, 1e-320, 1e-9, 0.01, random()]);
    const box = () => {
      const [x, y] = [pick(random, [0, 1, 0.3, random()]), random()];
      return [x, y, x + side(), y + side()];
    };
    const instances = ["1", "2"].slice(integer(random, 0, 1)).map((id) => createInstance(id, box()));
    const before = commands.selectAll(commands.createState(createLayout(1024, 512, { instances }))).state;
    const options = { keepRatio: random() < 0.5, aboutCentre: random() < 0.5, least: [8 / 1024, 8 / 512] };
    const place = [between(random, -1, 2), between(random, -1, 2)];
    const { state } = commands.resize(before, pick(random, HANDLES), ...place, options);
    for (const item of state.layout.instances) assert.ok(item.box.every(Number.isFinite), String(item.box));
    assert.deepEqual(parse(serialise(state.layout)), state.layout);
  }, 1000);
  for (const keepRatio of [true, false]) {
    const flat = createInstance("1", [0.3, 0.2, 0.3, 0.6]);
    const before = commands.createState(createLayout(1024, 1024, { instances: [flat] }), ["1"]);
    const { state } = commands.resize(before, "se", 0.6, 0.8, { keepRatio, least: [0.01, 0.01] });
    assert.deepEqual(state.layout.instances[0].box, [0.3, 0.2, 0.6, 0.8]);
  }
});

test("templates keep captions and lie on the canvas", () => {
  for (const { name } of TEMPLATES) {
    const boxes = templateBoxes(name);
    assert.ok(
      boxes.every((box) => encloses([0, 0, 1, 1], box) && area(box) > 0.01),
      name,
    );
    const { state } = commands.applyTemplate(three(), name);
    assert.deepEqual(
      state.layout.instances.slice(0, 3).map((item) => item.caption),
      ["thing 1", "thing 2", "thing 3"],
    );
    assert.equal(state.layout.instances.length, Math.max(3, boxes.length));
  }
  const grid = templateBoxes("grid", { rows: 3, columns: 4 });
  assert.equal(grid.length, 12);
  assert.ok(
    grid.every((box, at) =>
      grid.every(
        (other, index) =>
          index === at ||
          box[2] <= other[0] ||
          other[2] <= box[0] ||
          box[3] <= other[1] ||
          other[3] <= box[1],
      ),
    ),
  );
});

test("another layout is put in front with free ids, and its prompt fills an empty one", () => {
  const other = { ...three().layout, prompt: "a forest" };
  const { state } = commands.append(three(), other);
  assert.deepEqual(ids(state), ["1", "2", "3", "1-2", "2-2", "3-2"]);
  assert.equal(state.layout.prompt, "a forest");
});

test("each instance keeps the other end of its part of the run, and its start stays before its end", () => {
  const spans = (state) => state.layout.instances.map(({ start, end }) => [start, end]);
  const state = commands.selectAll(three({ 2: { start: 0.2, end: 0.4 }, 3: { start: 0.123, end: 0 } })).state;
  assert.deepEqual(spans(commands.setSpan(state, null, "start", 0.6).state), [
    [0.6, 1],
    [0.39, 0.4],
    [0, 0],
  ]);
  assert.deepEqual(spans(commands.setSpan(state, null, "end", 0.3).state), [
    [0, 0.3],
    [0.2, 0.3],
    [0.123, 0.3],
  ]);
  assert.equal(commands.setSpan(state, ["1"], "end", 1).state, state);
});

test("a nudge moves a painted shape by whole samples, there and back", () => {
  const pixels = new Uint8Array(50 * 25);
  for (let row = 10; row < 15; row += 1) pixels.fill(1, row * 50 + 20, row * 50 + 30);
  const mask = fromRaster(pixels, 50, 25); // a sample is 20 pixels wide and high
  const { state } = commands.add(three(), [0, 0, 1, 1], { mask });
  const bounded = (one) => bounds(find(one.layout, "4"));
  const right = commands.nudge(state, 1, 0).state;
  assert.ok(near(bounded(right), [0.42, 0.4, 0.62, 0.6], 1e-9));
  assert.ok(near(bounded(commands.nudge(right, -10, 30).state), [0.4, 0.48, 0.6, 0.68], 1e-9));
  let now = state;
  for (let step = 0; step < 9; step += 1)
    now = commands.nudge(commands.nudge(now, 30, 0).state, -30, 0).state;
  assert.deepEqual(bounded(now), bounded(state));
  // Without it a nudge is a pixel.
  assert.deepEqual(stepOf(state.layout.instances.slice(0, 3), state.layout.canvas, 1, -1), [
    1 / 1000,
    -1 / 500,
  ]);
});

test("instances that have the same id by mistake stay two", () => {
  const boxes = [
    [0, 0, 0.2, 0.2],
    [0.5, 0.5, 0.8, 0.8],
  ];
  const instances = boxes.map((box, index) => createInstance("1", box, { caption: `thing ${index}` }));
  const state = commands.createState(createLayout(1000, 500, { instances }), ["1"]);
  for (const command of [
    () => commands.move(state, 0.1, 0),
    () => commands.resize(state, "se", 0.9, 0.9),
    () => commands.align(state, "left"),
  ]) {
    const [first, second] = command().state.layout.instances;
    assert.deepEqual([first.caption, second.caption], ["thing 0", "thing 1"]);
    assert.notDeepEqual(first.box, second.box);
  }
});
