// The layout drawn over its picture at the size of the canvas, to save or share.
import { strip } from "../lib/document.mjs";
import { svgPath } from "../lib/mask.mjs";
import { bounds } from "../lib/regions.mjs";
import { instanceColor, textOn } from "./colors.mjs";

const LONGEST = 2048;

/** @returns {HTMLCanvasElement} */
export function layoutPicture(layout, picture, t) {
  const scale = Math.min(1, LONGEST / Math.max(layout.canvas.width, layout.canvas.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(layout.canvas.width * scale);
  canvas.height = Math.round(layout.canvas.height * scale);
  const context = canvas.getContext("2d");
  context.fillStyle = "#26282c";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (picture) drawWhole(context, picture, canvas);
  layout.instances.forEach((instance, index) =>
    draw(context, canvas, instance, instanceColor(instance, index), t),
  );
  return canvas;
}

/** As the editor shows it: in its own shape, in the middle. */
function drawWhole(context, picture, { width, height }) {
  const own = [picture.naturalWidth || picture.width, picture.naturalHeight || picture.height];
  const scale = Math.min(width / own[0], height / own[1]);
  const [w, h] = own.map((side) => side * scale);
  context.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
}

function draw(context, { width, height }, instance, color, t) {
  const [x0, y0, x1, y1] = bounds(instance);
  const path = new Path2D(
    instance.mask
      ? svgPath(instance.mask, width, height)
      : `M${x0 * width} ${y0 * height}H${x1 * width}V${y1 * height}H${x0 * width}Z`,
  );
  const unit = Math.max(width, height) / 1024;
  context.globalAlpha = instance.enabled ? 0.22 : 0.06;
  context.fillStyle = color;
  context.fill(path, "evenodd");
  context.globalAlpha = 1;
  context.setLineDash(instance.enabled ? [] : [8 * unit, 6 * unit]);
  for (const [style, line] of [
    ["#000a", 5],
    [color, 2.5],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = line * unit;
    context.stroke(path);
  }
  context.setLineDash([]);
  label(
    context,
    instance,
    color,
    [x0 * width + 4 * unit, y0 * height + 4 * unit],
    (x1 - x0) * width - 8 * unit,
    unit,
    t,
  );
}

/** The id on its colour, then as much of the caption as fits on the line. */
function label(context, instance, color, [x, y], room, unit, t) {
  const size = 16 * unit;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const chip = context.measureText(instance.id).width + size * 0.6;
  context.fillStyle = color;
  context.fillRect(x, y, chip, size * 1.4);
  context.fillStyle = textOn(color);
  context.fillText(instance.id, x + size * 0.3, y + size * 0.72);
  const words = fitted(context, strip(instance.caption) || t("editor.no_caption"), room - chip - size);
  if (!words) return;
  context.fillStyle = "#000a";
  context.fillRect(x + chip, y, context.measureText(words).width + size * 0.6, size * 1.4);
  context.fillStyle = "#fff";
  context.fillText(words, x + chip + size * 0.3, y + size * 0.72);
}

function fitted(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let letters = [...text];
  while (letters.length && context.measureText(`${letters.join("")}…`).width > room)
    letters = letters.slice(0, -1);
  return letters.length ? `${letters.join("")}…` : "";
}
