/** JSON text that may come from anywhere: limits, positions, and numbers written as Python writes them. */

import { LayoutError } from "./errors.mjs";

export const MOST_CHARACTERS = 10_000_000;
const DEEPEST = 65;
const MOST_DIGITS = 300;
const NUMBER = /(-?(?:0|[1-9][0-9]*))((?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)/y;
const ESCAPES = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

/** A number as its text, for what a JavaScript number would not give back: 1.0, 2 ** 64. */
export class NumberText {
  constructor(text) {
    this.text = text;
  }
  valueOf() {
    return Number(this.text);
  }
  toJSON() {
    return Number(this.text);
  }
}

/** Text without a byte order mark; LayoutError over 10 MB. @param {string} text */
export function decode(text) {
  requireShort(text);
  return text.replace(/^\ufeff/, "");
}

/**
 * The value of a JSON text; LayoutError pointing at the first character that is none.
 *
 * Objects have no prototype. With `exact`, objects are Maps (the order of keys survives) and numbers that
 * JavaScript would write differently are `NumberText`.
 * @param {string} text @param {{exact?: boolean}} [options]
 */
export function parseJson(text, options = {}) {
  return new Parser(decode(text), options).document();
}

/**
 * Offset of the value that a path of keys and indices leads to, null without one.
 * @param {string} text
 * @param {(string|number)[]} path
 */
export function locate(text, path) {
  const parser = new Parser(text, { path });
  try {
    parser.document();
  } catch {
    // The start may have been found before the text stops being JSON.
  }
  return parser.found;
}

/**
 * Point an error that has a path at its value in the text, or at the nearest value around it.
 * @param {LayoutError} error
 * @param {string} text
 */
export function pointAtPath(error, text) {
  for (let path = error.path; path && error.offset === null; path = path.length ? path.slice(0, -1) : null) {
    const offset = locate(text, path);
    if (offset !== null) error.pointAt(text, offset);
  }
  return error;
}

class Parser {
  constructor(text, { exact = false, path = null }) {
    Object.assign(this, { text, exact, path, at: 0, found: null });
  }

  fail(code, offset = this.at, params = {}) {
    throw new LayoutError(code, params, { text: this.text, offset });
  }

  /** Skip white space, return the character there. */
  next() {
    while (" \t\n\r".includes(this.text[this.at] ?? "x")) this.at += 1;
    return this.text[this.at];
  }

  document() {
    this.next();
    const value = this.value(0, this.path !== null);
    if (this.next() !== undefined) this.fail("error.json_extra");
    return value;
  }

  value(depth, wanted) {
    if (depth >= DEEPEST) this.fail("error.json_depth", this.at, { most: DEEPEST - 1 });
    if (wanted && depth === this.path.length) this.found = this.at;
    const inside = (key) => wanted && this.path[depth] === key;
    const character = this.text[this.at];
    if (character === "{") return this.object(depth, inside);
    if (character === "[") return this.array(depth, inside);
    if (character === '"') return this.string();
    for (const [word, value] of [
      ["true", true],
      ["false", false],
      ["null", null],
    ]) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.number();
  }

  object(depth, inside) {
    const entries = new Map();
    this.at += 1;
    if (this.next() !== "}") {
      do {
        if (this.next() !== '"') this.fail("error.json_key");
        const start = this.at;
        const key = this.string();
        if (entries.has(key)) this.fail("error.json_twice", start, { key });
        if (this.next() !== ":") this.fail("error.json_colon");
        this.at += 1;
        this.next();
        entries.set(key, this.value(depth + 1, inside(key)));
      } while (this.more("}"));
    }
    this.at += 1;
    return this.exact ? entries : toObject(entries);
  }

  array(depth, inside) {
    const items = [];
    this.at += 1;
    if (this.next() !== "]") {
      do {
        this.next();
        items.push(this.value(depth + 1, inside(items.length)));
      } while (this.more("]"));
    }
    this.at += 1;
    return items;
  }

  /** Whether a comma follows; otherwise the closing character must. */
  more(closing) {
    const character = this.next();
    if (character === closing) return false;
    if (character !== ",") this.fail("error.json_comma");
    this.at += 1;
    return true;
  }

  string() {
    const start = this.at;
    let result = "";
    for (this.at += 1; ; this.at += 1) {
      const character = this.text[this.at];
      if (character === undefined) this.fail("error.json_string", start);
      if (character === '"') break;
      if (character < " ") this.fail("error.json_control");
      result += character === "\\" ? this.escape() : character;
    }
    this.at += 1;
    return result;
  }

  escape() {
    const start = this.at;
    const character = this.text[(this.at += 1)];
    if (character === undefined) return ""; // the text that is not closed is the fault
    if (character !== "u") return ESCAPES[character] ?? this.fail("error.json_escape", start);
    const digits = this.text.slice(this.at + 1, this.at + 5);
    // Python finds an escape at fault that nothing follows, closed or not.
    const last = this.at + 5 >= this.text.length;
    if (last || !/^[0-9a-fA-F]{4}$/.test(digits)) this.fail("error.json_escape", start + 1);
    this.at += 4;
    return String.fromCharCode(parseInt(digits, 16));
  }

  number() {
    NUMBER.lastIndex = this.at;
    const match = NUMBER.exec(this.text);
    if (!match) {
      const constant = /^(NaN|-?Infinity)/.exec(this.text.slice(this.at, this.at + 9));
      this.fail(constant ? "error.json_constant" : "error.json_value", this.at, { value: constant?.[1] });
    }
    const [literal, integer, rest] = match;
    const value = Number(literal);
    if (!Number.isFinite(value) || (!rest && integer.length > MOST_DIGITS)) {
      this.fail("error.json_large", this.at);
    }
    this.at += literal.length;
    if (!this.exact) return value;
    const text = rest ? floatText(value) : String(BigInt(integer));
    return text === String(value) ? value : new NumberText(text);
  }
}

function toObject(entries) {
  const result = Object.create(null);
  for (const [key, value] of entries) result[key] = value;
  return result;
}

/** A floating-point number as Python's repr. @param {number} value */
export function floatText(value) {
  if (Object.is(value, -0)) return "-0.0";
  const size = Math.abs(value);
  if (size === 0 || (size >= 1e-4 && size < 1e16)) {
    return Number.isInteger(value) ? `${value}.0` : String(value);
  }
  return value.toExponential().replace(/e([-+])(\d)$/, "e$10$2");
}

/** A number that is always written with a point. @param {number} value */
export const float = (value) => new NumberText(floatText(value));

/** One line of JSON as Python's json.dumps: ", " and ": ", non-ASCII readable unless it cannot be encoded. */
export function dumpJson(value) {
  const text = dump(value);
  if (!text.includes("\\ud")) return text;
  // A half of a surrogate pair cannot be encoded, so all of the line is escaped.
  return lone(value) ? text.replace(/[^ -~]/g, escaped) : text;
}

const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;

function lone(value) {
  if (typeof value === "string") return /\p{Surrogate}/u.test(value);
  if (value === null || typeof value !== "object" || value instanceof NumberText) return false;
  return entriesOf(value).flat().some(lone);
}

function dump(value) {
  if (value instanceof NumberText) return value.text;
  if (typeof value === "number") return numberText(value);
  if (Array.isArray(value)) return `[${value.map(dump).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${entriesOf(value)
    .map(([key, item]) => `${JSON.stringify(key)}: ${dump(item)}`)
    .join(", ")}}`;
}

function entriesOf(value) {
  if (value instanceof Map) return [...value];
  return Array.isArray(value) ? value.map((item) => [item]) : Object.entries(value);
}

function numberText(value) {
  return Number.isInteger(value) ? String(BigInt(value)) : floatText(value);
}

/** Maps and NumberText as plain objects and numbers. */
export function plain(value) {
  if (value instanceof NumberText) return value.valueOf();
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return toObject([...value].map(([key, item]) => [key, plain(item)]));
  return value;
}

/** LayoutError for a text that is longer than any reader takes, here and on the server. */
export function requireShort(text) {
  if (text.length > MOST_CHARACTERS) {
    throw new LayoutError("error.text_too_long", { count: text.length, most: MOST_CHARACTERS });
  }
}
