/** Labels of crowded regions: readable, none over another one. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { placeLabels } from "../../web/lib/label_places.mjs";

const room = (x, y, width, height, chip = "1", words = "a red fox in the snow") => ({
  at: [x, y],
  size: [width, height],
  chip,
  words,
});
const letters = { size: 11, words: true };

test("a label alone stands in its region's corner, in as many lines as its words need", () => {
  const [wide] = placeLabels([room(10, 20, 300, 200)], letters);
  assert.deepEqual([wide.at, wide.lines], [[10, 20], 1]);
  const [narrow] = placeLabels([room(10, 20, 90, 200)], letters);
  assert.ok(narrow.lines > 1 && narrow.lines <= 6);
  assert.equal(placeLabels([room(0, 0, 30, 200)], letters)[0].lines, 0, "no room for words");
  assert.equal(placeLabels([room(0, 0, 300, 200)], { size: 11, words: false })[0].lines, 0);
  assert.ok(placeLabels([room(0, 0, 120, 200)], { size: 22, words: true })[0].lines > narrow.lines - 1);
});

test("no two labels of sixty crowded regions meet, and the first keeps its corner", () => {
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const rooms = Array.from({ length: 60 }, (_, at) =>
    room(random() * 300, random() * 300, 40 + random() * 200, 30 + random() * 200, String(at + 1)),
  );
  const places = placeLabels(rooms, letters);
  assert.deepEqual(places[0].at, rooms[0].at);
  const rects = places.filter(Boolean).flatMap(({ at: [x, y], lines, width }) => {
    const chip = [x, y, x + 20, y + 16];
    return lines > 1 ? [chip, [x + 26, y, x + width, y + lines * 15.95]] : [chip];
  });
  for (const [at, one] of rects.entries())
    for (const other of rects.slice(at + 1))
      assert.ok(one[0] >= other[2] || other[0] >= one[2] || one[1] >= other[3] || other[1] >= one[3]);
  const shown = places.filter(Boolean).length;
  assert.ok(shown >= 55, `${shown} of 60 are shown`);
});

test("where several regions are the same, each label has a place of its own", () => {
  const places = placeLabels(
    [room(0, 0, 200, 100), room(0, 0, 200, 100, "2"), room(0, 0, 200, 100, "3")],
    letters,
  );
  assert.equal(new Set(places.map(({ at }) => at.join())).size, 3);
});
