/**
 * Layouts from and to other programs, one format per file; this one knows them all.
 * @typedef {import("../document.mjs").Layout} Layout
 */

import { parse, serialise, strip } from "../document.mjs";
import { LayoutError } from "../errors.mjs";
import { decode, dumpJson, parseJson, pointAtPath } from "../json.mjs";
import * as boundingBoxes from "./bounding_boxes.mjs";
import * as coco from "./coco.mjs";
import * as ideogram from "./ideogram.mjs";
import * as ifadapter from "./ifadapter.mjs";
import * as lines from "./lines.mjs";
import * as llm from "./llm.mjs";
import * as omost from "./omost.mjs";
import { exported, isObject, jsonPart } from "./shared.mjs";

const document = { recognises: (data) => isObject(data) && "version" in data && "instances" in data };

/**
 * The formats in the order in which JSON is judged, the most particular first; `key` is that of the title.
 */
export const FORMATS = Object.freeze([
  { name: "layout", key: "format.layout", options: [], ...document },
  { name: "coco", key: "format.coco", options: ["image"], ...coco },
  { name: "ifadapter", key: "format.ifadapter", options: [], ...ifadapter },
  { name: "omost", key: "format.omost", options: [], ...omost },
  { name: "ideogram", key: "format.ideogram", options: [], ...ideogram },
  { name: "bounding-boxes", key: "format.bounding_boxes", options: ["frame"], ...boundingBoxes },
  { name: "llm", key: "format.llm", options: ["order", "units"], ...llm },
  { name: "lines", key: "format.lines", options: [], recognises: () => false, ...lines },
]);

const opening = (text) => strip(text)[0];
const startsJson = (text) => ["{", "["].includes(opening(text));

/** The name of the format of a text; LayoutError, with the place, for others. @param {string} source */
export function detect(source) {
  const text = decode(source);
  if (strip(text) === "") throw new LayoutError("error.empty");
  if (!startsJson(text) && omost.recognisesCode(text)) return "omost";
  if (lines.recognisesText(text) && opening(text) !== "{") return "lines";
  return pointing(text, () => {
    const part = jsonPart(text);
    if (!startsJson(part))
      throw new LayoutError("error.unknown_text", {}, { text, offset: text.search(/\S/) });
    const data = parseJson(part);
    const found = FORMATS.find(({ recognises }) => recognises(data));
    if (!found) throw new LayoutError("error.unknown_json", {}, { path: [] });
    return found.name;
  });
}

/**
 * A layout from text of a named or detected format; LayoutError pointing at the character for what cannot be
 * read.
 * @param {string} source @param {string | null} [name]
 * @param {{canvas?: {width: number, height: number} | null, image?: string | number, frame?: number,
 *   order?: string, units?: string}} [options] `canvas` is used where the format does not tell the size
 * @returns {Layout}
 */
export function read(source, name = null, options = {}) {
  const text = decode(source);
  const format = find(name ?? detect(text));
  return pointing(text, () => {
    if (format.readText && !(format.read && (startsJson(text) || !omost.recognisesCode(text)))) {
      return format.readText(text, options);
    }
    const part = jsonPart(text);
    return format.read ? format.read(parseJson(part), options) : parse(part);
  });
}

function pointing(text, act) {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof LayoutError)) throw error;
    if (error.offset === null) pointAtPath(error, partOf(text));
    throw error.offset === null ? error : error.pointAt(text, error.offset);
  }
}

function partOf(text) {
  try {
    return jsonPart(text);
  } catch {
    return text;
  }
}

/**
 * The text of a layout in a named format; LayoutError for layouts with errors.
 * @param {Layout} layout
 * @param {string} [name]
 */
export function write(layout, name = "layout") {
  const format = find(name);
  exported(layout);
  if (!format.write) return serialise(layout);
  const written = format.write(layout);
  return typeof written === "string" ? written : `${dumpJson(written)}\n`;
}

function find(name) {
  const found = FORMATS.find((format) => format.name === name);
  if (!found) throw new LayoutError("error.unknown_format", { name });
  return found;
}
