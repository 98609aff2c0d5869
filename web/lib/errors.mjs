/** Errors that a person can act on: a message key with parameters, and the character that is meant. */

const REACH = 40; // characters shown on each side of the one that is meant
const BEGINNING = 300; // characters shown where none is meant

/**
 * A text or layout that cannot be read or used.
 *
 * `code` and `params` are for `i18n.mjs`. `offset` counts UTF-16 units from 0 (as text fields do), `line` and
 * `column` count characters from 1; all three are null when there is no text to point at. `path` leads to the
 * JSON value that is meant. `problems` holds every finding behind it, if they are known.
 */
export class LayoutError extends Error {
  /**
   * @param {string} code
   * @param {object} [params]
   * @param {{text?: string, offset?: number, path?: (string|number)[], problems?:
   *   import("./document.mjs").Problem[]}} [place]
   */
  constructor(code, params = {}, place = {}) {
    super(`${code} ${JSON.stringify(params)}`);
    this.name = "LayoutError";
    this.code = code;
    this.params = params;
    this.path = place.path ?? null;
    this.problems = place.problems ?? [];
    this.offset = this.line = this.column = null;
    if (place.offset !== undefined) this.pointAt(place.text, place.offset);
  }

  /** Point at a character of a text. @param {string} text @param {number} offset */
  pointAt(text, offset) {
    this.offset = Math.max(0, Math.min(offset, text.length));
    const before = text.slice(0, this.offset).split("\n");
    this.line = before.length;
    this.column = [...before.at(-1)].length + 1;
    return this;
  }
}

/** The line of a text that an error means, with a caret under the character. @param {string} text */
export function excerpt(text, error) {
  if (!(error instanceof LayoutError) || error.offset === null) return text.slice(0, BEGINNING);
  const start = Math.max(text.lastIndexOf("\n", error.offset - 1) + 1, error.offset - REACH);
  const newline = text.indexOf("\n", error.offset);
  const end = Math.min(newline < 0 ? text.length : newline, error.offset + REACH);
  const shown = text.slice(start, end).replace(/[\p{C}]/gu, "·");
  return `${shown}\n${" ".repeat(error.offset - start)}^`;
}
