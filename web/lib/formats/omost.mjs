/**
 * Omost canvases: the Python calls its language model writes (parsed, never run), and the JSON ComfyUI nodes
 * pass on.
 */

import { createLayout } from "../document.mjs";
import { LayoutError } from "../errors.mjs";
import { bounds } from "../regions.mjs";
import { readCalls } from "./python_calls.mjs";
import {
  exported,
  fail,
  FENCE,
  gridBox,
  isObject,
  needList,
  needNumbers,
  needObject,
  needText,
  numbered,
  onCanvas,
} from "./shared.mjs";

const GRID = 90;
// Centre of a location and shift of an offset (across, down); width and height of an area.
const LOCATIONS = {
  "in the center": [45, 45],
  "on the left": [15, 45],
  "on the right": [75, 45],
  "on the top": [45, 15],
  "on the bottom": [45, 75],
  "on the top-left": [15, 15],
  "on the top-right": [75, 15],
  "on the bottom-left": [15, 75],
  "on the bottom-right": [75, 75],
};
const OFFSETS = {
  "no offset": [0, 0],
  "slightly to the left": [-10, 0],
  "slightly to the right": [10, 0],
  "slightly to the upper": [0, -10],
  "slightly to the lower": [0, 10],
  "slightly to the upper-left": [-10, -10],
  "slightly to the upper-right": [10, -10],
  "slightly to the lower-left": [-10, 10],
  "slightly to the lower-right": [10, 10],
};
const AREAS = {
  "a small square area": [50, 50],
  "a small vertical area": [40, 60],
  "a small horizontal area": [60, 40],
  "a medium-sized square area": [60, 60],
  "a medium-sized vertical area": [50, 80],
  "a medium-sized horizontal area": [80, 50],
  "a large square area": [70, 70],
  "a large vertical area": [60, 90],
  "a large horizontal area": [90, 60],
};
const TABLES = { location: LOCATIONS, offset: OFFSETS, area: AREAS };
const PARAMETERS = {
  set_global_description: ["description", "detailed_descriptions", "tags", "HTML_web_color_name"],
  add_local_description: [
    "location",
    "offset",
    "area",
    "distance_to_viewer",
    "description",
    "detailed_descriptions",
    "tags",
    "atmosphere",
    "style",
    "quality_meta",
    "HTML_web_color_name",
  ],
};

export const recognises = (data) =>
  Array.isArray(data) && isObject(data[0]) && "rect" in data[0] && "prefixes" in data[0];

export const recognisesCode = (text) => Object.keys(PARAMETERS).some((name) => text.includes(`.${name}`));

const layoutOf = (canvas, contents, prompt) => {
  const { width, height } = canvas ?? createLayout().canvas;
  return createLayout(width, height, { instances: numbered(contents), prompt });
};

/** @param {string} text */
export function readText(text, { canvas = null } = {}) {
  const block = [...text.matchAll(FENCE)][0];
  const start = block ? block.index + block[0].length - 3 - block[1].length : 0;
  let prompt = "";
  const found = [];
  for (const call of readCalls(text, start, block ? start + block[1].length : text.length, PARAMETERS)) {
    const caption = captionOf(call, text);
    if (call.name === "set_global_description") prompt = caption;
    else found.push({ distance: distance(call, text), box: placeOf(call, text), caption });
  }
  found.sort((one, other) => other.distance - one.distance);
  return layoutOf(
    canvas,
    found.map(({ box, caption }) => ({ box, caption })),
    prompt,
  );
}

function bad(code, { call, key }, text, params = {}) {
  throw new LayoutError(
    code,
    { where: key, ...params },
    { text, offset: call.values[key]?.offset ?? call.offset },
  );
}

function captionOf(call, text) {
  const details = call.values.detailed_descriptions?.value ?? [];
  if (!Array.isArray(details)) bad("error.need_list", { call, key: "detailed_descriptions" }, text);
  const parts = [call.values.description?.value, ...details];
  if (parts.some((part) => typeof part !== "string"))
    bad("error.need_text", { call, key: "description" }, text);
  return sentences(parts);
}

function distance(call, text) {
  const value = call.values.distance_to_viewer?.value ?? 1;
  return typeof value === "number" && value > 0
    ? value
    : bad("error.omost_distance", { call, key: "distance_to_viewer" }, text);
}

function placeOf(call, text) {
  const [[across, down], [right, lower], [width, height]] = Object.entries(TABLES).map(([key, table]) => {
    const name = call.values[key]?.value;
    if (typeof name !== "string") bad("error.need_text", { call, key }, text);
    return Object.hasOwn(table, name.toLowerCase())
      ? table[name.toLowerCase()]
      : bad("error.omost_name", { call, key }, text, { value: name, names: Object.keys(table).join(", ") });
  });
  const [left, top] = [across + right - Math.floor(width / 2), down + lower - Math.floor(height / 2)];
  return [left, top, left + width, top + height].map((value) => Math.min(GRID, Math.max(0, value)) / GRID);
}

const trim = (text) => text.replace(/^[ .,]+|[ .,]+$/g, "");

/** One text as it is, several as sentences. */
function sentences(parts) {
  const texts = parts.filter(trim);
  return texts.length === 1 ? texts[0] : texts.map((text) => `${trim(text)}.`).join(" ");
}

export function read(data, { canvas = null } = {}) {
  const conditions = needList(data, []).map((item, index) => ({
    item: needObject(item, [index]),
    path: [index],
  }));
  const whole = conditions[0]?.item.rect;
  const global = Array.isArray(whole) && whole.join() === `0,${GRID},0,${GRID}` ? conditions.shift() : null;
  const prefixes = global ? texts(global, "prefixes") : [];
  const prompt = global ? sentences([...prefixes, ...texts(global, "suffixes")]) : "";
  return layoutOf(
    canvas,
    conditions.map((entry) => condition(entry, prefixes)),
    prompt,
  );
}

const texts = ({ item, path }, key) =>
  needList(item[key] ?? [], [...path, key]).map((text, index) => needText(text, [...path, key, index]));

function condition(entry, prefixes) {
  const [top, bottom, left, right] = needNumbers(entry.item.rect, 4, [...entry.path, "rect"]);
  const own = texts(entry, "prefixes");
  const shared = prefixes.every((text, index) => text === own[index]);
  const caption = sentences([...(shared ? own.slice(prefixes.length) : own), ...texts(entry, "suffixes")]);
  const box = [left, top, right, bottom].map((value) => value / GRID);
  return { box, caption, color: colorOf(entry.item.color, [...entry.path, "color"]) };
}

function colorOf(value, path) {
  if (value === undefined || value === null) return null;
  const channels = needNumbers(value, 3, path);
  if (!channels.every((channel) => Number.isInteger(channel) && channel >= 0 && channel <= 255))
    fail("error.need_color", path);
  return `#${channels.map((channel) => channel.toString(16).padStart(2, "0")).join("")}`;
}

export function write(layout) {
  const prefixes = layout.prompt ? [layout.prompt] : [];
  const whole = { rect: [0, GRID, 0, GRID], prefixes, suffixes: [], color: [128, 128, 128] };
  return [
    whole,
    ...exported(layout).map((item) => {
      const [left, top, right, bottom] = gridBox(onCanvas(bounds(item)), GRID, GRID);
      const color = (item.color ?? "#808080")
        .slice(1)
        .match(/../g)
        .map((digits) => parseInt(digits, 16));
      const own = item.caption ? [...prefixes, item.caption] : prefixes;
      return { rect: [top, bottom, left, right], prefixes: own, suffixes: [], color };
    }),
  ];
}
