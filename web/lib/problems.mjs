/**
 * What to tell the author of a layout: the findings of the Python package, and what only an editor looks at.
 *
 * @typedef {import("./document.mjs").Layout} Layout
 * @typedef {import("./document.mjs").Problem} Problem
 */

import * as document from "./document.mjs";
import { area, clipped, encloses, height, overlap, width } from "./geometry.mjs";
import { fault, isEmpty } from "./mask.mjs";
import { bounds } from "./regions.mjs";

// IFAdapter's training data holds boxes of at least 1 % of the picture and at most ten instances.
export const SMALLEST_TRAINED_AREA = 0.01;
/** Pixels of two cells of the finest grid on which SDXL's attention, and the demo model's, sees captions. */
export const LEAST_SIDE = 32;
export const MOST_TRAINED_INSTANCES = 10;
/** Positions of CLIP's text encoders, the start and the end among them. */
export const MOST_TOKENS = 77;
const RANGES = [
  ["strength", document.STRONGEST, "problem.strength_range"],
  ["start", 1, "problem.start_range"],
  ["end", 1, "problem.end_range"],
];

/**
 * The same findings as Python's `Layout.problems`, in the same order.
 * @param {Layout} layout
 * @returns {Problem[]}
 */
export function findProblems(layout) {
  return [...aboutLayout(layout), ...layout.instances.flatMap((item, index) => [...about(item, index)])];
}

const general = (severity, field, code, params, fix) => ({
  severity,
  instance: null,
  index: null,
  field,
  code,
  params,
  fix,
});

function* aboutLayout(layout) {
  const [low, high] = [document.SMALLEST_CANVAS, document.LARGEST_CANVAS];
  for (const [side, code] of [
    ["width", "problem.canvas_width"],
    ["height", "problem.canvas_height"],
  ]) {
    const pixels = layout.canvas[side];
    if (!(low <= pixels && pixels <= high)) {
      yield general("error", `canvas ${side}`, code, { pixels, low, high }, "clamp_canvas");
    }
  }
  const counts = new Map();
  for (const { id } of layout.instances) counts.set(id, (counts.get(id) ?? 0) + 1);
  for (const [id, count] of counts) {
    if (count > 1) yield general("error", "id", "problem.id_twice", { id, count }, "renew_ids");
  }
  const active = layout.instances.filter(document.isActive);
  if (active.length === 0) {
    yield general("warning", "instances", "problem.nothing_active", {}, wayToActive(layout.instances));
  }
  if (active.length > MOST_TRAINED_INSTANCES) {
    const params = { count: active.length, most: MOST_TRAINED_INSTANCES };
    yield general("warning", "instances", "problem.many_instances", params, "disable_smallest");
  }
}

function wayToActive(instances) {
  if (instances.length === 0) return "add_instance";
  return instances.some((item) => document.strip(item.caption)) ? "enable_all" : "write_caption";
}

function* about(item, index) {
  const problem = (severity, field, code, params, fix) => ({
    severity,
    instance: item.id,
    index,
    field,
    code,
    params: { id: item.id, ...params },
    fix,
  });
  if (!item.id) yield problem("error", "id", "problem.id_empty", {}, "renew_ids");
  if (!document.strip(item.caption))
    yield problem("warning", "caption", "problem.caption_empty", {}, "write_caption");
  for (const [field, high, code] of RANGES) {
    const value = item[field];
    if (!(value >= 0 && value <= high)) yield problem("error", field, code, { value, high }, "clamp");
  }
  if (item.start >= item.end) {
    yield problem("error", "start", "problem.start", { start: item.start, end: item.end }, "whole_run");
  }
  if (item.color !== null && !document.COLOR.test(item.color)) {
    yield problem("error", "color", "problem.color", { value: item.color }, "automatic_color");
  }
  for (const [severity, code, fix, params] of aboutBox(item.box))
    yield problem(severity, "box", code, params, fix);
  if (item.mask !== null) {
    for (const [severity, code, fix, params] of aboutMask(item))
      yield problem(severity, "mask", code, params, fix);
  }
}

function* aboutBox(box) {
  const { LOWEST, HIGHEST } = document;
  if (!box.every((value) => LOWEST <= value && value <= HIGHEST)) {
    yield ["error", "problem.box_pixels", "read_as_pixels"];
  } else if (width(box) < 0 || height(box) < 0) {
    yield ["error", "problem.box_inverted", "sort_edges"];
  } else if (width(box) === 0 || height(box) === 0) {
    yield ["error", "problem.box_no_area", "enlarge"];
  } else {
    yield* aboutPlace(box);
  }
}

function* aboutPlace(box) {
  const inside = clipped(box);
  if (inside === null) {
    yield ["error", "problem.box_outside", "move_inside"];
    return;
  }
  if (inside.some((value, index) => value !== box[index]))
    yield ["warning", "problem.box_partly_outside", "clip"];
  const close = Math.abs(area(inside) - SMALLEST_TRAINED_AREA) <= 1e-9 * SMALLEST_TRAINED_AREA;
  if (area(inside) < SMALLEST_TRAINED_AREA && !close) {
    yield ["warning", "problem.box_small", "enlarge", { percent: Number((area(inside) * 100).toFixed(2)) }];
  }
}

function* aboutMask(item) {
  const found = fault(item.mask);
  if (found) {
    yield ["error", found.code, "remove_mask", found.params];
  } else if (isEmpty(item.mask) || clipped(bounds(item)) === null) {
    yield ["error", "problem.mask_empty", "remove_mask"];
  } else if (!overlap(bounds(item), item.box)) {
    yield ["warning", "problem.mask_outside_box", "fit_box"];
  }
}

/**
 * `findProblems` and what only an editor looks at: captions that the prompt does not name, captions over 77
 * tokens or not in English, regions hidden behind another one, words of the prompt without a region. Regions
 * without an adapter ask for no captions in the prompt, end none at 77 tokens and may be many.
 * @param {Layout} layout
 * @param {{tokens?: Map<string, number>, joined?: {prompt: string, unnamed: string[]} | null,
 *   regionsAlone?: boolean}} [options]
 *   exact numbers of tokens by caption, and what the prompt would be with the captions it does not name, where
 *   the host told them and the run does not join them itself; whether Draw Regions alone takes the layout
 * @returns {Problem[]}
 */
export function editorProblems(layout, { tokens = new Map(), joined = null, regionsAlone = false } = {}) {
  const found = findProblems(layout);
  return [
    ...(regionsAlone
      ? found.filter(({ code }) => code !== "problem.many_instances")
      : [...found, ...unnamed(layout, joined)]),
    ...narrow(layout),
    ...(regionsAlone ? someNotEnglish(layout) : [...longCaptions(layout, tokens), ...notEnglish(layout)]),
    ...hidden(layout),
    ...loose(layout),
  ];
}

function unnamed(layout, joined) {
  const missing = layout.instances.filter((item) => joined?.unnamed.includes(item.id));
  if (!missing.length) return [];
  const captions = missing.map((item) => `"${document.strip(item.caption)}"`).join(", ");
  const params = { captions, count: missing.length, prompt: joined.prompt };
  return [general("warning", "prompt", "problem.unnamed", params, "join_captions")];
}

const note = (severity, item, layout, field, code, params, fix) => ({
  severity,
  instance: item.id,
  index: layout.instances.indexOf(item),
  field,
  code,
  params: { id: item.id, ...params },
  fix,
});

/** Boxes that a model hardly sees; smaller canvases than its own are left alone, and what is said of small boxes. */
function narrow(layout) {
  const { width: wide, height: high } = layout.canvas;
  if (Math.min(wide, high) < 2 * LEAST_SIDE) return [];
  return layout.instances.filter(document.isActive).flatMap((item) => {
    const inside = item.mask === null && clipped(item.box);
    if (!inside || area(inside) < SMALLEST_TRAINED_AREA) return [];
    const [w, h] = [width(inside) * wide, height(inside) * high].map(Math.round);
    const params = { width: w, height: h, least: LEAST_SIDE };
    return Math.min(w, h) < LEAST_SIDE
      ? [note("warning", item, layout, "box", "problem.box_narrow", params, "widen")]
      : [];
  });
}

function longCaptions(layout, tokens) {
  return layout.instances.filter(document.isActive).flatMap((item) => {
    const exact = tokens.get(item.caption);
    const count = exact ?? estimateTokens(item.caption);
    if (count <= MOST_TOKENS) return [];
    const code = exact === undefined ? "problem.caption_long_about" : "problem.caption_long";
    return [note("warning", item, layout, "caption", code, { count, most: MOST_TOKENS }, "write_caption")];
  });
}

/** About how many tokens CLIP makes of a text: exact for common English words, a guess for rare ones. */
export function estimateTokens(text) {
  const words = text.toLowerCase().match(/'(?:s|t|re|ve|m|ll|d)|[a-z]+|\p{L}|\p{N}|[^\s\p{L}\p{N}]+/gu) ?? [];
  const pieces = (word) =>
    /^[a-z]/.test(word) ? Math.max(1, Math.ceil((word.length - 3) / 6)) : /\p{L}/u.test(word) ? 2 : 1;
  return words.reduce((sum, word) => sum + pieces(word), 2);
}

/**
 * Texts in another script: SDXL's text encoders know English, and cut everything else into pieces without meaning.
 * Of words in Latin letters a look cannot tell.
 */
function notEnglish(layout) {
  const captions = layout.instances
    .filter(document.isActive)
    .filter(({ caption }) => FOREIGN.test(caption))
    .map((item) => note("info", item, layout, "caption", "problem.not_english", {}, "write_caption"));
  return FOREIGN.test(layout.prompt)
    ? [...captions, general("info", "prompt", "problem.prompt_not_english", {}, "write_prompt")]
    : captions;
}

/** Draw Regions is for models of many languages too; which one is drawn with, the layout does not know. */
function someNotEnglish(layout) {
  const texts = [layout.prompt, ...layout.instances.filter(document.isActive).map(({ caption }) => caption)];
  return texts.some((text) => FOREIGN.test(text))
    ? [general("info", "caption", "problem.some_not_english", {}, null)]
    : [];
}

// A letter neither Latin nor of every script (signs like the micro sign).
const FOREIGN = /(?!\p{Script=Latin}|\p{Script=Common})\p{L}/u;

function hidden(layout) {
  const active = layout.instances.filter(document.isActive);
  return active.flatMap((item, index) => {
    const around = bounds(item);
    const cover = active.slice(index + 1).find((other) => other.mask === null && encloses(other.box, around));
    return cover
      ? [note("info", item, layout, "box", "problem.hidden", { other: cover.id }, "bring_to_front")]
      : [];
  });
}

function loose(layout) {
  return looseWords(layout).map((words) =>
    general("info", "prompt", "problem.loose_words", { words }, "add_words"),
  );
}

const STARTS = new Set(
  "a an the one two three four five six seven eight nine ten several some his her their its".split(" "),
);
const ENDS = new Set(
  (
    "and or with in on at of by for from to into onto over under above below behind beside between near next " +
    "inside outside through across against around along among while as is are was were has " +
    "have that which who wearing holding"
  ).split(" "),
);
const PLACES = new Set(
  (
    "in on at by from into onto over under above below behind beside between near inside outside through " +
    "across against around along among to"
  ).split(" "),
);
// Not "doing": things, and what kind of room or table it is ("a living room").
const THINGS = new Set(
  (
    "thing building ceiling painting clothing earring evening morning wedding lightning railing awning duckling " +
    "pudding bedding flooring lighting drawing stocking herring starling sapling dumpling icing frosting topping " +
    "landing crossing parking viking darling sibling living dining swimming sewing washing string spring being"
  ).split(" "),
);
const SHORTEST_DOING = 6; // "ring", "king", "wing", "swing" do nothing
// The place that a picture shows as a whole: it has no region of its own.
const SCENES = new Set(
  (
    "room kitchen bedroom bathroom studio street road park garden forest woods meadow field beach desert city " +
    "town village landscape seascape cityscape skyline interior sky night day evening morning sunset sunrise"
  ).split(" "),
);
const PICTURES = new Set(
  (
    "photo photograph picture image painting drawing illustration render rendering sketch portrait scene " +
    "view shot closeup close-up style poster background foreground"
  ).split(" "),
);

/**
 * Things the prompt names ("a red fox") that no caption mentions. English, by articles and number words,
 * without a dictionary: quiet rather than complete.
 * @param {Layout} layout @returns {string[]}
 */
export function looseWords(layout) {
  const captions = layout.instances.filter(document.isActive).map((item) => stems(item.caption));
  if (captions.length === 0) return [];
  const known = new Set(captions.flat());
  const found = phrases(layout.prompt).filter((words) => !known.has(stem(words.at(-1))));
  return [...new Set(found.map((words) => words.join(" ")))];
}

const stem = (word) =>
  word
    .toLowerCase()
    .replace(/(?<=[^s])s$/, "")
    .replace(/(?<=(?:s|x|ch|sh))e$/, "");
const stems = (text) => (text.match(/[\p{L}\p{N}-]+/gu) ?? []).map(stem);

const isDoing = (word) => word.length >= SHORTEST_DOING && word.endsWith("ing") && !THINGS.has(word);

/** Words after an article up to the next small word, unless they tell a place or the kind of picture. */
function phrases(prompt) {
  const found = [];
  for (const clause of prompt.split(/[,.;:()[\]\n!?]+/)) {
    let [current, before] = [null, ""];
    const end = () => {
      const last = current?.at(-1)?.toLowerCase();
      if (last && !PICTURES.has(last) && !SCENES.has(last)) found.push(current);
      current = null;
    };
    for (const word of clause.match(/[\p{L}\p{N}'-]+/gu) ?? []) {
      const lower = word.toLowerCase();
      if (ENDS.has(lower) || isDoing(lower)) end();
      else if (STARTS.has(lower)) {
        end();
        current = PLACES.has(before) ? null : [];
      } else current?.push(word);
      before = lower;
    }
    end();
  }
  return found;
}
