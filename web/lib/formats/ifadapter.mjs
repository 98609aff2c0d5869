/**
 * The IFAdapter authors' layouts: {"caption", "annotations": [{"box": [x, y, w, h], "caption": [texts]}]} in
 * pixels of a square canvas.
 */

import { createLayout } from "../document.mjs";
import { fromPixels, toPixels } from "../geometry.mjs";
import { bounds } from "../regions.mjs";
import { exported, isObject, needList, needNumbers, needObject, numbered, oneText, tidy } from "./shared.mjs";

const SQUARE = { width: 768, height: 768 };

export const recognises = (data) =>
  isObject(data) &&
  !("images" in data) &&
  Array.isArray(data.annotations) &&
  data.annotations.every((item) => isObject(item) && "box" in item);

export function read(data, { canvas = null } = {}) {
  const size = canvas ?? SQUARE;
  const contents = needList(needObject(data, []).annotations, ["annotations"]).map((item, index) => {
    const path = ["annotations", index];
    const pixels = needNumbers(needObject(item, path).box, 4, [...path, "box"]);
    return { box: fromPixels(pixels, size), caption: textAt(item, path) };
  });
  return createLayout(size.width, size.height, { instances: numbered(contents), prompt: textAt(data, []) });
}

const textAt = (holder, path) =>
  oneText(holder.caption ?? "", [...path, "caption"]);

export function write(layout) {
  const annotations = exported(layout).map((item) => ({
    box: toPixels(bounds(item), SQUARE).map(tidy),
    caption: [item.caption],
  }));
  return { caption: layout.prompt, annotations };
}
