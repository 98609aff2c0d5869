/**
 * Instances with their shapes: what lies where on the canvas.
 * @typedef {import("./document.mjs").Instance} Instance
 */

import * as geometry from "./geometry.mjs";
import { contains, isEmpty, maskBounds, seenThrough } from "./mask.mjs";

/** The box around what counts: the mask's if there is a mask, else the box. @param {Instance} instance */
export const bounds = (instance) => (instance.mask === null ? instance.box : maskBounds(instance.mask));

/** Whether a point is on an instance. @param {Instance} instance */
export function covers(instance, x, y) {
  return instance.mask === null ? geometry.contains(instance.box, x, y) : contains(instance.mask, x, y);
}

/** The instances under a point, the front one first. @param {Instance[]} instances @returns {Instance[]} */
export const hits = (instances, x, y) => instances.filter((item) => covers(item, x, y)).reverse();

/**
 * The instances that a box touches.
 * @param {Instance[]} instances
 * @param {import("./document.mjs").Box} box
 * @returns {Instance[]}
 */
export const within = (instances, box) => instances.filter((item) => geometry.overlap(bounds(item), box));

/**
 * An instance moved and stretched as one box becomes another; its mask follows. One that would vanish stays
 * as it was.
 * @param {Instance} instance
 */
export function placed(instance, from, to) {
  const [box] = geometry.mapped([instance.box], from, to);
  if (instance.mask === null) return { ...instance, box: geometry.tidyBox(box) };
  const factors = [geometry.width(from) / geometry.width(to), geometry.height(from) / geometry.height(to)];
  const [left, top] = [0, 1].map((axis) => from[axis] - to[axis] * factors[axis]);
  const mask = seenThrough(instance.mask, [left, top, left + factors[0], top + factors[1]]);
  return isEmpty(mask) ? instance : withMask(instance, mask, box);
}

/**
 * An instance with a mask, its box around the mask; `missing` where the mask is empty.
 * @param {Instance} instance
 * @returns {Instance}
 */
export function withMask(instance, mask, missing = instance.box) {
  const shape = mask?.polygon ? { polygon: mask.polygon.map((point) => point.map(geometry.tidy)) } : mask;
  const around = shape === null ? null : geometry.clipped(maskBounds(shape));
  return { ...instance, mask: shape, box: geometry.tidyBox(around ?? missing) };
}

/**
 * Pixels of the canvas as a step of instances, in fractions: whole samples where a shape is painted, since it lies on
 * its raster and would stay where it is, or creep.
 * @param {Instance[]} instances
 * @param {{width: number, height: number}} canvas
 * @returns {[number, number]}
 */
export function stepOf(instances, canvas, right, down) {
  const sizes = instances.flatMap(({ mask }) => (mask?.rle ? [mask.rle.size] : []));
  return geometry.nudge(canvas, right, down).map((by, axis) => {
    const samples = Math.min(...sizes.map((size) => size[1 - axis]));
    return sizes.length ? (Math.sign(by) * Math.ceil(Math.abs(by) * samples - 1e-9)) / samples : by;
  });
}
