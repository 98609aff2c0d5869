/** Our own documents, which Python and the editor must read, judge and write alike; other formats are Python's. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parse, serialise } from "../../web/lib/document.mjs";
import { excerpt, LayoutError } from "../../web/lib/errors.mjs";
import { ASKED, FORMATS, ORDERS, READ_ONLY, readOwn, UNITS, WRITE_ONLY } from "../../web/lib/formats.mjs";
import { isEmpty, fault, maskBounds, raster } from "../../web/lib/mask.mjs";
import { findProblems } from "../../web/lib/problems.mjs";
import { createTranslator, tError } from "../../web/lib/i18n.mjs";
import { cases, fixtures, readJson, readText } from "./support.mjs";

const listed = (problems) => problems.map(({ severity, instance, field }) => [severity, instance, field]);

function caught(act) {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof LayoutError, error.stack);
    return error;
  }
  return null;
}

const isForeign = (entry) => {
  const name = entry.format ?? entry.detected;
  return name !== undefined && name !== "layout";
};

for (const entry of cases()) {
  test(entry.name, () => {
    if (entry.document) assert.equal(serialise(parse(entry.document)), entry.document);
    if (isForeign(entry)) {
      const read = caught(() => assert.equal(readOwn(entry.text, entry.format), null));
      // Text that is no JSON at all is refused here, before anybody is asked.
      if (read) assert.ok(entry.error && /^error\.(json|empty|text)/.test(read.code), read.code);
      return;
    }
    if (entry.error) {
      checkError(entry);
      return;
    }
    const layout = readOwn(entry.text, entry.format);
    if (layout === null) {
      assert.match(entry.text, /^[^{[]/, "a document inside other words is for the host");
      return;
    }
    assert.equal(serialise(layout), entry.document);
    assert.deepEqual(listed(findProblems(layout)), entry.problems);
  });
}

/** What is refused as a document; without our keys the host would be asked first. */
const asOwn = ({ text, format }) => readOwn(text, format ?? (/^\s*[{[]/.test(text) ? "layout" : ""));

function checkError({ error: expected, text, format }) {
  let layout;
  const error = caught(() => (layout = asOwn({ text, format })));
  if (!error) {
    assert.equal(layout, null, "an error is expected, or another program's text");
    return;
  }
  if (expected.line) assert.deepEqual([error.line, error.column], [expected.line, expected.column]);
  if (expected.problems) assert.deepEqual(listed(error.problems), expected.problems);
  if (error.code !== "error.empty") assert.ok(error.offset >= 0 && error.offset <= text.length, error.code);
}

test("documents are read and refused here", () => {
  const own = cases().filter((entry) => !isForeign(entry));
  const errors = own.map((entry) => caught(() => asOwn(entry)));
  assert.ok(errors.filter((error) => error).length > 20);
  assert.ok(errors.filter((error) => error?.problems.length).length > 5);
  assert.ok(errors.filter((error) => !error).length > 50);
});

test("broken JSON is the host's to mend unless it has our keys", () => {
  assert.equal(readOwn('[{"box_2d": [1, 2, 3, 4], "label": "a fox"},]'), null);
  assert.ok(caught(() => readOwn('{"version": 1, "instances": [],}')).offset > 0);
  assert.ok(caught(() => readOwn('{"a": 1,}', "layout")).offset > 0);
});

test("the formats are those of the package, in its order and with its options", () => {
  const source = readText("layout/formats/__init__.py");
  const table = source.slice(source.indexOf("FORMATS = {"), source.indexOf("def detect"));
  const entries = [...table.matchAll(/Format\(\s*"([\w-]+)",[^()]*(?:\(([^()]*)\))?,?\s*\)/g)];
  const inPackage = entries.map(([, name, options]) => ({
    name,
    options: [...(options ?? "").matchAll(/"(\w+)"/g)].map(([, option]) => option),
  }));
  assert.deepEqual(
    FORMATS.map(({ name, options }) => ({ name, options })),
    inPackage,
  );
});

test("what is only written is the package's", () => {
  const source = readText("layout/formats/exports.py");
  const names = [...source.matchAll(/Export\("([\w-]+)",/g)].map(([, name]) => name);
  assert.deepEqual(
    WRITE_ONLY.map(({ name }) => name),
    names,
  );
});

test("what is only read, and what may be told, are the package's", () => {
  const source = readText("layout/formats/peers/__init__.py");
  const table = source.slice(source.indexOf("READERS = {"));
  const entries = [...table.matchAll(/Reader\(\s*"([\w-]+)",[^()]*(?:options=\(([^()]*)\))?,?\s*\)/g)];
  const inPackage = entries.map(([, name, options]) => ({
    name,
    options: [...(options ?? "").matchAll(/"(\w+)"/g)].map(([, option]) => option),
  }));
  assert.ok(inPackage.length > 10);
  assert.deepEqual(
    READ_ONLY.map(({ name, options }) => ({ name, options })),
    inPackage,
  );
  const conventions = readText("layout/formats/conventions.py");
  const orders = conventions.slice(conventions.indexOf("CORNERS"), conventions.indexOf("# Four named"));
  assert.deepEqual(
    [...orders.matchAll(/^ {4}"(\w+)": lambda/gm)].map(([, order]) => order),
    ORDERS,
  );
  const units = /^UNITS = \((.*)\)$/m.exec(conventions)[1];
  assert.deepEqual(
    [...units.matchAll(/"(\w+)"/g)].map(([, unit]) => unit),
    UNITS,
  );
});

test("what an error or a warning asks for can be told to a format", () => {
  const messages = readText("layout/messages.py");
  const known = new Set([...FORMATS, ...READ_ONLY].flatMap(({ options }) => options));
  for (const [code, options] of Object.entries(ASKED)) {
    assert.ok(messages.includes(`"${code}":`), code);
    assert.ok(
      options.every((option) => known.has(option)),
      code,
    );
  }
});

test("an excerpt shows the line and the character that is meant", () => {
  const text = `first\n${"x".repeat(60)}[1,\u0007 2]\nlast`;
  const offset = text.indexOf("[");
  const shown = excerpt(text, new LayoutError("error.json_value", {}, { text, offset }));
  assert.equal(shown, `${"x".repeat(40)}[1,· 2]\n${" ".repeat(40)}^`);
  assert.equal(excerpt("y".repeat(400), new LayoutError("error.empty")), "y".repeat(300));
});

for (const entry of fixtures("masks")) {
  test(`mask: ${entry.name}`, () => {
    assert.equal(fault(entry.mask) === null, entry.usable);
    if (!entry.usable) return;
    assert.equal(isEmpty(entry.mask), entry.empty);
    assert.deepEqual(maskBounds(entry.mask), entry.bounds);
    for (const {
      size: [width, height],
      rows,
    } of entry.rasters) {
      assert.equal(raster(entry.mask, width, height).join(""), rows.join(""));
    }
  });
}

test("every message of an error or problem finds its parameters", () => {
  const t = createTranslator({ en: readJson("locales/en/main.json") });
  const said = cases()
    .filter(({ name }) => !name.startsWith("random"))
    .flatMap((entry) => {
      const error = caught(() => readOwn(entry.text, entry.format));
      if (error) return [tError(t, error), ...error.problems.map(({ code, params }) => t(code, params))];
      return entry.document
        ? findProblems(parse(entry.document)).map(({ code, params }) => t(code, params))
        : [];
    });
  for (const text of said) assert.ok(!/\{\w+\}|undefined|\[object|^\w+\.\w+$/.test(text), text);
});
