/**
 * Free-form regions over the whole canvas: polygons and COCO run-lengths.
 *
 * @typedef {import("./document.mjs").Mask} Mask
 * @typedef {import("./document.mjs").RunLength} RunLength
 * @typedef {import("./document.mjs").Box} Box
 */

import { HIGHEST, LONGEST_MASK_SIDE, LOWEST, MOST_POINTS } from "./document.mjs";
import { WHOLE } from "./geometry.mjs";

// A quarter of the picture is finer than the cells of a latent; 512 keeps a document small.
const SHRINK = 4;
const LONGEST_WORKING_SIDE = 512;

/**
 * Why a mask cannot be used, null when it can.
 * @param {Mask} mask
 * @returns {{code: string, params: object} | null}
 */
export function fault(mask) {
  if (mask.polygon) {
    const count = mask.polygon.length;
    if (count < 3 || count > MOST_POINTS)
      return { code: "problem.mask_points", params: { count, most: MOST_POINTS } };
    const off = mask.polygon.some((point) => point.some((value) => !(LOWEST <= value && value <= HIGHEST)));
    return off ? { code: "problem.mask_off", params: {} } : null;
  }
  const {
    size: [height, width],
    counts,
  } = mask.rle;
  const sides = [height, width].every((side) => side >= 1 && side <= LONGEST_MASK_SIDE);
  if (!sides) return { code: "problem.mask_size", params: { height, width, most: LONGEST_MASK_SIDE } };
  const sum = counts.reduce((total, count) => total + count, 0);
  if (sum === height * width && counts.every((count) => count >= 0)) return null;
  return { code: "problem.mask_counts", params: { sum, needed: height * width } };
}

/** Whether nothing is inside. @param {Mask} mask */
export function isEmpty(mask) {
  if (!mask.polygon) return !mask.rle.counts.some((count, index) => index % 2 && count);
  if (2 * outlineArea(mask.polygon) > 1e-12) return false;
  // The loops of a crossing outline may cancel out, so look at the inside itself.
  return mask.polygon.length < 3 || !raster(mask, 64, 64).includes(1);
}

/** What an outline encloses (Meister 1769, the shoelace formula), its loops in both directions against each other. */
export const outlineArea = (points) =>
  Math.abs(edges(points).reduce((sum, [[xa, ya], [xb, yb]]) => sum + (xa * yb - xb * ya), 0)) / 2;

const edges = (points) => points.map((point, index) => [point, points[(index + 1) % points.length]]);

/** The smallest box around what is inside; of no size when nothing is. @param {Mask} mask @returns {Box} */
export function maskBounds(mask) {
  if (mask.polygon) {
    let box = [Infinity, Infinity, -Infinity, -Infinity];
    for (const [x, y] of mask.polygon) {
      box = [Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x), Math.max(box[3], y)];
    }
    return mask.polygon.length ? box : [0, 0, 0, 0];
  }
  const [height, width] = mask.rle.size;
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (const [start, end] of runs(mask.rle)) {
    const [first, last] = [Math.floor(start / height), Math.floor((end - 1) / height)];
    [left, right] = [Math.min(left, first), Math.max(right, last + 1)];
    top = first === last ? Math.min(top, start % height) : 0;
    bottom = first === last ? Math.max(bottom, ((end - 1) % height) + 1) : height;
  }
  return right === 0 ? [0, 0, 0, 0] : [left / width, top / height, right / width, bottom / height];
}

/** Start and end of every run of ones that is not empty. */
function* runs({ counts }) {
  let at = 0;
  for (let index = 0; index < counts.length; index += 1) {
    if (index % 2 && counts[index] > 0) yield [at, at + counts[index]];
    at += counts[index];
  }
}

/** Whether a point is inside. @param {Mask} mask */
export function contains(mask, x, y) {
  if (mask.polygon) {
    const crossed = edges(mask.polygon).filter(
      ([[xa, ya], [xb, yb]]) => ya > y !== yb > y && x < xa + ((y - ya) * (xb - xa)) / (yb - ya),
    );
    return crossed.length % 2 === 1;
  }
  const [height, width] = mask.rle.size;
  const [column, row] = [Math.floor(x * width), Math.floor(y * height)];
  if (column < 0 || column >= width || row < 0 || row >= height) return false;
  const at = column * height + row;
  for (const [start, end] of runs(mask.rle)) if (start <= at && at < end) return true;
  return false;
}

/**
 * Row-major 0/1 of a polygon (centre of the pixel inside) or a run-length (nearest sample).
 * @param {Mask} mask
 * @returns {Uint8Array}
 */
export function raster(mask, width, height) {
  return mask.polygon ? fill(mask.polygon, width, height) : sample(mask.rle, WHOLE, width, height);
}

function fill(points, width, height) {
  const pixels = new Uint8Array(width * height);
  crossings(points, height).forEach((found, row) => {
    found.sort((one, other) => one - other);
    for (let index = 0; index + 1 < found.length; index += 2) {
      // A centre on an edge belongs to the shape on its right, so that neighbours tile.
      const [start, end] = [found[index], found[index + 1]].map((value) =>
        Math.min(width, Math.max(0, Math.ceil(value * width - 0.5))),
      );
      pixels.fill(1, row * width + start, row * width + end);
    }
  });
  return pixels;
}

/** Where an outline crosses the centre line of each row. */
function crossings(points, height) {
  const rows = Array.from({ length: height }, () => []);
  for (const [[xa, ya], [xb, yb]] of edges(points)) {
    if (ya === yb) continue;
    const first = Math.max(0, Math.ceil(Math.min(ya, yb) * height - 0.5));
    const last = Math.min(height, Math.ceil(Math.max(ya, yb) * height - 0.5));
    for (let row = first; row < last; row += 1) {
      rows[row].push(xa + (((row + 0.5) / height - ya) * (xb - xa)) / (yb - ya));
    }
  }
  return rows;
}

/** Nearest samples of a window on a run-length, zero outside. */
function sample({ size: [rows, columns], counts }, window, width, height) {
  const pixels = new Uint8Array(width * height);
  const wanted = Array.from({ length: columns }, () => []);
  sources(window[0], window[2], width, columns).forEach((column, x) => column >= 0 && wanted[column].push(x));
  const lines = Array.from({ length: rows }, () => []);
  sources(window[1], window[3], height, rows).forEach((row, y) => row >= 0 && lines[row].push(y));
  for (const [start, end] of runs({ counts })) {
    for (let column = Math.floor(start / rows); column * rows < end; column += 1) {
      if (wanted[column].length === 0) continue;
      const last = Math.min(rows, end - column * rows);
      for (let row = Math.max(0, start - column * rows); row < last; row += 1) {
        for (const y of lines[row]) for (const x of wanted[column]) pixels[y * width + x] = 1;
      }
    }
  }
  return pixels;
}

/** For each of `count` pixel centres between two fractions, the source pixel under it, -1 outside. */
function sources(start, end, count, size) {
  return Array.from({ length: count }, (_, index) => {
    const value = start + ((index + 0.5) / count) * (end - start);
    return value >= 0 && value < 1 ? Math.min(size - 1, Math.floor(value * size)) : -1;
  });
}

/** From row-major 0/1. @param {Uint8Array} pixels @returns {RunLength} */
export function fromRaster(pixels, width, height) {
  const counts = [];
  let [value, count] = [0, 0];
  for (let column = 0; column < width; column += 1) {
    for (let row = 0; row < height; row += 1) {
      if (pixels[row * width + column] !== value) {
        counts.push(count);
        [value, count] = [1 - value, 0];
      }
      count += 1;
    }
  }
  return { rle: { size: [height, width], counts: [...counts, count] } };
}

/**
 * A mask as it lies when the part `window` (fractions) of the canvas is shown as the whole canvas. What
 * becomes smaller gets a finer raster, so that its shape survives.
 * @param {Mask} mask @param {Box} window @returns {Mask}
 */
export function seenThrough(mask, window) {
  const scales = [0, 1].map((axis) => window[axis + 2] - window[axis]);
  if (mask.polygon) {
    return {
      polygon: mask.polygon.map((point) => point.map((value, axis) => (value - window[axis]) / scales[axis])),
    };
  }
  const [height, width] = [1, 0].map((axis) => {
    const side = mask.rle.size[1 - axis];
    return Math.max(side, Math.min(LONGEST_WORKING_SIDE, Math.ceil(side * scales[axis] - 1e-6)));
  });
  return fromRaster(sample(mask.rle, window, width, height), width, height);
}

/** Size of the raster to paint on. @param {{width: number, height: number}} canvas */
export function workingSize(canvas) {
  const shrink = Math.max(SHRINK, Math.max(canvas.width, canvas.height) / LONGEST_WORKING_SIDE);
  const side = (pixels) => Math.max(1, Math.round(pixels / shrink));
  return { width: side(canvas.width), height: side(canvas.height) };
}

/**
 * Paint a round brush along points (fractions of the canvas) into a raster, in place.
 * @param {Uint8Array} pixels row-major, of `size` @param {{width: number, height: number}} size
 * @param {{width: number, height: number}} canvas @param {[number, number][]} points
 * @param {number} radius pixels of the canvas @param {0 | 1} [value] 0 erases
 */
export function paint(pixels, size, canvas, points, radius, value = 1) {
  const cell = [canvas.width / size.width, canvas.height / size.height];
  const places = points.map(([x, y]) => [x * canvas.width, y * canvas.height]);
  places.forEach((to, index) => {
    const from = places[Math.max(0, index - 1)];
    const [left, top] = [0, 1].map((axis) =>
      Math.max(0, Math.floor((Math.min(from[axis], to[axis]) - radius) / cell[axis])),
    );
    const right = Math.min(size.width - 1, Math.floor((Math.max(from[0], to[0]) + radius) / cell[0]));
    const bottom = Math.min(size.height - 1, Math.floor((Math.max(from[1], to[1]) + radius) / cell[1]));
    for (let y = top; y <= bottom; y += 1) {
      for (let x = left; x <= right; x += 1) {
        const middle = [(x + 0.5) * cell[0], (y + 0.5) * cell[1]];
        if (distance(middle, from, to) <= radius) pixels[y * size.width + x] = value;
      }
    }
  });
}

/** From a point to a segment. */
function distance([x, y], [xa, ya], [xb, yb]) {
  const [dx, dy] = [xb - xa, yb - ya];
  const length = dx * dx + dy * dy;
  const share = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - xa) * dx + (y - ya) * dy) / length));
  return Math.hypot(x - xa - share * dx, y - ya - share * dy);
}

/**
 * A closed outline with fewer points, none farther off than `tolerance` (Ramer 1972, Douglas and Peucker
 * 1973).
 * @param {[number, number][]} points
 * @param {number} tolerance
 */
export function simplify(points, tolerance) {
  if (points.length <= 3) return points;
  // A closed outline has no ends: the first point and the one farthest from it serve.
  const away = farthest(points, 0, points.length, (point) =>
    Math.hypot(point[0] - points[0][0], point[1] - points[0][1]),
  );
  const closed = [...points, points[0]];
  const keep = new Set([0, away.index]);
  const open = [
    [0, away.index],
    [away.index, points.length],
  ];
  while (open.length > 0) {
    const [start, end] = open.pop();
    const { index, far } = farthest(closed, start + 1, end, (point) =>
      distance(point, closed[start], closed[end]),
    );
    if (far > tolerance) {
      keep.add(index);
      open.push([start, index], [index, end]);
    }
  }
  const kept = points.filter((_, index) => keep.has(index));
  return kept.length >= 3 ? kept : points;
}

function farthest(points, start, end, measure) {
  let [index, far] = [start, -1];
  for (let place = start; place < end; place += 1) {
    const value = measure(points[place]);
    if (value > far) [index, far] = [place, value];
  }
  return { index, far };
}

const traced = new WeakMap(); // documents are not changed in place, so a mask is traced once

/**
 * The outlines of a mask, holes included, as loops of points in fractions.
 * @param {Mask} mask
 * @returns {[number, number][][]}
 */
export function outlines(mask) {
  if (mask.polygon) return [mask.polygon];
  if (!traced.has(mask)) traced.set(mask, trace(mask));
  return traced.get(mask);
}

function trace(mask) {
  const [height, width] = mask.rle.size.map((side) => Math.min(side, LONGEST_WORKING_SIDE));
  const pixels = raster(mask, width, height);
  const ways = borders(pixels, width, height);
  const loops = [];
  ways.forEach((_, start) => {
    while (ways[start]) loops.push(walk(ways, start, width + 1));
  });
  return loops.map((loop) =>
    loop.map((corner) => [(corner % (width + 1)) / width, Math.floor(corner / (width + 1)) / height]),
  );
}

/**
 * At each corner of the grid, a bit for every way (right, down, left, up) on which the border leaves it, the
 * inside on the right.
 */
function borders(pixels, width, height) {
  const ways = new Uint8Array((width + 1) * (height + 1));
  const inside = (x, y) => x >= 0 && x < width && y >= 0 && y < height && pixels[y * width + x] === 1;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (!inside(x, y)) continue;
      const corner = y * (width + 1) + x;
      if (!inside(x, y - 1)) ways[corner] |= 1;
      if (!inside(x + 1, y)) ways[corner + 1] |= 2;
      if (!inside(x, y + 1)) ways[corner + width + 2] |= 4;
      if (!inside(x - 1, y)) ways[corner + width + 1] |= 8;
    }
  }
  return ways;
}

/** Follow the border from a corner back to it, taking its ways away; only corners where it turns. */
function walk(ways, start, stride) {
  const steps = [1, stride, -1, -stride];
  const loop = [];
  let [corner, before] = [start, -1];
  do {
    // Turning right first keeps parts that touch at a corner apart.
    const turns = before < 0 ? [0, 1, 2, 3] : [1, 0, 3].map((turn) => (before + turn) % 4);
    const way = turns.find((turn) => ways[corner] & (1 << turn));
    ways[corner] &= ~(1 << way);
    if (way !== before) loop.push(corner);
    before = way;
    corner += steps[way];
  } while (corner !== start);
  return loop;
}

/** A mask as the "d" of an SVG path (fill-rule evenodd) in units of width × height. @param {Mask} mask */
export function svgPath(mask, width = 1, height = 1) {
  const digits = Math.max(width, height) > 10 ? 2 : 5;
  const text = (value) => String(Number(value.toFixed(digits)));
  return outlines(mask)
    .map((loop) => `M${loop.map(([x, y]) => `${text(x * width)} ${text(y * height)}`).join("L")}Z`)
    .join("");
}

/** The four corners of a box as a polygon. @param {Box} box */
export const boxPolygon = ([x0, y0, x1, y1]) => ({
  polygon: [
    [x0, y0],
    [x1, y0],
    [x1, y1],
    [x0, y1],
  ],
});
