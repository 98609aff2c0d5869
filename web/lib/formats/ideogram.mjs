/**
 * Ideogram 4 prompts: elements {"type", "bbox": [ymin, xmin, ymax, xmax], "text", "desc", "color_palette"} on
 * a grid of 0 to 1000.
 */

import { createLayout, strip } from "../document.mjs";
import { bounds } from "../regions.mjs";
import {
  captionAndExtra,
  exported,
  gridBox,
  isObject,
  metadataOf,
  needList,
  needNumbers,
  needObject,
  needText,
  numbered,
  onCanvas,
} from "./shared.mjs";

const GRID = 1000;
const SCENE = "compositional_deconstruction";
const STYLE = ["aesthetics", "lighting", "photo", "art_style", "medium"];

export function recognises(data) {
  if (isObject(data) && SCENE in data) return true;
  const first = Array.isArray(data) && data.length ? data[0] : data;
  return isObject(first) && "bbox" in first && ["obj", "text"].includes(first.type);
}

export function read(data, { canvas = null } = {}) {
  const whole = isObject(data) && SCENE in data;
  const path = whole ? [SCENE, "elements"] : [];
  const scene = whole ? needObject(data[SCENE], [SCENE]) : null;
  const single = !whole && isObject(data);
  const elements = single ? [data] : needList(whole ? (scene.elements ?? []) : data, path);
  const contents = elements.map((item, index) => element(item, single ? [] : [...path, index]));
  const { width, height } = canvas ?? createLayout().canvas;
  return createLayout(width, height, {
    instances: numbered(contents),
    prompt: whole ? promptOf(data, scene) : "",
  });
}

function promptOf(data, scene) {
  const style = needObject(data.style_description || {}, ["style_description"]);
  const parts = [
    [data.high_level_description, ["high_level_description"]],
    [scene.background, [SCENE, "background"]],
    ...STYLE.map((name) => [style[name], ["style_description", name]]),
  ];
  return parts
    .map(([text, path]) => needText(text ?? "", path))
    .filter(strip)
    .join(", ");
}

function element(value, path) {
  const [top, left, bottom, right] = needNumbers(needObject(value, path).bbox, 4, [...path, "bbox"]);
  const box = [left / GRID, top / GRID, right / GRID, bottom / GRID];
  return { box, ...captionAndExtra(value, "color_palette", path) };
}

export function write(layout) {
  const elements = exported(layout).map((item) => writeElement(metadataOf(item), onCanvas(bounds(item))));
  return { high_level_description: layout.prompt, [SCENE]: { background: "", elements } };
}

function writeElement({ type, text, desc, palette }, box) {
  const [left, top, right, bottom] = gridBox(box, GRID, GRID);
  return {
    type,
    bbox: [top, left, bottom, right],
    ...(type === "text" ? { text } : {}),
    desc,
    ...(palette.length ? { color_palette: palette.slice(0, 5) } : {}),
  };
}
