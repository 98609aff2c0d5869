/**
 * The layout document: read, written and built exactly as the Python package `layout` does.
 *
 * Documents are plain values that nobody changes in place; every field is present. The order of `instances`
 * is the stacking order, the last one in front.
 *
 * @typedef {[number, number, number, number]} Box left, top, right, bottom as fractions of the canvas
 * @typedef {{polygon: [number, number][]}} Polygon points as fractions of the canvas, inside by the even-
 *   odd rule
 * @typedef {{rle: {size: [number, number], counts: number[]}}} RunLength height and width; counts run down
 *   the columns, zeros first
 * @typedef {Polygon | RunLength} Mask
 * @typedef {{id: string, box: Box, caption: string, negative: string, mask: Mask | null, strength: number,
 *   start: number, end: number, enabled: boolean, locked: boolean, color: string | null, extra: Map<string,
 *   any>}} Instance `extra` holds keys of other programs
 * @typedef {{width: number, height: number, extra: Map<string, any>}} Canvas pixels
 * @typedef {{canvas: Canvas, prompt: string, negative: string, instances: Instance[], extra: Map<string,
 *   any>}} Layout
 * @typedef {{severity: "error" | "warning" | "info", instance: string | null, index: number | null, field:
 *   string, code: string, params: object, fix: string | null}} Problem
 */

import { LayoutError } from "./errors.mjs";
import { decode, dumpJson, float, NumberText, parseJson, pointAtPath } from "./json.mjs";

export const VERSION = 1;
export const SMALLEST_CANVAS = 16;
export const LARGEST_CANVAS = 16_384;
export const LOWEST = -1;
export const HIGHEST = 2;
export const STRONGEST = 5;
export const MOST_POINTS = 5_000;
export const LONGEST_MASK_SIDE = 16_384;
export const COLOR = /^#[0-9a-fA-F]{6}$/;

/** What a field is when the document does not say; in the order of writing. */
export const DEFAULTS = Object.freeze({
  caption: "",
  negative: "",
  strength: 1,
  start: 0,
  end: 1,
  enabled: true,
  locked: false,
  color: null,
});
const FLOATS = new Set(["strength", "start", "end"]);

/** @param {string} id @param {Box} box @param {Partial<Instance>} [fields] @returns {Instance} */
export function createInstance(id, box, fields = {}) {
  return { id, box, ...DEFAULTS, mask: null, extra: new Map(), ...fields };
}

/** @param {number} [width] @param {number} [height] @param {Partial<Layout>} [fields] @returns {Layout} */
export function createLayout(width = 1024, height = 1024, fields = {}) {
  const canvas = { width, height, extra: new Map() };
  return { canvas, prompt: "", negative: "", instances: [], extra: new Map(), ...fields };
}

const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** Text without white space around it, as Python sees it; in time that grows with it. @param {string} text */
export function strip(text) {
  let [start, end] = [0, text.length];
  while (start < end && SPACE.test(text[start])) start += 1;
  while (end > start && SPACE.test(text[end - 1])) end -= 1;
  return text.slice(start, end);
}

/** Whether an instance takes part in a run: enabled, with a caption. @param {Instance} instance */
export const isActive = (instance) => instance.enabled && strip(instance.caption) !== "";

/** @param {Layout} layout @param {string} id @returns {Instance | null} */
export const find = (layout, id) => layout.instances.find((item) => item.id === id) ?? null;

/**
 * Read a document. LayoutError for text that is none, with the place or with one problem per unreadable
 * field; odd values are left to `findProblems`. Empty text is a layout without instances.
 * @param {string} text @returns {Layout}
 */
export function parse(text) {
  if (strip(text) === "") return createLayout();
  const problems = [];
  const fields = new Fields(parseJson(text, { exact: true }), "document", [], problems);
  if (problems.length === 0) fields.take("version", version, VERSION, true);
  refuse(problems, text);
  const layout = {
    canvas: fields.take("canvas", (value) => canvas(value, problems), createLayout().canvas, true),
    prompt: fields.take("prompt", string, ""),
    negative: fields.take("negative", string, ""),
  };
  const listed = fields.take("instances", list, [], true);
  layout.instances = listed.map((value, index) => instance(value, index, problems));
  refuse(problems, text);
  return { ...layout, extra: fields.rest };
}

function refuse(problems, text) {
  if (problems.length === 0) return;
  const [{ code, params, path }] = problems;
  throw pointAtPath(new LayoutError(code, params, { path, problems }), decode(text));
}

/** Takes known keys out of one JSON object, notes what has the wrong type, leaves the rest. */
class Fields {
  constructor(data, name, path, problems, about = { instance: null, index: null }) {
    Object.assign(this, { path, problems, about });
    const fits = data instanceof Map;
    if (!fits) this.note(name, "error.not_object", data, path);
    this.rest = new Map(fits ? data : []);
  }

  note(field, code, value, path = [...this.path, field]) {
    const params = { ...this.about, field, value: dumpJson(value).slice(0, 60), path: pathText(path) };
    this.problems.push({ severity: "error", ...this.about, field, code, params, fix: null, path });
  }

  take(key, read, missing, required = false) {
    if (!this.rest.has(key)) {
      if (required) this.note(key, "error.missing", null, this.path);
      return missing;
    }
    const value = this.rest.get(key);
    this.rest.delete(key);
    try {
      return read(value);
    } catch (error) {
      if (!(error instanceof WrongType)) throw error;
      this.note(key, error.message, value);
      return missing;
    }
  }
}

/** A path for people: instances[2].box, counted from 1. @param {(string|number)[]} path */
export function pathText(path) {
  return path
    .map((key) => (typeof key === "number" ? `[${key + 1}]` : `.${key}`))
    .join("")
    .replace(/^\./, "");
}

class WrongType extends Error {}

/** The value, or a refusal when it does not fit. */
function need(fits, code, value) {
  if (!fits) throw new WrongType(code);
  return value;
}

function canvas(data, problems) {
  const fields = new Fields(data, "canvas", ["canvas"], problems);
  const sides = ["width", "height"].map((side) => fields.take(side, integer, 1024, true));
  return { width: sides[0], height: sides[1], extra: fields.rest };
}

function instance(data, index, problems) {
  const given = data instanceof Map && typeof data.get("id") === "string";
  const about = { instance: given ? data.get("id") : `number ${index + 1}`, index };
  const fields = new Fields(data, `instances[${index + 1}]`, ["instances", index], problems, about);
  if (!(data instanceof Map)) return null;
  return {
    id: fields.take("id", string, "", true),
    box: fields.take("box", box, [0, 0, 1, 1], true),
    caption: fields.take("caption", string, ""),
    negative: fields.take("negative", string, ""),
    mask: fields.take("mask", readMask, null),
    strength: fields.take("strength", number, 1),
    start: fields.take("start", number, 0),
    end: fields.take("end", number, 1),
    enabled: fields.take("enabled", boolean, true),
    locked: fields.take("locked", boolean, false),
    color: fields.take("color", (value) => (value === null ? null : string(value)), null),
    extra: fields.rest,
  };
}

const string = (value) => need(typeof value === "string", "error.not_text", value);
const boolean = (value) => need(typeof value === "boolean", "error.not_switch", value);
const list = (value) => need(Array.isArray(value), "error.not_list", value);

function number(value) {
  const plain = value instanceof NumberText ? value.valueOf() : value;
  return need(typeof plain === "number", "error.not_number", plain);
}

function version(value) {
  const plain = value instanceof NumberText ? value.valueOf() : value;
  return need(plain === VERSION, "error.version", VERSION);
}

function integer(value) {
  return need(Number.isSafeInteger(number(value)), "error.not_whole", number(value));
}

function numbers(value, count, code) {
  return need(list(value).length === count, code, list(value).map(number));
}

const box = (value) => numbers(list(value).map(number), 4, "error.not_box");

/** A mask from exact JSON values (Maps); throws when it is none. */
function readMask(value) {
  if (value === null) return null;
  need(value instanceof Map && value.size === 1, "error.not_mask");
  const [[kind, content]] = value;
  if (kind === "polygon")
    return { polygon: list(content).map((point) => numbers(point, 2, "error.not_mask")) };
  need(kind === "rle" && content instanceof Map && content.size === 2, "error.not_mask");
  need(content.has("size") && content.has("counts"), "error.not_mask");
  const size = list(content.get("size")).map(integer);
  need(size.length === 2, "error.not_mask");
  return { rle: { size, counts: list(content.get("counts")).map(integer) } };
}

/**
 * The document as text: the head on one line, then one line per instance; defaults are left out.
 * @param {Layout} layout
 */
export function serialise(layout) {
  const { canvas: size, extra } = layout;
  const head = new Map([["version", VERSION]]);
  head.set("canvas", new Map([["width", size.width], ["height", size.height], ...size.extra]));
  for (const name of ["prompt", "negative"]) if (layout[name]) head.set(name, layout[name]);
  for (const [key, value] of extra) head.set(key, value);
  const lines = layout.instances.map((item) => `  ${dumpJson(instanceData(item))}`).join(",\n");
  return `${dumpJson(head).slice(0, -1)}, "instances": [${lines && `\n${lines}\n`}]}\n`;
}

function instanceData(item) {
  const data = new Map([
    ["id", item.id],
    ["box", item.box.map(float)],
  ]);
  for (const [name, value] of Object.entries(DEFAULTS)) {
    if (item[name] !== value) data.set(name, FLOATS.has(name) ? float(item[name]) : item[name]);
  }
  if (item.mask !== null) data.set("mask", maskData(item.mask));
  return new Map([...data, ...item.extra]);
}

function maskData(mask) {
  return mask.polygon ? { polygon: mask.polygon.map((point) => point.map(float)) } : mask;
}

/** The same document as another program would read it: text to text. @param {string} text */
export const canonical = (text) => serialise(parse(decode(text)));
