import assert from "node:assert/strict";
import test from "node:test";
import { fileName, LONGEST_NAME, nameOfFile, tidyName } from "../../web/lib/file_names.mjs";

const NAMES = [
  "Two foxes",
  "..",
  "../../etc/passwd",
  "C:\\Windows\\x",
  "a%2F..%2Fb",
  "<img src=x onerror=alert(1)>",
  "con",
  "LPT1",
  "狐狸与猫头鹰",
  "Füchse = =2F?",
  "🦊 in the snow",
  "a\u202eb",
  ".hidden",
  "ends with a dot.",
];

test("every name is a file of its own, safe on every system, and comes back as it was", () => {
  const files = NAMES.map(fileName);
  assert.equal(new Set(files).size, NAMES.length);
  for (const [index, file] of files.entries()) {
    assert.equal(nameOfFile(file), NAMES[index]);
    assert.doesNotMatch(file, /[\\/:*?"<>|%.\p{Cc}\p{Cf}]/u);
    assert.doesNotMatch(file, /^(?:con|lpt1)$/i);
    assert.ok(new TextEncoder().encode(file).length < 250, file);
  }
});

test("names are one line of composed letters, and not longer than a file system takes", () => {
  assert.equal(tidyName("  Fu\u0308chse \n im\tSchnee "), "Füchse im Schnee");
  assert.equal(tidyName(" \n "), "");
  const long = tidyName("🦊".repeat(500));
  assert.equal([...long].length, LONGEST_NAME);
  assert.ok(new TextEncoder().encode(fileName(long)).length < 250);
  assert.ok(new TextEncoder().encode(fileName("/".repeat(LONGEST_NAME))).length < 250);
});

test("a file that a system gave back in parts has the composed name", () => {
  assert.equal(nameOfFile(fileName("Füchse").normalize("NFD")), "Füchse");
});
