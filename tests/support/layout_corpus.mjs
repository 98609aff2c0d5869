/** Reads a corpus as the page does and prints, one a line, the entries of which Python says another thing. */

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { parse, serialise, strip } from "../../web/lib/document.mjs";
import { LayoutError } from "../../web/lib/errors.mjs";
import { readOwn } from "../../web/lib/formats.mjs";
import { findProblems } from "../../web/lib/problems.mjs";

const listed = (problems) => problems.map(({ severity, instance, field }) => [severity, instance, field]);
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** What differs, null where nothing does. */
function difference({ text, python }) {
  let own;
  try {
    own = readOwn(text);
  } catch (error) {
    if (!(error instanceof LayoutError)) return `not a LayoutError: ${error.stack}`;
    if (!python.error) return `refused here alone: ${error.code}`;
    if (python.place && !same(python.place, [error.line, error.column]))
      return `another place: ${error.code} at ${error.line}, ${error.column}`;
    return same(listed(error.problems), python.problems) ? null : "other unreadable fields";
  }
  if (own === null) {
    if (python.error) return null;
    if (python.format === "layout" && /^[{[]/.test(strip(text))) return "a document that is not read here";
    try {
      own = parse(python.document);
    } catch (error) {
      return `what Python wrote is refused: ${error.code}`;
    }
  } else if (python.error) return `read here alone, Python says ${python.error}`;
  if (serialise(own) !== python.document) return `another document: ${serialise(own)}`;
  return same(listed(findProblems(own)), python.problems) ? null : "other problems";
}

for await (const line of createInterface({ input: createReadStream(process.argv[2], "utf8") })) {
  const entry = JSON.parse(line);
  const found = difference(entry);
  if (found) console.log(JSON.stringify({ difference: found, ...entry }));
}
