/**
 * Formats of layouts for lists: names, title keys and options. Our own document is read here; those of other
 * programs are read and written by whoever hosts the editor, as the Python package `layout` does.
 * @typedef {import("./document.mjs").Layout} Layout
 */

import { parse, strip } from "./document.mjs";
import { LayoutError } from "./errors.mjs";
import { decode, parseJson } from "./json.mjs";

export const FORMATS = Object.freeze([
  { name: "layout", key: "format.layout", options: [] },
  { name: "coco", key: "format.coco", options: ["image"] },
  { name: "ifadapter", key: "format.ifadapter", options: [] },
  { name: "omost", key: "format.omost", options: [] },
  { name: "ideogram", key: "format.ideogram", options: [] },
  { name: "flux3", key: "format.flux3", options: [] },
  { name: "bounding-boxes", key: "format.bounding_boxes", options: ["frame"] },
  { name: "llm", key: "format.llm", options: ["order", "units"] },
  { name: "lines", key: "format.lines", options: ["units"] },
]);

/** Formats that are read and never written. */
export const READ_ONLY = Object.freeze([
  { name: "labelme", key: "format.labelme", options: [] },
  { name: "florence", key: "format.florence", options: [] },
  { name: "detections", key: "format.detections", options: [] },
  { name: "gligen", key: "format.gligen", options: [] },
  { name: "instance-diffusion", key: "format.instance_diffusion", options: [] },
  { name: "migc", key: "format.migc", options: [] },
  { name: "lmd", key: "format.lmd", options: [] },
  { name: "label-studio", key: "format.label_studio", options: ["image"] },
  { name: "via", key: "format.via", options: ["image"] },
  { name: "yolo", key: "format.yolo", options: [] },
  { name: "layoutgpt", key: "format.layoutgpt", options: [] },
  { name: "forge-couple", key: "format.forge_couple", options: [] },
]);

/** Formats that are written and never read. */
export const WRITE_ONLY = Object.freeze([
  { name: "fibo2", key: "format.fibo2", options: [] },
  { name: "qwen", key: "format.qwen", options: [] },
]);

/** What may be told of four numbers where a text does not tell it, as the package knows them. */
export const ORDERS = Object.freeze(["xyxy", "xywh", "yxyx", "cxcywh"]);
export const UNITS = Object.freeze(["fraction", "percent", "pixel", "grid1000"]);

/** Options that settle an error or a warning, by its code. */
export const ASKED = Object.freeze({
  order_open: ["order", "units"],
  order_none: ["order", "units"],
  order_taken: ["order"],
  no_unit: ["units", "order"],
  unit_open: ["units", "order"],
  unit_taken: ["units"],
  lines_pixels: ["units"],
  lines_mixed: ["units"],
  choose_image: ["image"],
  no_image: ["image"],
  choose_frame: ["frame"],
  no_frame: ["frame"],
});

// Keys that no document of ours is without.
const OWN_KEYS = [/"version"\s*:/, /"instances"\s*:/];

/**
 * The layout of a text that is our own document, null for a text that another program may have written: JSON
 * that is broken is the host's to mend, unless it has our keys. LayoutError pointing at the character for a broken
 * document and for no text at all.
 * @param {string} source @param {string} [format] the format that was chosen, "" for automatic
 * @returns {Layout | null}
 */
export function readOwn(source, format = "") {
  const text = decode(source);
  if (strip(text) === "") throw new LayoutError("error.empty");
  if ((format && format !== "layout") || !/^[{[]/.test(strip(text))) return null;
  let data;
  try {
    data = parseJson(text);
  } catch (error) {
    if (format === "layout" || OWN_KEYS.every((key) => key.test(text))) throw error;
    return null;
  }
  const isOurs = format === "layout" || (!Array.isArray(data) && "version" in data && "instances" in data);
  return isOurs ? parse(text) : null;
}
