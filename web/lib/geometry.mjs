/**
 * Boxes in fractions of the canvas: hit testing, resizing, snapping, arranging. Nothing here knows the page.
 *
 * @typedef {import("./document.mjs").Box} Box
 * @typedef {"nw" | "n" | "ne" | "e" | "se" | "s" | "sw" | "w"} Handle
 * @typedef {{at: number, kind: "edge" | "centre" | "guide" | "canvas", id?: string}} SnapLine
 * @typedef {{axis: "x" | "y", at: number, from: number, to: number, kind: string}} Guide a line to draw: at
 *   `at` on its axis, from `from` to `to` on the other
 */

export const WHOLE = Object.freeze([0, 0, 1, 1]);
export const HANDLES = Object.freeze(["nw", "n", "ne", "e", "se", "s", "sw", "w"]);

export const width = (box) => box[2] - box[0];
export const height = (box) => box[3] - box[1];
export const area = (box) => width(box) * height(box);
export const centre = (box) => [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
export const contains = (box, x, y) => box[0] <= x && x <= box[2] && box[1] <= y && y <= box[3];
export const encloses = (outer, inner) =>
  outer[0] <= inner[0] && outer[1] <= inner[1] && inner[2] <= outer[2] && inner[3] <= outer[3];
export const overlap = (one, other) =>
  Math.max(one[0], other[0]) < Math.min(one[2], other[2]) &&
  Math.max(one[1], other[1]) < Math.min(one[3], other[3]);

const limit = (value, low, high) => Math.min(high, Math.max(low, value));

/** The part on the canvas, null when there is none. @param {Box} box @returns {Box | null} */
export function clipped(box) {
  const part = box.map((value) => limit(value, 0, 1));
  return width(part) > 0 && height(part) > 0 ? part : null;
}

/** The box around boxes, null around none. @param {Box[]} boxes @returns {Box | null} */
export function union(boxes) {
  if (boxes.length === 0) return null;
  return [0, 1, 2, 3].map((side) => Math[side < 2 ? "min" : "max"](...boxes.map((box) => box[side])));
}

/** A fraction fine enough for a pixel of the largest canvas, and short as text. */
export const tidy = (value) => Math.round(value * 1e5) / 1e5 + 0;
/** @param {Box} box @returns {Box} */
export const tidyBox = (box) => box.map(tidy);

/** Left, top, width, height in pixels. @param {Box} box @param {{width: number, height: number}} canvas */
export const toPixels = (box, canvas) => [
  box[0] * canvas.width,
  box[1] * canvas.height,
  width(box) * canvas.width,
  height(box) * canvas.height,
];

/** From left, top, width, height in pixels. @returns {Box} */
export const fromPixels = ([x, y, w, h], canvas) => [
  x / canvas.width,
  y / canvas.height,
  (x + w) / canvas.width,
  (y + h) / canvas.height,
];

/** Moved by fractions. @param {Box} box @returns {Box} */
export const moved = (box, dx, dy) => [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy];

/** The nearest move [dx, dy] that keeps a box on the canvas; a larger box may cover it. @param {Box} box */
export function clampMove(box, dx, dy) {
  const one = (low, high, distance) => limit(distance, Math.min(-low, 1 - high), Math.max(-low, 1 - high));
  return [one(box[0], box[2], dx), one(box[1], box[3], dy)];
}

/** A move [dx, dy] in fractions for a nudge in pixels. */
export const nudge = (canvas, right, down) => [right / canvas.width, down / canvas.height];

/**
 * The handle under a point, null for none; `reach` is half the size of a handle [x, y].
 * @returns {Handle | null}
 */
export function handleAt(box, x, y, reach) {
  const near = HANDLES.filter((handle) => {
    const [hx, hy] = handlePoint(box, handle);
    return Math.abs(x - hx) <= reach[0] && Math.abs(y - hy) <= reach[1];
  });
  // On small boxes handles overlap: the corners are the more useful ones.
  return near.sort((one, other) => other.length - one.length)[0] ?? null;
}

/** Where a handle sits. @param {Box} box @param {Handle} handle @returns {[number, number]} */
export function handlePoint(box, handle) {
  const [cx, cy] = centre(box);
  return [
    handle.includes("w") ? box[0] : handle.includes("e") ? box[2] : cx,
    handle.includes("n") ? box[1] : handle.includes("s") ? box[3] : cy,
  ];
}

/**
 * The box drawn from one point to another.
 * @param {[number, number]} from @param {[number, number]} to
 * @param {{ratio?: number, fromCentre?: boolean}} [options] `ratio`: width over height in fractions (a
 *   square is canvas height / canvas width)
 * @returns {Box}
 */
export function drawBox(from, to, { ratio, fromCentre = false } = {}) {
  let [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  if (ratio) {
    const size = Math.max(Math.abs(dx), Math.abs(dy) * ratio);
    [dx, dy] = [size * (dx < 0 ? -1 : 1), (size / ratio) * (dy < 0 ? -1 : 1)];
  }
  const start = fromCentre ? [from[0] - dx, from[1] - dy] : from;
  const end = [from[0] + dx, from[1] + dy];
  return [
    Math.min(start[0], end[0]),
    Math.min(start[1], end[1]),
    Math.max(start[0], end[0]),
    Math.max(start[1], end[1]),
  ];
}

/**
 * A box with one handle dragged to a point; it never turns over and stays on the canvas. A ratio is kept where a box
 * of the least size or more has room with it: one without width or height has none.
 * @param {Box} box @param {Handle} handle @param {number} x @param {number} y
 * @param {{keepRatio?: boolean, aboutCentre?: boolean, least?: [number, number]}} [options] `least`:
 *   smallest width and height in fractions
 * @returns {Box}
 */
export function resizeBox(
  box,
  handle,
  x,
  y,
  { keepRatio = false, aboutCentre = false, least = [0.01, 0.01] } = {},
) {
  const across = span(box[0], box[2], side(handle, "w", "e"), x, least[0], aboutCentre);
  const down = span(box[1], box[3], side(handle, "n", "s"), y, least[1], aboutCentre);
  const free = [across[0], down[0], across[1], down[1]];
  return (keepRatio && withRatio(box, handle, [width(free), height(free)], aboutCentre, least)) || free;
}

/** -1 for the first edge, 1 for the second, 0 for neither. */
const side = (handle, first, second) => (handle.includes(first) ? -1 : handle.includes(second) ? 1 : 0);

function span(low, high, which, to, least, aboutCentre) {
  if (which === 0) return [low, high];
  const middle = (low + high) / 2;
  if (aboutCentre) {
    const half = limit((to - middle) * which, least / 2, Math.max(least, room(low, high, 0)) / 2);
    return [middle - half, middle + half];
  }
  return which < 0
    ? [limit(to, Math.min(0, low), high - least), high]
    : [low, limit(to, low + least, Math.max(1, high))];
}

function withRatio(box, handle, size, aboutCentre, least) {
  const [w, h] = [width(box), height(box)];
  const factors = [size[0] / w, size[1] / h];
  const wanted = handle.length === 2 ? Math.max(...factors) : factors[side(handle, "w", "e") ? 0 : 1];
  const rooms = [0, 1].map((axis) => {
    const which = axis === 0 ? side(handle, "w", "e") : side(handle, "n", "s");
    return room(box[axis], box[axis + 2], aboutCentre ? 0 : which) / (axis === 0 ? w : h);
  });
  const [low, high] = [Math.max(least[0] / w, least[1] / h), Math.min(...rooms)];
  if (!(low <= high && high < Infinity)) return null;
  const factor = limit(wanted, low, high);
  const [x0, x1] = stretched(box[0], box[2], aboutCentre ? 0 : side(handle, "w", "e"), factor);
  const [y0, y1] = stretched(box[1], box[3], aboutCentre ? 0 : side(handle, "n", "s"), factor);
  return [x0, y0, x1, y1];
}

/** How long a span may become on the canvas when one end, or its middle, stays. */
function room(low, high, which) {
  if (which > 0) return Math.max(1, high) - low;
  if (which < 0) return high - Math.min(0, low);
  const middle = (low + high) / 2;
  return Math.max(high - low, 2 * Math.min(middle, 1 - middle));
}

function stretched(low, high, which, factor) {
  const length = (high - low) * factor;
  if (which > 0) return [low, low + length];
  if (which < 0) return [high - length, high];
  return [(low + high - length) / 2, (low + high + length) / 2];
}

/**
 * The boxes as they lie when the box around them becomes another one. What has no width or height gets the whole of it.
 * @param {Box[]} boxes
 * @param {Box} from
 * @param {Box} to
 * @returns {Box[]}
 */
export function mapped(boxes, from, to) {
  const place = (value, side) => {
    const axis = side % 2;
    const size = from[axis + 2] - from[axis];
    return size === 0 ? to[side] : to[axis] + ((value - from[axis]) / size) * (to[axis + 2] - to[axis]);
  };
  return boxes.map((box) => box.map(place));
}

/**
 * The lines that a box may snap to.
 * @param {{id: string, box: Box}[]} others regions that stay where they are
 * @param {{guides?: number[], canvas?: boolean, regions?: boolean}} [options] `guides`: lines of composition
 * @returns {{x: SnapLine[], y: SnapLine[]}}
 */
export function snapLines(others, { guides = [], canvas = true, regions = true } = {}) {
  const one = (axis) => [
    ...(canvas ? [0, 0.5, 1].map((at) => ({ at, kind: "canvas" })) : []),
    ...guides.map((at) => ({ at, kind: "guide" })),
    ...(regions
      ? others.flatMap(({ id, box }) => [
          { at: box[axis], kind: "edge", id, box },
          { at: box[axis + 2], kind: "edge", id, box },
          { at: (box[axis] + box[axis + 2]) / 2, kind: "centre", id, box },
        ])
      : []),
  ];
  return { x: one(0), y: one(1) };
}

/**
 * How far to shift a box (or one of its handles) so that it meets the nearest line.
 * @param {Box} box @param {{x: SnapLine[], y: SnapLine[]}} lines @param {[number, number]} reach fractions
 * @param {{handle?: Handle | null, grid?: [number, number] | null}} [options] `handle`: only the edges it
 *   moves count; `grid`: cell in fractions, used where no line is near
 * @returns {{delta: [number, number], guides: Guide[]}}
 */
export function snap(box, lines, reach, { handle = null, grid = null } = {}) {
  const delta = [0, 0];
  const found = [[], []];
  for (const axis of [0, 1]) {
    const values = movingValues(box, axis, handle);
    const near = lines[axis ? "y" : "x"].flatMap((line) =>
      values.map((value) => ({ line, by: line.at - value })),
    );
    const best = Math.min(...near.map(({ by }) => Math.abs(by)));
    if (best <= reach[axis]) {
      delta[axis] = near.find(({ by }) => Math.abs(by) === best).by;
      found[axis] = near.filter(({ by }) => Math.abs(by - delta[axis]) < 1e-9).map(({ line }) => line);
    } else if (grid && values.length > 0) {
      delta[axis] = gridShift(values, grid[axis]);
    }
  }
  const shown = moved(box, ...delta);
  return { delta, guides: [0, 1].flatMap((axis) => guides(found[axis], axis, shown)) };
}

function movingValues(box, axis, handle) {
  if (handle === null) return [box[axis], box[axis + 2], (box[axis] + box[axis + 2]) / 2];
  const which = side(handle, axis ? "n" : "w", axis ? "s" : "e");
  return which === 0 ? [] : [box[which < 0 ? axis : axis + 2]];
}

function gridShift(values, cell) {
  return Math.round(values[0] / cell) * cell - values[0];
}

function guides(lines, axis, box) {
  const places = new Map();
  for (const line of lines) {
    const reach = line.box ? union([box, line.box]) : line.kind === "edge" ? box : WHOLE;
    const [from, to] = [reach[1 - axis], reach[3 - axis]];
    const before = places.get(line.at);
    places.set(line.at, {
      axis: axis ? "y" : "x",
      at: line.at,
      from: Math.min(from, before?.from ?? from),
      to: Math.max(to, before?.to ?? to),
      kind: before?.kind ?? line.kind,
    });
  }
  return [...places.values()];
}

/**
 * Boxes lined up with the box around them.
 * @param {Box[]} boxes
 * @param {"left"|"centre"|"right"|"top"|"middle"|"bottom"} edge
 * @returns {Box[]}
 */
export function aligned(boxes, edge) {
  const around = union(boxes);
  const axis = ["left", "centre", "right"].includes(edge) ? 0 : 1;
  const share = { left: 0, top: 0, centre: 0.5, middle: 0.5, right: 1, bottom: 1 }[edge];
  return boxes.map((box) => {
    const slack = around[axis + 2] - around[axis] - (box[axis + 2] - box[axis]);
    const by = around[axis] + share * slack - box[axis];
    return axis === 0 ? moved(box, by, 0) : moved(box, 0, by);
  });
}

/**
 * Boxes with equal gaps between the first and the last one, in the order they stand in.
 * @param {Box[]} boxes
 * @param {"x"|"y"} direction
 * @returns {Box[]}
 */
export function distributed(boxes, direction) {
  if (boxes.length < 3) return boxes;
  const axis = direction === "x" ? 0 : 1;
  const size = (box) => box[axis + 2] - box[axis];
  const middle = (index) => boxes[index][axis] + boxes[index][axis + 2];
  const order = boxes.map((_, index) => index).sort((one, other) => middle(one) - middle(other));
  const [first, last] = [boxes[order[0]], boxes[order.at(-1)]];
  const gap =
    (last[axis + 2] - first[axis] - boxes.reduce((sum, box) => sum + size(box), 0)) / (boxes.length - 1);
  const result = [...boxes];
  let at = first[axis];
  for (const index of order) {
    const by = at - boxes[index][axis];
    result[index] = axis === 0 ? moved(boxes[index], by, 0) : moved(boxes[index], 0, by);
    at += size(boxes[index]) + gap;
  }
  return result;
}
