/** What several formats need: JSON inside prose, checks that name the place, grids, captions with extras. */

import { COLOR, createInstance, pathText, strip } from "../document.mjs";
import { LayoutError } from "../errors.mjs";
import { clipped } from "../geometry.mjs";
import { dumpJson, plain } from "../json.mjs";
import { findProblems } from "../problems.mjs";

export const FENCE = /```[^\n`]*\n([\s\S]*?)```/g;
const opensJson = (text) => /^[{[]/.test(strip(text));
const blank = (text) => text.replace(/[^\n]/g, " ");

/** The text with everything before its JSON blanked out, so that positions stay true. @param {string} text */
export function jsonPart(text) {
  if (opensJson(text)) return text;
  const blocks = [...text.matchAll(FENCE)].filter((block) => opensJson(block[1]));
  if (blocks.length > 1)
    throw new LayoutError("error.blocks", { count: blocks.length }, { text, offset: blocks[1].index });
  if (blocks.length === 1) {
    const start = blocks[0].index + blocks[0][0].length - 3 - blocks[0][1].length;
    return blank(text.slice(0, start)) + blocks[0][1];
  }
  const start = text.search(/[{[]/);
  if (start < 0) return text;
  const end = Math.max(text.lastIndexOf("}"), text.lastIndexOf("]")) + 1;
  return blank(text.slice(0, start)) + text.slice(start, Math.max(start + 1, end));
}

/** A value for a message, on one line. */
export function shown(value) {
  const text = value === undefined ? "…" : dumpJson(value);
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

/** @returns {never} */
export function fail(code, path, params = {}) {
  throw new LayoutError(code, { where: pathText(path), ...params }, { path });
}

function need(fits, code, value, path) {
  return fits ? value : fail(code, path, { value: shown(value) });
}

export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
export const needObject = (value, path) => need(isObject(value), "error.need_object", value, path);
export const needList = (value, path) => need(Array.isArray(value), "error.need_list", value, path);
export const needText = (value, path) => need(typeof value === "string", "error.need_text", value, path);
export const needNumber = (value, path) => need(typeof value === "number", "error.need_number", value, path);

export function needNumbers(value, count, path) {
  if (!Array.isArray(value) || value.length !== count)
    fail("error.need_numbers", path, { count, value: shown(value) });
  return value.map((item, index) => needNumber(item, [...path, index]));
}

/** A positive whole number of pixels. */
export function needSide(value, path) {
  return need(Number.isInteger(value) && value >= 1 && value <= 1e6, "error.need_side", value, path);
}

/** A canvas that the caller must give, because the format does not tell. */
export const needCanvas = (canvas) => canvas ?? fail("error.need_canvas", []);

/** A text, or a list of texts joined by ", ". */
export function oneText(value, path) {
  if (!Array.isArray(value)) return needText(value, path);
  return value.map((item, index) => needText(item, [...path, index])).join(", ");
}

/**
 * Instances "1", "2", … in stacking order.
 * @param {{box: any, caption: string, color?: string | null, extra?: Map<string, any>}[]} contents
 */
export const numbered = (contents) =>
  contents.map(({ box, ...fields }, index) => createInstance(String(index + 1), box, fields));

/**
 * The instances other programs get: the enabled ones (they have no switch); LayoutError for a layout with
 * errors.
 */
export function exported(layout) {
  const problems = findProblems(layout).filter(({ severity }) => severity === "error");
  if (problems.length > 0)
    throw new LayoutError("error.has_errors", { count: problems.length }, { problems });
  return layout.instances.filter((item) => item.enabled);
}

/** To the nearest whole number, halves to the even one. */
export function round(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2 === 0 ? 0 : 1) : Math.round(value);
}

/** A pixel value for other programs: four decimals. */
export function tidy(value) {
  // Only multiples of 1/32 can lie exactly between two such values; those go to the even one.
  return Number.isInteger(value * 32) ? round(value * 10_000) / 10_000 : Number(value.toFixed(4));
}

/** Left, top, right, bottom on a grid, at least one cell wide and high. */
export function gridBox(box, columns, rows) {
  const [left, right] = span(box[0], box[2], columns);
  const [top, bottom] = span(box[1], box[3], rows);
  return [left, top, right, bottom];
}

function span(start, end, cells) {
  const [first, last] = [round(start * cells), round(end * cells)];
  if (first < last) return [first, last];
  const middle = Math.floor(((start + end) / 2) * cells);
  return [middle, middle + 1];
}

/** The part of a box that lies on the canvas. */
export const onCanvas = (box) => clipped(box) ?? box;

/** Caption, colour and what else to keep of a region in ComfyUI's terms: type obj or text, text, desc. */
export function captionAndExtra(region, paletteKey, path) {
  let caption = needText(region.desc ?? "", [...path, "desc"]);
  const words = region.type === "text" ? needText(region.text ?? "", [...path, "text"]) : "";
  const colors = needList(region[paletteKey] || [], [...path, paletteKey]).filter(
    (color) => typeof color === "string",
  );
  const metadata = new Map();
  if (words) {
    metadata.set("type", "text").set("text", words);
    const said = `the text "${words}"`;
    if (!caption.includes(words)) caption = strip(caption) ? `${caption}, ${said}` : said;
  }
  const color = colors.length && COLOR.test(colors[0]) ? colors[0] : null;
  if (colors.length && (colors.length > 1 || color === null)) metadata.set("palette", colors);
  return { caption, color, extra: metadata.size ? new Map([["metadata", metadata]]) : new Map() };
}

/** Type, text, desc and palette of an instance in ComfyUI's terms. */
export function metadataOf(item) {
  const value = plain(item.extra.get("metadata"));
  const kept = isObject(value) ? value : {};
  const own = item.color ? [item.color] : [];
  const palette = Array.isArray(kept.palette) && kept.palette.length ? kept.palette : own;
  return { type: kept.type ?? "obj", text: kept.text ?? "", desc: item.caption, palette };
}
