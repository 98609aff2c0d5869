/**
 * Layouts as language models write them. Nothing is guessed: order and unit are told, or only one reading
 * puts every box on the canvas.
 */

import { createLayout } from "../document.mjs";
import { float } from "../json.mjs";
import { bounds } from "../regions.mjs";
import {
  exported,
  fail,
  isObject,
  needNumber,
  needNumbers,
  needObject,
  needSide,
  numbered,
  oneText,
  shown,
} from "./shared.mjs";

const words = (text) => text.split(" ");
const LISTS = words("instances objects elements boxes regions layout items annotations bboxes");
const BOXES = words("box bbox bounding_box boundingBox region rect coordinates box_2d bbox_2d");
const CAPTIONS = words("caption description desc label prompt text phrase name object");
const PROMPTS = words("prompt global_prompt global_caption caption description scene");
const NEGATIVES = words("negative negative_prompt");
const ORDER_KEYS = words("box_format bbox_format order format coordinate_format");
const UNIT_KEYS = words("units unit");
const NAMED = [
  ["x y width height", "xywh"],
  ["x y w h", "xywh"],
  ["left top width height", "xywh"],
  ["x0 y0 x1 y1", "xyxy"],
  ["x1 y1 x2 y2", "xyxy"],
  ["xmin ymin xmax ymax", "xyxy"],
  ["x_min y_min x_max y_max", "xyxy"],
  ["left top right bottom", "xyxy"],
].map(([names, order]) => ({ names: words(names), order }));
const CORNERS = {
  xyxy: (n) => n,
  xywh: (n) => [n[0], n[1], n[0] + n[2], n[1] + n[3]],
  yxyx: (n) => [n[1], n[0], n[3], n[2]],
};
const UNITS = new Map(
  [
    ["fraction", words("fraction fractions normalized relative")],
    ["percent", ["percent", "%"]],
    ["pixel", words("pixel pixels px")],
    ["grid1000", ["grid1000", "0-1000"]],
  ].flatMap(([unit, names]) => names.map((name) => [name, unit])),
);

export function recognises(data) {
  const { items } = split(data);
  return Boolean(items?.length) && items.every(looksLikeRegion);
}

function looksLikeRegion(item) {
  if (Array.isArray(item)) return item.length === 2 && typeof item[0] === "string";
  return isObject(item) && (keyOf(item, BOXES) !== undefined || named(item) !== undefined);
}

/** What is said about the whole, the list of things, and the path to it (null for the thing itself). */
function split(data) {
  if (Array.isArray(data)) return { head: {}, items: data, path: [] };
  if (!isObject(data)) return { head: {}, items: null, path: [] };
  const key = LISTS.find((name) => Array.isArray(data[name]));
  if (key === undefined && isObject(data.layout)) {
    const inner = split(data.layout);
    return { ...inner, head: { ...data, ...inner.head }, path: ["layout", ...(inner.path ?? [])] };
  }
  if (key === undefined && looksLikeRegion(data)) return { head: {}, items: [data], path: null };
  return { head: data, items: key === undefined ? null : data[key], path: [key] };
}

const keyOf = (data, keys) => keys.find((key) => data[key] !== undefined && data[key] !== null);
const first = (data, keys) => data[keyOf(data, keys)];
const named = (data) => NAMED.find(({ names }) => names.every((name) => name in data));

export function read(data, { canvas = null, order = null, units = null } = {}) {
  const { head, items, path } = split(data);
  if (items === null) fail("error.no_list", [], { names: LISTS.join(", ") });
  const regions = items.map((item, index) => region(item, path === null ? [] : [...path, index]));
  const size = canvasOf(head) ?? canvas;
  const unit = unitOf(units, head, regions, size);
  const sides = { fraction: [1, 1], percent: [100, 100], grid1000: [1000, 1000] }[unit] ?? [
    size.width,
    size.height,
  ];
  const chosen = orderOf(order, head, regions, sides);
  const contents = regions.map(({ numbers, caption, order: own }) => ({
    box: CORNERS[own ?? chosen](numbers).map((value, index) => value / sides[index % 2]),
    caption,
  }));
  const { width, height } = size ?? createLayout().canvas;
  const [prompt, negative] = [PROMPTS, NEGATIVES].map((keys) =>
    oneText(first(head, keys) || "", [keyOf(head, keys)]),
  );
  return createLayout(width, height, { instances: numbered(contents), prompt, negative });
}

function region(item, path) {
  if (Array.isArray(item)) {
    if (item.length !== 2) fail("error.need_entry", path, { value: shown(item) });
    return { numbers: needNumbers(item[1], 4, [...path, 1]), caption: oneText(item[0], [...path, 0]) };
  }
  const caption = oneText(first(needObject(item, path), CAPTIONS) || "", [...path, keyOf(item, CAPTIONS)]);
  const key = keyOf(item, BOXES);
  const value = key === undefined ? item : item[key];
  const place = key === undefined ? path : [...path, key];
  if (isObject(value)) {
    const found = named(value) ?? fail("error.no_box", path, { names: BOXES.join(", ") });
    return {
      numbers: found.names.map((name) => needNumber(value[name], [...place, name])),
      caption,
      order: found.order,
    };
  }
  const numbers = needNumbers(value, 4, place);
  // Gemini's documented convention; no other model uses this key.
  if (key === "box_2d") return { numbers, caption, order: "yxyx", unit: "grid1000" };
  return { numbers, caption, order: declared(item, path) };
}

function declared(data, path) {
  const value = first(data, ORDER_KEYS);
  if (value === undefined) return undefined;
  const name = typeof value === "string" ? value.toLowerCase() : "";
  if (!Object.hasOwn(CORNERS, name))
    fail("error.no_order", [...path, keyOf(data, ORDER_KEYS)], { value: shown(value) });
  return name;
}

function canvasOf(head) {
  for (const key of [null, "canvas", "image", "size", "image_size"]) {
    const holder = key === null ? head : head[key];
    const path = key === null ? [] : [key];
    if (Array.isArray(holder) && holder.length === 2) {
      return { width: needSide(holder[0], [...path, 0]), height: needSide(holder[1], [...path, 1]) };
    }
    if (isObject(holder) && "width" in holder && "height" in holder) {
      return {
        width: needSide(holder.width, [...path, "width"]),
        height: needSide(holder.height, [...path, "height"]),
      };
    }
  }
  return null;
}

function unitOf(units, head, regions, canvas) {
  const told = units || first(head, UNIT_KEYS) || regions.find(({ unit }) => unit)?.unit;
  if (!told) {
    const largest = Math.max(0, ...regions.flatMap(({ numbers }) => numbers.map(Math.abs)));
    if (largest <= 1) return "fraction";
    return canvas ? "pixel" : fail("error.no_unit", [], { largest });
  }
  const unit = typeof told === "string" ? UNITS.get(told.toLowerCase()) : undefined;
  if (unit === undefined) fail("error.unknown_unit", [keyOf(head, UNIT_KEYS)], { value: shown(told) });
  return unit === "pixel" && !canvas ? fail("error.need_canvas", []) : unit;
}

function orderOf(order, head, regions, sides) {
  const told = declared({ order }, []) ?? declared(head, []);
  const open = regions.filter((item) => item.order === undefined);
  if (told || open.length === 0) return told ?? "xyxy";
  const possible = ["xyxy", "xywh"].filter((name) => open.every(({ numbers }) => fits(name, numbers, sides)));
  if (possible.length === 1) return possible[0];
  return fail(possible.length ? "error.order_open" : "error.order_none", []);
}

function fits(order, numbers, sides) {
  const [x0, y0, x1, y1] = CORNERS[order](numbers);
  // Rounding of sums like 0.7 + 0.3 must not rule a reading out.
  const slack = 1 + 1e-6;
  return x0 >= 0 && x0 < x1 && x1 <= sides[0] * slack && y0 >= 0 && y0 < y1 && y1 <= sides[1] * slack;
}

export function write(layout) {
  return {
    canvas: { width: layout.canvas.width, height: layout.canvas.height },
    prompt: layout.prompt,
    negative: layout.negative,
    box_format: "xyxy",
    units: "fraction",
    objects: exported(layout).map((item) => ({ caption: item.caption, box: bounds(item).map(float) })),
  };
}
