/** Undo and redo. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as history from "../../web/lib/history.mjs";
import { forEachSeed, integer, pick } from "./support.mjs";

test("undo walks back over every step, redo forward again", () => {
  forEachSeed((random) => {
    const states = Array.from({ length: integer(random, 1, 20) }, (_, index) => ({ index }));
    let now = history.createHistory({ index: -1 });
    for (const state of states) now = history.commit(now, state);
    const end = now;
    for (let index = states.length - 2; index >= -1; index -= 1) {
      now = history.undo(now);
      assert.equal(now.present.index, index);
    }
    assert.equal(history.canUndo(now), false);
    assert.equal(history.undo(now), now);
    while (history.canRedo(now)) now = history.redo(now);
    assert.equal(now.present, end.present);
    assert.deepEqual(now.past, end.past);
  }, 50);
});

test("a drag is one step, a pause ends a burst", () => {
  let now = history.createHistory("a");
  for (const [state, time] of [
    ["b", 0],
    ["c", 500],
    ["d", 1_400],
  ])
    now = history.commit(now, state, { key: "drag:1", time });
  assert.equal(history.undo(now).present, "a");
  now = history.commit(now, "e", { key: "drag:1", time: 9_000 });
  assert.equal(history.undo(now).present, "d");
});

test("another key, no key and settling start a step of their own", () => {
  const base = history.commit(history.createHistory("a"), "b", { key: "x", time: 1 });
  for (const next of [
    history.commit(base, "c", { key: "y", time: 2 }),
    history.commit(base, "c", { time: 2 }),
    history.commit(history.settle(base), "c", { key: "x", time: 2 }),
  ]) {
    assert.equal(history.undo(next).present, "b");
  }
  assert.equal(history.undo(history.commit(base, "c", { key: "x", time: 2 })).present, "a");
});

test("undoing ends a burst, so that what follows can be undone alone", () => {
  const undone = history.undo(history.commit(history.createHistory("a"), "b", { key: "x", time: 1 }));
  assert.equal(history.undo(history.commit(undone, "c", { key: "x", time: 2 })).present, "a");
});

test("a new step forgets what was undone; the same state is no step", () => {
  const undone = history.undo(history.commit(history.createHistory("a"), "b"));
  assert.equal(history.canRedo(history.commit(undone, "c")), false);
  assert.equal(history.commit(undone, "a"), undone);
  assert.equal(history.canRedo(history.replace(undone, "selected")), true);
});

test("old steps are forgotten beyond the limit", () => {
  let now = history.createHistory(0);
  for (let step = 1; step <= history.MOST_STEPS + 50; step += 1) now = history.commit(now, step);
  assert.equal(now.past.length, history.MOST_STEPS);
  assert.equal(
    pick(() => 0, now.past),
    50,
  );
});

test("a change of every state is no step", () => {
  const now = history.undo(history.commit(history.commit(history.createHistory(1), 2), 3));
  const changed = history.changed(now, (state) => state * 10);
  assert.deepEqual([changed.past, changed.present, changed.future], [[10], 20, [30]]);
});
