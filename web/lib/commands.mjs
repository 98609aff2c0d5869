/**
 * What a person can do to a layout: pure functions from a state to a state.
 *
 * A locked instance stays where it is and is not removed; commands leave it out and say so.
 *
 * @typedef {import("./document.mjs").Layout} Layout
 * @typedef {import("./document.mjs").Instance} Instance
 * @typedef {import("./document.mjs").Box} Box
 * @typedef {import("./state.mjs").State} State
 * @typedef {import("./state.mjs").Result} Result
 */

import { createInstance, find, LARGEST_CANVAS, SMALLEST_CANVAS, strip } from "./document.mjs";
import * as geometry from "./geometry.mjs";
import { fault, isEmpty } from "./mask.mjs";
import { bounds, hits, placed, stepOf, withMask, within } from "./regions.mjs";
import { changeFree, createState, exchange, mapInstances, result, withInstances } from "./state.mjs";
import { templateBoxes } from "./templates.mjs";

const LEAST_SPAN = 0.01;

export { createState, mapInstances, result };

// Selection

/** @param {State} state @param {string[]} ids @returns {Result} */
export function select(state, ids) {
  const selection = ids.filter((id) => find(state.layout, id));
  const same =
    selection.length === state.selection.length && selection.every((id, at) => id === state.selection[at]);
  return result(same ? state : { ...state, selection });
}

/** @param {State} state @param {string} id */
export const toggle = (state, id) =>
  select(
    state,
    state.selection.includes(id) ? state.selection.filter((one) => one !== id) : [...state.selection, id],
  );

/** @param {State} state */
export const selectAll = (state) =>
  select(
    state,
    state.layout.instances.map((item) => item.id),
  );

/** @param {State} state */
export const clear = (state) => select(state, []);

/** Those that a box touches; locked ones are left alone. @param {State} state @param {Box} box */
export function selectWithin(state, box, { add: more = false } = {}) {
  const ids = within(state.layout.instances, box)
    .filter((item) => !item.locked)
    .map((item) => item.id);
  return select(state, [...new Set([...(more ? state.selection : []), ...ids])]);
}

/** The next (1) or previous (-1) instance in stacking order. @param {State} state @param {1 | -1} step */
export function cycle(state, step) {
  const ids = state.layout.instances.map((item) => item.id);
  if (ids.length === 0) return result(state);
  const at = ids.indexOf(state.selection.at(-1));
  return select(state, [
    ids[at < 0 ? (step > 0 ? 0 : ids.length - 1) : (at + step + ids.length) % ids.length],
  ]);
}

/** The next instance under a point, from the front to the back and round. @param {State} state */
export function cycleAt(state, x, y) {
  const ids = hits(state.layout.instances, x, y).map((item) => item.id);
  return ids.length
    ? select(state, [ids[(ids.indexOf(state.selection.at(-1)) + 1) % ids.length]])
    : result(state);
}

// Instances come and go

function freshId(layout) {
  let number = layout.instances.length + 1;
  while (find(layout, String(number))) number += 1;
  return String(number);
}

/** An id that is not taken: itself, or the first free of "-2", "-3", … @param {Set<string>} taken */
export function freeId(id, taken) {
  let name = id;
  for (let number = 2; taken.has(name); number += 1) name = `${id}-${number}`;
  return name;
}

/**
 * A new instance in front, selected.
 * @param {State} state
 * @param {Box} box
 * @param {Partial<Instance>} [fields]
 * @returns {Result}
 */
export function add(state, box, fields = {}) {
  const plain = createInstance(freshId(state.layout), geometry.tidyBox(box), fields);
  const item = plain.mask ? withMask(plain, plain.mask) : plain;
  return result(withInstances(state, [...state.layout.instances, item], [item.id]));
}

/**
 * Instances in front of all others, selected; taken ids are made free.
 * @param {State} state
 * @param {Instance[]} instances
 * @returns {Result}
 */
export function paste(state, instances) {
  if (instances.length === 0) return result(state);
  const taken = new Set(state.layout.instances.map((item) => item.id));
  const added = instances.map((item) => {
    const id = freeId(item.id || "1", taken);
    taken.add(id);
    return { ...item, id };
  });
  return result(
    withInstances(
      state,
      [...state.layout.instances, ...added],
      added.map((item) => item.id),
    ),
  );
}

/** Copies in front, a little to the right and down, not locked. @param {State} state @returns {Result} */
export function duplicate(state, ids = state.selection, [right, down] = [0.02, 0.02]) {
  const items = state.layout.instances.filter((item) => ids.includes(item.id));
  if (items.length === 0) return result(state, "refused.nothing_selected");
  const by = geometry.clampMove(geometry.union(items.map(bounds)), right, down);
  return paste(
    state,
    items.map((item) => ({ ...shifted(item, ...by), locked: false })),
  );
}

/** @param {State} state @returns {Result} */
export function remove(state, ids = state.selection) {
  return changeFree(state, ids, (free) => {
    const left = state.layout.instances.filter((item) => !free.includes(item));
    return withInstances(
      state,
      left,
      state.selection.filter((id) => left.some((item) => item.id === id)),
    );
  });
}

// Place and shape

const shifted = (item, dx, dy) => placed(item, geometry.WHOLE, geometry.moved(geometry.WHOLE, dx, dy));

const shiftedAll = (state, items, moves) =>
  exchange(state, new Map(items.map((item, index) => [item, shifted(item, ...moves[index])])));

/** Moved by fractions as a group, as far as the canvas allows. @param {State} state @returns {Result} */
export function move(state, dx, dy, ids = state.selection) {
  return changeFree(state, ids, (free) => {
    const by = geometry.clampMove(geometry.union(free.map(bounds)), dx, dy);
    return by.every((distance) => distance === 0)
      ? state
      : shiftedAll(
          state,
          free,
          free.map(() => by),
        );
  });
}

/** Moved by pixels of the canvas. @param {State} state @returns {Result} */
export function nudge(state, right, down, ids = state.selection) {
  const free = state.layout.instances.filter((item) => ids.includes(item.id) && !item.locked);
  return move(state, ...stepOf(free, state.layout.canvas, right, down), ids);
}

/**
 * One handle of the box around the selection dragged to a point.
 * @param {State} state
 * @param {geometry.Handle} handle
 * @param {{keepRatio?: boolean, aboutCentre?: boolean, least?: [number, number]}} [options]
 * @returns {Result}
 */
export function resize(state, handle, x, y, options = {}, ids = state.selection) {
  return changeFree(state, ids, (free) => {
    const from = geometry.union(free.map(bounds));
    const to = geometry.resizeBox(from, handle, x, y, options);
    if (to.every((value, index) => value === from[index])) return state;
    return exchange(state, new Map(free.map((item) => [item, placed(item, from, to)])));
  });
}

function arrange(state, ids, arranged) {
  return changeFree(state, ids, (free) => {
    const from = free.map(bounds);
    const moves = arranged(from).map((box, index) =>
      geometry.clampMove(from[index], box[0] - from[index][0], box[1] - from[index][1]),
    );
    return moves.flat().every((distance) => distance === 0) ? state : shiftedAll(state, free, moves);
  });
}

/** @param {State} state @param {"left"|"centre"|"right"|"top"|"middle"|"bottom"} edge @returns {Result} */
export const align = (state, edge, ids = state.selection) =>
  arrange(state, ids, (boxes) => geometry.aligned(boxes, edge));

/** @param {State} state @param {"x"|"y"} direction @returns {Result} */
export const distribute = (state, direction, ids = state.selection) =>
  arrange(state, ids, (boxes) => geometry.distributed(boxes, direction));

/**
 * A free-form shape in place of the box, or the box again (null).
 * @param {State} state
 * @param {string} id
 * @returns {Result}
 */
export function setMask(state, id, mask) {
  if (mask !== null && isEmpty(mask)) return result(state, "refused.mask_empty");
  return changeFree(state, [id], ([item]) => exchange(state, new Map([[item, withMask(item, mask)]])));
}

// Stacking

/** @param {State} state @param {"front"|"back"|"forward"|"backward"} where @returns {Result} */
export function reorder(state, where, ids = state.selection) {
  const items = [...state.layout.instances];
  const isChosen = (item) => ids.includes(item.id);
  if (!items.some(isChosen)) return result(state, "refused.nothing_selected");
  const up = where === "front" || where === "forward";
  if (where === "front" || where === "back") {
    items.sort((one, other) => (isChosen(one) - isChosen(other)) * (up ? 1 : -1));
  } else {
    if (up) items.reverse();
    for (let index = 1; index < items.length; index += 1) {
      if (isChosen(items[index]) && !isChosen(items[index - 1])) {
        [items[index - 1], items[index]] = [items[index], items[index - 1]];
      }
    }
    if (up) items.reverse();
  }
  return ordered(state, items);
}

function ordered(state, items) {
  return result(
    items.every((item, index) => item === state.layout.instances[index])
      ? state
      : withInstances(state, items),
  );
}

/**
 * To a place in the stacking order, 0 at the back.
 * @param {State} state
 * @param {string} id
 * @param {number} index
 * @returns {Result}
 */
export function moveTo(state, id, index) {
  const item = find(state.layout, id);
  if (!item) return result(state);
  const items = state.layout.instances.filter((other) => other !== item);
  items.splice(Math.max(0, index), 0, item);
  return ordered(state, items);
}

// Fields

/**
 * Fields of instances, except place and shape.
 * @param {State} state
 * @param {string[] | null} ids null: the selection
 * @param {Partial<Instance>} fields
 * @returns {Result}
 */
export function set(state, ids, fields) {
  const wanted = ids ?? state.selection;
  const { id: _id, box: _box, mask: _mask, ...kept } = fields;
  return result(
    mapInstances(state, (item) => {
      if (!wanted.includes(item.id)) return item;
      return Object.entries(kept).every(([key, value]) => item[key] === value) ? item : { ...item, ...kept };
    }),
  );
}

/**
 * Where in the run instances begin ("start") or cease ("end") to count; it stops a hundredth before the other end.
 * @param {State} state
 * @param {string[] | null} ids null: the selection
 * @param {"start" | "end"} end
 * @returns {Result}
 */
export function setSpan(state, ids, end, value) {
  const wanted = ids ?? state.selection;
  const stopped = (item) =>
    end === "start"
      ? Math.max(0, Math.min(value, item.end - LEAST_SPAN))
      : Math.min(1, Math.max(value, item.start + LEAST_SPAN));
  return result(
    mapInstances(state, (item) => {
      const at = Math.round(stopped(item) * 100) / 100;
      return !wanted.includes(item.id) || item[end] === at ? item : { ...item, [end]: at };
    }),
  );
}

/** Another id for an instance. @param {State} state @returns {Result} */
export function rename(state, id, name) {
  if (name === id) return result(state);
  if (strip(name) === "") return result(state, "refused.id_empty");
  if (find(state.layout, name)) return result(state, "refused.id_taken", { id: name });
  const next = mapInstances(state, (item) => (item.id === id ? { ...item, id: name } : item));
  return result({ ...next, selection: state.selection.map((one) => (one === id ? name : one)) });
}

/**
 * The whole picture's prompt and negative.
 * @param {State} state
 * @param {{prompt?: string, negative?: string}} fields
 * @returns {Result}
 */
export function setPrompt(state, { prompt = state.layout.prompt, negative = state.layout.negative }) {
  if (prompt === state.layout.prompt && negative === state.layout.negative) return result(state);
  return result({ ...state, layout: { ...state.layout, prompt, negative } });
}

/**
 * Another canvas size; regions keep their fractions, or else their pixels from the top left.
 * @param {State} state
 * @returns {Result}
 */
export function setCanvas(state, width, height, { keepPixels = false } = {}) {
  const fits = (side) => Number.isInteger(side) && side >= SMALLEST_CANVAS && side <= LARGEST_CANVAS;
  if (!fits(width) || !fits(height)) {
    return result(state, "refused.canvas", { low: SMALLEST_CANVAS, high: LARGEST_CANVAS });
  }
  const { canvas } = state.layout;
  if (canvas.width === width && canvas.height === height) return result(state);
  const resized = { ...state, layout: { ...state.layout, canvas: { ...canvas, width, height } } };
  const whole = [0, 0, canvas.width / width, canvas.height / height];
  return result(keepPixels ? mapInstances(resized, (item) => keptInPixels(item, whole)) : resized);
}

/**
 * An instance at its pixels where `whole` is the old canvas on the new one. A box is cut at the edge, a shape comes back
 * to it, and so does a box of which nothing would be left: nothing is lost because a canvas became smaller. An outline
 * that would reach farther off the canvas than it may keeps its fractions.
 */
function keptInPixels(item, whole) {
  const seen = (item.mask && geometry.clipped(bounds(item))) ?? bounds(item);
  const [around] = geometry.mapped([seen], geometry.WHOLE, whole);
  const back = geometry.clampMove(around, 0, 0);
  if (item.mask) {
    const kept = placed(item, geometry.WHOLE, geometry.moved(whole, ...back));
    return fault(kept.mask) ? item : kept;
  }
  const brought = geometry.moved(around, ...back);
  const box = geometry.clipped(around) ?? geometry.clipped(brought) ?? brought;
  return { ...item, box: geometry.tidyBox(box) };
}

// Whole layouts

/**
 * Boxes of a template for the instances that are not locked, from the back; more boxes become new instances.
 * @param {State} state
 * @param {string} name
 * @param {{rows?: number, columns?: number}} [options]
 * @returns {Result}
 */
export function applyTemplate(state, name, options = {}) {
  const boxes = [...templateBoxes(name, options)];
  const taken = mapInstances(state, (item) =>
    item.locked || boxes.length === 0 ? item : { ...item, mask: null, box: boxes.shift() },
  );
  return boxes.reduce((before, box) => add(before.state, box), result({ ...taken, selection: [] }));
}

/**
 * Instances of another layout in front of ours; its prompts fill ours where they are empty.
 * @param {State} state
 * @param {Layout} layout
 * @returns {Result}
 */
export function append(state, layout) {
  const { prompt, negative } = state.layout;
  const filled = setPrompt(state, { prompt: prompt || layout.prompt, negative: negative || layout.negative });
  return paste(filled.state, layout.instances);
}
