/** COCO object annotations: images, categories, annotations with bbox [x, y, w, h] and segmentation. */

import { createInstance, createLayout, pathText } from "../document.mjs";
import { area, fromPixels, toPixels } from "../geometry.mjs";
import { fault, fromRaster, raster } from "../mask.mjs";
import {
  exported,
  fail,
  isObject,
  needList,
  needNumber,
  needNumbers,
  needObject,
  needSide,
  needText,
  round,
  shown,
  tidy,
} from "./shared.mjs";

// A segmentation of several outlines is their union, kept as run-lengths of at most this resolution.
const UNION_SIDE = 1024;

export const recognises = (data) =>
  isObject(data) && Array.isArray(data.annotations) && ("images" in data || "categories" in data);

export function read(data, { canvas = null, image = null } = {}) {
  needObject(data, []);
  const images = objects(data, "images");
  const { chosen, path } = choose(images, image);
  const size =
    "width" in chosen && "height" in chosen
      ? {
          width: needSide(chosen.width, [...path, "width"]),
          height: needSide(chosen.height, [...path, "height"]),
        }
      : (canvas ?? fail("error.need_canvas", path));
  const names = new Map(
    objects(data, "categories").map((item, index) => [
      String(item.id),
      needText(item.name, ["categories", index, "name"]),
    ]),
  );
  const instances = objects(data, "annotations")
    .map((item, index) => ({ item, path: ["annotations", index] }))
    .filter(({ item }) => !("id" in chosen) || item.image_id === chosen.id)
    .map((entry, index) => instance(entry, String(index + 1), size, names));
  const prompt = needText(chosen.caption ?? "", [...path, "caption"]);
  return createLayout(size.width, size.height, { instances, prompt });
}

const objects = (data, key) =>
  needList(data[key] ?? [], [key]).map((item, index) =>
    needObject(item, [key, index]),
  );

function choose(images, image) {
  if (image === null && images.length <= 1)
    return { chosen: images[0] ?? {}, path: images.length ? ["images", 0] : [] };
  const ids = images
    .slice(0, 10)
    .map((item) => shown(item.id))
    .join(", ");
  if (image === null) fail("error.choose_image", ["images"], { count: images.length, ids });
  const found = images.filter((item) => [String(item.id), item.file_name].includes(String(image)));
  if (found.length !== 1) fail("error.no_image", ["images"], { count: found.length, image, ids });
  return { chosen: found[0], path: ["images", images.indexOf(found[0])] };
}

function instance({ item, path }, id, canvas, names) {
  const pixels = needNumbers(item.bbox, 4, [...path, "bbox"]);
  const caption = item.caption || names.get(String(item.category_id));
  if (caption === undefined) fail("error.no_category", path, { value: shown(item.category_id) });
  return createInstance(id, fromPixels(pixels, canvas), {
    caption: needText(caption, [...path, "caption"]),
    mask: readMask(item.segmentation, canvas, [...path, "segmentation"]),
  });
}

function readMask(value, canvas, path) {
  if (!value || value.length === 0) return null;
  if (isObject(value)) return Object.keys(value).length ? runLength(value, path) : null;
  if (!Array.isArray(needList(value, path)[0])) fail("error.need_outlines", path);
  const polygons = value.map((outline, index) => polygon(outline, canvas, [...path, index]));
  return polygons.length === 1 ? polygons[0] : union(polygons, canvas);
}

function checked(mask, path) {
  const found = fault(mask);
  return found ? fail(found.code, path, { id: pathText(path), ...found.params }) : mask;
}

function polygon(outline, canvas, path) {
  const numbers = needList(outline, path).map((value, index) => needNumber(value, [...path, index]));
  if (numbers.length % 2 || numbers.length < 6) fail("error.need_pairs", path, { count: numbers.length });
  const points = [];
  for (let at = 0; at < numbers.length; at += 2)
    points.push([numbers[at] / canvas.width, numbers[at + 1] / canvas.height]);
  return checked({ polygon: points }, path);
}

function union(polygons, canvas) {
  const shrink = Math.min(1, UNION_SIDE / Math.max(canvas.width, canvas.height));
  const [width, height] = [canvas.width, canvas.height].map((side) => Math.max(1, round(side * shrink)));
  const covered = new Uint8Array(width * height);
  for (const shape of polygons) raster(shape, width, height).forEach((value, at) => (covered[at] |= value));
  return fromRaster(covered, width, height);
}

function runLength(value, path) {
  const size = needNumbers(value.size, 2, [...path, "size"]).map((side) => needSide(side, [...path, "size"]));
  const place = [...path, "counts"];
  const counts =
    typeof value.counts === "string"
      ? decodeCounts(value.counts, place)
      : needList(value.counts, place).map((count, index) => needNumber(count, [...place, index]));
  if (!counts.every(Number.isInteger)) fail("error.need_whole", place);
  return checked({ rle: { size, counts } }, path);
}

/**
 * The counts of COCO's compressed form: signed base 32, lowest digit first, from the fourth on the difference
 * to the count two before (cocoapi maskApi).
 */
export function decodeCounts(text, path = []) {
  const counts = [];
  let [value, shift] = [0, 0];
  for (const character of text) {
    const digit = character.codePointAt(0) - 48;
    if (digit < 0 || digit >= 64 || shift > 60) fail("error.compressed", path);
    value += (digit & 31) * 2 ** shift;
    shift += 5;
    if (digit & 32) continue;
    if (digit & 16) value -= 2 ** shift;
    counts.push(value + (counts.length > 2 ? counts.at(-2) : 0));
    [value, shift] = [0, 0];
  }
  if (shift) fail("error.compressed", path);
  return counts;
}

export function write(layout) {
  const items = exported(layout);
  const { width, height } = layout.canvas;
  const captions = [...new Set(items.map((item) => item.caption))];
  const annotations = items.map((item, index) => ({
    id: index + 1,
    image_id: 1,
    category_id: captions.indexOf(item.caption) + 1,
    bbox: toPixels(item.box, layout.canvas).map(tidy),
    area: tidy(area(item.box) * width * height),
    iscrowd: item.mask?.rle ? 1 : 0,
    segmentation: writeMask(item.mask, width, height),
  }));
  return {
    images: [{ id: 1, width, height, file_name: "", caption: layout.prompt }],
    categories: captions.map((name, index) => ({ id: index + 1, name })),
    annotations,
  };
}

function writeMask(mask, width, height) {
  if (mask === null) return [];
  return mask.rle ?? [mask.polygon.flatMap(([x, y]) => [tidy(x * width), tidy(y * height)])];
}
