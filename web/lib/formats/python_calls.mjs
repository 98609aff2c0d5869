/**
 * The little Python that a canvas is written in: method calls with texts, numbers and lists. Read, never run.
 */

import { LayoutError } from "../errors.mjs";

const NAME = /[\p{L}_][\p{L}\p{N}_]*/uy;
const NUMBER = /[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?/y;
const OPENING = /[rRuU]?('''|"""|'|")/y;
const WORDS = { True: true, False: false, None: null };
const ESCAPES = {
  n: "\n",
  t: "\t",
  r: "\r",
  a: "\x07",
  b: "\b",
  f: "\f",
  v: "\v",
  "\\": "\\",
  "'": "'",
  '"': '"',
  "\n": "",
};

/**
 * The calls in a part of a text, each {name, offset, values: {parameter: {value, offset}}}.
 * @param {string} text @param {number} start @param {number} end
 * @param {Record<string, string[]>} parameters names of the methods with their parameters in order
 */
export function readCalls(text, start, end, parameters) {
  const reader = new Reader(text.slice(0, end), start, parameters);
  const calls = [];
  while ((reader.skip(/[\s;]/y), reader.at < end)) {
    const call = reader.statement();
    if (call) calls.push(call);
  }
  return calls;
}

class Reader {
  constructor(text, at, parameters) {
    Object.assign(this, { text, at, parameters });
  }

  fail(code, offset = this.at, params = {}) {
    throw new LayoutError(code, params, { text: this.text, offset });
  }

  /** Skip characters of a kind and comments. */
  skip(kind = /\s/y) {
    for (;;) {
      kind.lastIndex = this.at;
      if (kind.test(this.text)) this.at += 1;
      else if (this.text[this.at] === "#")
        this.at = (this.text.indexOf("\n", this.at) + 1 || this.text.length + 1) - 1;
      else return;
    }
  }

  take(pattern) {
    pattern.lastIndex = this.at;
    const match = pattern.exec(this.text);
    if (match) this.at += match[0].length;
    return match;
  }

  expect(character) {
    this.skip();
    if (this.text[this.at] !== character) this.fail("error.python_expected", this.at, { character });
    this.at += 1;
  }

  statement() {
    const offset = this.at;
    const creates = this.take(/[\p{L}_][\p{L}\p{N}_]*[ \t]*=[ \t]*Canvas[ \t]*(?=\()/uy);
    const names = creates
      ? null
      : this.take(/(?:[\p{L}_][\p{L}\p{N}_]*\.)+([\p{L}_][\p{L}\p{N}_]*)[ \t]*(?=\()/uy);
    const name = names?.[1];
    if (!creates && !Object.hasOwn(this.parameters, name ?? "")) this.fail("error.python_statement", offset);
    this.at += 1;
    const values = this.arguments(creates ? null : this.parameters[name]);
    return creates ? null : { name, offset, values };
  }

  arguments(names) {
    const values = {};
    for (let place = 0; this.skip(), this.text[this.at] !== ")"; place += 1) {
      const start = this.at;
      const key = this.keyword() ?? names?.[place];
      if (names && (!names.includes(key) || Object.hasOwn(values, key))) {
        this.fail("error.python_parameter", start, { names: names.join(", ") });
      }
      this.skip();
      const offset = this.at;
      values[key] = { value: this.value(), offset };
      this.skip();
      if (this.text[this.at] !== ")") this.expect(",");
    }
    this.at += 1;
    return values;
  }

  keyword() {
    const start = this.at;
    const name = this.take(NAME)?.[0];
    this.skip();
    if (name && this.text[this.at] === "=") {
      this.at += 1;
      return name;
    }
    this.at = start;
    return null;
  }

  value() {
    const character = this.text[this.at];
    if (character === "[" || character === "(") return this.list(character === "[" ? "]" : ")");
    OPENING.lastIndex = this.at;
    if (OPENING.test(this.text)) return this.strings();
    const number = this.take(NUMBER);
    if (number) return Number(number[0]);
    const start = this.at;
    const word = this.take(NAME)?.[0];
    return Object.hasOwn(WORDS, word ?? "") ? WORDS[word] : this.fail("error.python_value", start);
  }

  /** A list; parentheses around one value without a comma are no tuple. */
  list(closing) {
    const items = [];
    let comma = closing === "]";
    this.at += 1;
    while ((this.skip(), this.text[this.at] !== closing)) {
      items.push(this.value());
      this.skip();
      if (this.text[this.at] === closing) break;
      this.expect(",");
      comma = true;
    }
    this.at += 1;
    return comma || items.length === 0 ? items : items[0];
  }

  /** Texts that follow each other are one. */
  strings() {
    let result = "";
    do {
      const start = this.at;
      const [opening, quotes] = this.take(OPENING);
      result += this.string(quotes, /^r/i.test(opening), start);
      this.skip();
      OPENING.lastIndex = this.at;
    } while (OPENING.test(this.text));
    return result;
  }

  string(quotes, raw, start) {
    let result = "";
    while (!this.text.startsWith(quotes, this.at)) {
      const character = this.text[this.at];
      if (character === undefined || (character === "\n" && quotes.length === 1))
        this.fail("error.python_string", start);
      this.at += 1;
      if (character !== "\\") result += character;
      else if (raw) result += `\\${this.text[this.at++] ?? ""}`;
      else result += this.escape();
    }
    this.at += quotes.length;
    return result;
  }

  escape() {
    const code = this.take(/x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})/y);
    if (code) {
      const point = parseInt(code[1] ?? code[2] ?? code[3], 16);
      return point <= 0x10ffff ? String.fromCodePoint(point) : this.fail("error.python_string");
    }
    const octal = this.take(/[0-7]{1,3}/y);
    if (octal) return String.fromCharCode(parseInt(octal[0], 8));
    const character = this.text[this.at] ?? "";
    this.at += 1;
    return ESCAPES[character] ?? `\\${character}`;
  }
}
