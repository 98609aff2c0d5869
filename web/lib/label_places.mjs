// Where the labels of regions go: every number first, then words where they cover no number and no other words.

const LINE = 1.45; // of the size of the letters, as the style sheet has it
const MOST_LINES = 6;
const GAP = 4;
const INSET = 2;
const MOST_TRIED = 40; // places of a number before it is left out

/**
 * Places for labels, the most important first; an earlier one never yields to a later one.
 * @param {{at: [number, number], size: [number, number], chip: string, words: string}[]} rooms corner and size of
 *   each region in pixels, and what stands in its label
 * @param {{size: number, words: boolean}} letters their size in pixels, and whether the words are shown
 * @returns {({at: [number, number], width: number, lines: number} | null)[]} lines 0: the number alone; null: no room
 */
export function placeLabels(rooms, { size, words }) {
  const taken = []; // by numbers, then by words too
  const wanted = []; // one line of words beside each number: others go there last
  const rects = rooms.map(({ at: [x, y], size: [width, height] }) => [x, y, x + width, y + height]);
  const free = (rect, of = taken) => !of.some((other) => meet(rect, other));
  const chips = rooms.map((room, index) => {
    const [width, height] = chipSize(room.chip, size);
    let [chosen, quality] = [null, -1];
    for (const [x, y] of places(room, width, height)) {
      const rect = [x, y, x + width, y + height];
      if (!free(rect)) continue;
      // Better where it leaves words their room, best where no region in front lies.
      const found = free(rect, wanted) ? (free(rect, rects.slice(0, index)) ? 2 : 1) : 0;
      if (found > quality) [chosen, quality] = [rect, found];
      if (found === 2) break;
    }
    if (!chosen) return null;
    taken.push(chosen);
    const [x, y] = chosen;
    const [line] = words ? shapes(room.words, size, rects[index][2] - x - width, height).slice(-1) : [];
    if (line) wanted.push([x + width, y, x + width + line.width, y + line.height]);
    return [x, y];
  });
  return rooms.map((room, index) => {
    const at = chips[index];
    if (!at) return null;
    const [chip] = chipSize(room.chip, size);
    const left = rects[index][2] - at[0];
    const below = rects[index][3] - at[1];
    for (const { width, height, lines } of words ? shapes(room.words, size, left - chip, below) : []) {
      const rect = [at[0] + chip, at[1], at[0] + chip + width, at[1] + height];
      if (!free(rect)) continue;
      taken.push(rect);
      return { at, width: left, lines };
    }
    return { at, width: chip, lines: 0 };
  });
}

const meet = (one, other) => one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];

const chipSize = (chip, size) => [
  Math.max(1.6 * size, textWidth(chip, size) + 8) + GAP + INSET,
  size * LINE + 2 * INSET,
];

/** What the words may look like, the best first: all lines, one line. */
function shapes(words, size, room, below) {
  const inner = room - 2 * GAP - INSET;
  if (inner < 2.4 * size) return [];
  const text = textWidth(words, size);
  const most = Math.max(1, Math.min(MOST_LINES, Math.floor((below - GAP) / (size * LINE))));
  // Words that do not fit at the end of a line go to the next: a little more than the text alone.
  const lines = text <= inner ? 1 : Math.min(most, Math.ceil((1.15 * text) / inner));
  const shape = (count) => ({
    width: count === 1 ? Math.min(text, inner) + 2 * GAP + INSET : room,
    height: count * size * LINE + 2 * INSET,
    lines: count,
  });
  return lines > 1 ? [shape(lines), shape(1)] : [shape(1)];
}

/** The upper left corner, then other places inside the region, column by column. */
function* places({ at: [x, y], size: [width, height] }, wide, high) {
  yield [x, y];
  let tried = 0;
  for (let left = 0; left + wide <= width; left += wide) {
    for (let top = left ? 0 : high; top + high <= height; top += high) {
      yield [x + left, y + top];
      if ((tried += 1) > MOST_TRIED) return;
    }
  }
}

/** About the width of a text in the editor's letters; those of Chinese are as wide as high. */
function textWidth(text, size) {
  let width = 0;
  for (const sign of text) width += sign.codePointAt(0) > 0x2e7f ? 1 : 0.58;
  return width * size;
}
