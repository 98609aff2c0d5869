/**
 * Names that people give as names of files and back, the same on every system: what a path, a shell or a system could
 * take for something else is written as = and its number.
 */

/** Letters of a name; with four bytes each it stays below the 255 bytes that file systems take. */
export const LONGEST_NAME = 60;

const RESERVED = /^(?:con|prn|aux|nul|com\d|lpt\d)$/i; // names that Windows keeps for devices
const code = (character) => {
  const number = character.codePointAt(0);
  return number < 256 ? `=${hex(number, 2)}` : `=u${hex(number, 6)}`;
};
const hex = (number, digits) => number.toString(16).padStart(digits, "0");

/** A name as people mean it: composed letters, single spaces, none around it, no line breaks. */
export const tidyName = (text) =>
  [...text.normalize("NFC").replace(/\s+/gu, " ").trim()].slice(0, LONGEST_NAME).join("").trim();

/** The file name of a tidy name, without ending. */
export function fileName(name) {
  // Of ASCII only what every system takes; invisible characters could make two names look the same.
  const safe = name.replace(/[^a-z0-9 _\-\u0080-\uffff]|[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/giu, (found) =>
    /^[\u{10000}-\u{10ffff}]$/u.test(found) && !/\p{Cf}/u.test(found) ? found : code(found),
  );
  return RESERVED.test(safe) ? code(safe[0]) + safe.slice(1) : safe;
}

/** The name that a file was given for, composed as some systems take letters apart. */
export const nameOfFile = (file) =>
  file
    .normalize("NFC")
    .replace(/=(?:u([0-9a-f]{6})|([0-9a-f]{2}))/g, (_, six, two) =>
      String.fromCodePoint(parseInt(six ?? two, 16)),
    );
