/**
 * Plain lines: "x y x y: caption". Numbers with % are percent; others are fractions, or pixels where the
 * canvas size is told.
 */

import { createLayout, strip } from "../document.mjs";
import { LayoutError } from "../errors.mjs";
import { bounds } from "../regions.mjs";
import { exported, numbered, needSide } from "./shared.mjs";

const NUMBER = "([-+]?(?:[0-9]{1,40}(?:\\.[0-9]{0,40})?|\\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,3})?%?)";
// Never two optional runs of blanks side by side: a long run would take quadratic time.
const BOX = new RegExp(`^\\s*(?:[\\[(]\\s*)?${Array(4).fill(NUMBER).join("[ ,;\\t]+")}\\s*(?:[\\])]\\s*)?:`);
const KEY = /^\s*(prompt|negative|canvas)\s*:/i;
const SIZE = /^([0-9]{1,6})(?:\s*[x×*,]\s*|\s+)([0-9]{1,6})$/;

export function recognisesText(text) {
  return (
    KEY.exec(strip(text))?.[1].toLowerCase() === "canvas" || text.split("\n").some((line) => BOX.test(line))
  );
}

/** @param {string} text */
export function readText(text, { canvas = null } = {}) {
  const fail = (code, offset) => {
    throw new LayoutError(code, {}, { text, offset });
  };
  const boxes = [];
  const texts = { prompt: "", negative: "" };
  let size = canvas;
  let start = 0;
  for (const line of text.split("\n")) {
    const [box, key] = [BOX.exec(line), KEY.exec(line)];
    if (box) {
      boxes.push({
        numbers: box.slice(1),
        caption: strip(line.slice(box[0].length)),
        offset: start + line.indexOf(box[1]),
      });
    } else if (key) {
      const [name, value] = [key[1].toLowerCase(), line.slice(key[0].length)];
      if (name === "canvas") size = canvasOf(value) ?? fail("error.lines_size", start + key[0].length);
      else texts[name] = strip(value);
    } else if (strip(line)) {
      if (boxes.length || texts.prompt || texts.negative)
        fail("error.lines_unknown", start + line.search(/\S/));
      texts.prompt = strip(line);
    }
    start += line.length + 1;
  }
  const sides = unitOf(boxes, size, fail);
  const contents = boxes.map(({ numbers, caption }) => ({
    box: numbers.map((value, index) => fraction(value, sides[index % 2])),
    caption,
  }));
  const { width, height } = size ?? createLayout().canvas;
  return createLayout(width, height, { instances: numbered(contents), ...texts });
}

function canvasOf(value) {
  const found = SIZE.exec(strip(value));
  return found && { width: needSide(Number(found[1]), []), height: needSide(Number(found[2]), []) };
}

/** What numbers without % are divided by. */
function unitOf(boxes, canvas, fail) {
  const bare = boxes.flatMap(({ numbers, offset }) =>
    numbers.filter((text) => !text.endsWith("%")).map((text) => ({ value: Math.abs(Number(text)), offset })),
  );
  const large = bare.find(({ value }) => value > 1);
  if (large && bare.some(({ value }) => value > 0 && value < 1)) fail("error.lines_mixed", large.offset);
  if (large && !canvas) fail("error.lines_pixels", large.offset);
  return large ? [canvas.width, canvas.height] : [1, 1];
}

/** Divided as decimal numbers, so that percent read and written are exact. */
function fraction(text, side) {
  const divisor = text.endsWith("%") ? 100 : side;
  const [, sign, whole, part = "", exponent = "0"] = /^([-+]?)([0-9]*)\.?([0-9]*)(?:[eE]([-+]?[0-9]+))?/.exec(
    text,
  );
  const digits = (BigInt(whole + part) * 10n ** 40n) / BigInt(divisor);
  return Number(`${sign}${digits}e${Number(exponent) - part.length - 40}`);
}

export function write(layout) {
  const items = exported(layout).map((item) => ({ box: bounds(item), caption: flat(item.caption) }));
  const percent = items.some(({ box }) => box.some((value) => !(value >= 0 && value <= 1)));
  const lines = [`canvas: ${layout.canvas.width} x ${layout.canvas.height}`];
  for (const key of ["prompt", "negative"])
    if (strip(layout[key])) lines.push(`${key}: ${flat(layout[key])}`);
  for (const { box, caption } of items)
    lines.push(`${box.map((value) => decimal(value, percent)).join(" ")}: ${caption}`);
  return `${lines.join("\n")}\n`;
}

const flat = (text) =>
  strip(
    text
      .split(/[\r\n]+/)
      .map(strip)
      .join(" "),
  );

/** A number without an exponent, times 100 and with % on wish; exact, since only the point moves. */
function decimal(value, percent) {
  const [, digits, tail = "", exponent] = /^(\d)\.?(\d*)e([-+]\d+)$/.exec(Math.abs(value).toExponential());
  const point = 1 + Number(exponent) + (percent ? 2 : 0);
  const all = (digits + tail).padStart(digits.length + tail.length + Math.max(0, 1 - point), "0");
  const at = Math.max(1, point);
  const whole = all.slice(0, at).padEnd(at, "0");
  const part = all.slice(at).replace(/0+$/, "");
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const plain = `${whole}${part && `.${part}`}`;
  return `${sign}${plain.length < 40 ? plain : `${digits}.${tail}e${point - 1}`}${percent ? "%" : ""}`;
}
