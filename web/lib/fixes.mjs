/** One click out of every problem. @typedef {import("./commands.mjs").State} State */

import * as commands from "./commands.mjs";
import { isActive, LARGEST_CANVAS, SMALLEST_CANVAS, strip, STRONGEST } from "./document.mjs";
import * as geometry from "./geometry.mjs";
import { LEAST_SIDE, MOST_TRAINED_INSTANCES, SMALLEST_TRAINED_AREA } from "./problems.mjs";
import { bounds, placed, withMask } from "./regions.mjs";

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** The instance that a problem is about, changed; a lock does not stand in the way of what was asked for. */
const changing = (change) => (state, problem) =>
  commands.mapInstances(state, (item, index) =>
    index === problem.index ? change(item, state.layout.canvas) : item,
  );

const reshaped = (change) =>
  changing((item, canvas) => ({ ...item, box: geometry.tidyBox(change(item.box, canvas)) }));

/** Where a shape counts, it becomes larger itself. */
const stretched = (change) =>
  changing((item, canvas) =>
    geometry.clipped(bounds(item))
      ? placed(item, bounds(item), change(bounds(item), canvas))
      : { ...item, box: geometry.tidyBox(change(item.box, canvas)) },
  );

function enlarged(box) {
  // A little more than needed, so that rounding does not leave it short.
  const least = Math.sqrt(SMALLEST_TRAINED_AREA) * 1.01;
  const inside = box.map((value) => clamp(value, 0, 1));
  const [w, h] = [geometry.width(inside), geometry.height(inside)];
  const wide = clamp(w, least ** 2, 1);
  const high = clamp(h, least ** 2, 1);
  const factor = Math.max(1, Math.sqrt(least ** 2 / (wide * high)));
  const size = [Math.min(1, Math.max(wide * factor, least ** 2 / Math.min(1, high * factor))), 0];
  size[1] = Math.min(1, Math.max(high * factor, least ** 2 / size[0]));
  const [cx, cy] = geometry.centre(inside);
  const grown = [cx - size[0] / 2, cy - size[1] / 2, cx + size[0] / 2, cy + size[1] / 2];
  return geometry.moved(grown, ...geometry.clampMove(grown, 0, 0));
}

/** Both sides as long as a model sees them, about the same middle. */
function widened(box, canvas) {
  const inside = box.map((value) => clamp(value, 0, 1));
  const [w, h] = [canvas.width, canvas.height].map((side) => Math.min(1, LEAST_SIDE / side));
  const [wide, high] = [Math.max(geometry.width(inside), w), Math.max(geometry.height(inside), h)];
  const [cx, cy] = geometry.centre(inside);
  const grown = [cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2];
  return geometry.moved(grown, ...geometry.clampMove(grown, 0, 0));
}

function fromPixels([x0, y0, x1, y1], { width, height }) {
  const box = [x0 / width, y0 / height, x1 / width, y1 / height].map((value) => clamp(value, 0, 1));
  return sorted(box);
}

const sorted = ([x0, y0, x1, y1]) => [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];

function renewIds(state) {
  const taken = new Set(state.layout.instances.map((item) => item.id));
  const seen = new Set([""]);
  return commands.mapInstances(state, (item) => {
    const id = seen.has(item.id) ? commands.freeId(item.id || "1", taken) : item.id;
    taken.add(id);
    seen.add(id);
    return id === item.id ? item : { ...item, id };
  });
}

function clampCanvas(state) {
  const side = (pixels) => clamp(Math.round(pixels), SMALLEST_CANVAS, LARGEST_CANVAS);
  const { canvas } = state.layout;
  return {
    ...state,
    layout: {
      ...state.layout,
      canvas: { ...canvas, width: side(canvas.width), height: side(canvas.height) },
    },
  };
}

function disableSmallest(state) {
  const active = state.layout.instances.filter(isActive);
  const size = (item) => geometry.area(geometry.clipped(bounds(item)) ?? [0, 0, 0, 0]);
  const kept = new Set(active.sort((one, other) => size(other) - size(one)).slice(0, MOST_TRAINED_INSTANCES));
  return commands.mapInstances(state, (item) =>
    !isActive(item) || kept.has(item) ? item : { ...item, enabled: false },
  );
}

const addAt = (state, caption = "") => commands.add(state, [0.3, 0.3, 0.7, 0.7], { caption }).state;

const FIXES = {
  clamp_canvas: clampCanvas,
  renew_ids: renewIds,
  add_instance: (state) => addAt(state),
  add_words: (state, { params }) => addAt(state, params.words),
  join_captions: (state, { params }) => commands.setPrompt(state, { prompt: params.prompt }).state,
  enable_all: (state) =>
    commands.mapInstances(state, (item) => (item.enabled ? item : { ...item, enabled: true })),
  disable_smallest: disableSmallest,
  write_caption: (state) => state,
  write_prompt: (state) => state,
  clamp: changing((item) => ({
    ...item,
    strength: clamp(item.strength, 0, STRONGEST),
    start: clamp(item.start, 0, 1),
    end: clamp(item.end, 0, 1),
  })),
  whole_run: changing((item) => ({ ...item, start: 0, end: 1 })),
  automatic_color: changing((item) => ({ ...item, color: null })),
  read_as_pixels: reshaped(fromPixels),
  sort_edges: reshaped(sorted),
  enlarge: stretched(enlarged),
  widen: reshaped(widened),
  move_inside: reshaped((box) => geometry.moved(box, ...geometry.clampMove(box, 0, 0))),
  clip: reshaped((box) => geometry.clipped(box) ?? box),
  remove_mask: changing((item) => ({ ...item, mask: null })),
  fit_box: changing((item) => withMask(item, item.mask)),
  bring_to_front: (state, { instance }) => commands.reorder(state, "front", [instance]).state,
};

/** The names of all fixes, with the keys of their labels. */
export const FIX_LABELS = Object.freeze({
  clamp_canvas: "fix.clamp_canvas",
  renew_ids: "fix.renew_ids",
  add_instance: "fix.add_instance",
  add_words: "fix.add_words",
  join_captions: "fix.join_captions",
  enable_all: "fix.enable_all",
  disable_smallest: "fix.disable_smallest",
  write_caption: "fix.write_caption",
  write_prompt: "fix.write_prompt",
  clamp: "fix.clamp",
  whole_run: "fix.whole_run",
  automatic_color: "fix.automatic_color",
  read_as_pixels: "fix.read_as_pixels",
  sort_edges: "fix.sort_edges",
  enlarge: "fix.enlarge",
  widen: "fix.enlarge",
  move_inside: "fix.move_inside",
  clip: "fix.clip",
  remove_mask: "fix.remove_mask",
  fit_box: "fix.fit_box",
  bring_to_front: "fix.bring_to_front",
});

/**
 * The way out of a problem: its instance is selected; `focus` is the field that the person is to fill.
 * @param {State} state @param {import("./document.mjs").Problem} problem
 * @returns {import("./commands.mjs").Result & {focus: {id: string | null, field: string} | null}} no id: the
 *   whole picture's field
 */
export function fix(state, problem) {
  const fixed = FIXES[problem.fix](state, problem);
  if (problem.fix === "write_prompt")
    return { ...commands.result(fixed), focus: { id: null, field: "prompt" } };
  const writes = problem.fix === "write_caption" || problem.fix === "add_instance";
  const target =
    problem.fix === "write_caption" && problem.index === null
      ? fixed.layout.instances.find((item) => strip(item.caption) === "")
      : (fixed.layout.instances[problem.index] ?? null);
  const shown = problem.fix.startsWith("add_") || !target ? fixed : commands.select(fixed, [target.id]).state;
  const focus = writes && shown.selection.length ? { id: shown.selection[0], field: "caption" } : null;
  return { ...commands.result(shown), focus };
}
