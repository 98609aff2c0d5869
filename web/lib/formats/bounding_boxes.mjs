/**
 * ComfyUI's own BOUNDING_BOX and BOUNDING_BOXES: {"x", "y", "width", "height", "metadata"} in pixels, single,
 * listed, or one list per picture.
 */

import { createLayout } from "../document.mjs";
import { fromPixels } from "../geometry.mjs";
import { bounds } from "../regions.mjs";
import {
  captionAndExtra,
  exported,
  fail,
  gridBox,
  isObject,
  metadataOf,
  needCanvas,
  needList,
  needNumber,
  needObject,
  needText,
  numbered,
} from "./shared.mjs";

const SIDES = ["x", "y", "width", "height"];

export function recognises(data) {
  let first = data;
  while (Array.isArray(first) && first.length) first = first[0];
  return Array.isArray(first) || (isObject(first) && SIDES.every((side) => side in first));
}

export function read(data, { canvas = null, frame = null } = {}) {
  const size = needCanvas(canvas);
  const { boxes, path } = chosen(data, frame);
  const contents = boxes.map((box, index) => region(box, size, isObject(data) ? [] : [...path, index]));
  return createLayout(size.width, size.height, { instances: numbered(contents) });
}

function chosen(data, frame) {
  if (isObject(data)) return { boxes: [data], path: [] };
  if (!Array.isArray(needList(data, [])[0])) return { boxes: data, path: [] };
  if (frame === null && data.length > 1)
    fail("error.choose_frame", [], { count: data.length, last: data.length - 1 });
  const index = frame ?? 0;
  if (!(index in data)) fail("error.no_frame", [], { frame: index, last: data.length - 1 });
  return { boxes: needList(data[index], [index]), path: [index] };
}

function region(value, canvas, path) {
  const missing = SIDES.filter((side) => !(side in needObject(value, path)));
  if (missing.length) fail("error.lacks", path, { names: missing.join(", ") });
  const pixels = SIDES.map((side) => needNumber(value[side], [...path, side]));
  const metadata = needObject(value.metadata || {}, [...path, "metadata"]);
  const fields = captionAndExtra(metadata, "palette", [...path, "metadata"]);
  if (!fields.caption && "label" in value) fields.caption = needText(value.label, [...path, "label"]);
  return { box: fromPixels(pixels, canvas), ...fields };
}

export function write(layout) {
  return exported(layout).map((item) => {
    const [left, top, right, bottom] = gridBox(bounds(item), layout.canvas.width, layout.canvas.height);
    return { x: left, y: top, width: right - left, height: bottom - top, metadata: metadataOf(item) };
  });
}
