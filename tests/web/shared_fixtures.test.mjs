/** Texts that Python and the editor must read, judge and write alike. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parse, serialise } from "../../web/lib/document.mjs";
import { LayoutError } from "../../web/lib/errors.mjs";
import { detect, FORMATS, read, write } from "../../web/lib/formats/index.mjs";
import { isEmpty, fault, maskBounds, raster } from "../../web/lib/mask.mjs";
import { findProblems } from "../../web/lib/problems.mjs";
import { createTranslator, tError } from "../../web/lib/i18n.mjs";
import { cases, fixtures, readJson } from "./support.mjs";

const optionsOf = ({ canvas, ...others } = {}) => ({
  ...others,
  ...(canvas ? { canvas: { width: canvas[0], height: canvas[1] } } : {}),
});

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

for (const entry of cases()) {
  test(entry.name, () => {
    const act = () => read(entry.text, entry.format ?? null, optionsOf(entry.options));
    if (entry.detected) assert.equal(detect(entry.text), entry.detected);
    if (entry.error) {
      checkError(caught(act), entry);
      return;
    }
    const layout = act();
    assert.equal(serialise(layout), entry.document);
    assert.equal(serialise(parse(entry.document)), entry.document);
    assert.deepEqual(listed(findProblems(layout)), entry.problems);
    for (const [name, text] of Object.entries(entry.written ?? {}))
      assert.equal(write(layout, name), text, name);
  });
}

function checkError(error, { error: expected, text, options }) {
  assert.ok(error, "an error is expected");
  if (expected.line) assert.deepEqual([error.line, error.column], [expected.line, expected.column]);
  if (expected.problems) assert.deepEqual(listed(error.problems), expected.problems);
  // What a form can ask for has no place in the text.
  if (error.code !== "error.empty") {
    assert.ok(
      error.offset >= 0 && error.offset <= text.length,
      `${error.code} points nowhere (${JSON.stringify(options)})`,
    );
  }
}

test("every format is read, written and refused somewhere", () => {
  const all = cases();
  for (const { name } of FORMATS) {
    assert.ok(
      all.some((entry) => entry.detected === name && entry.document),
      `${name} is read`,
    );
    assert.ok(
      all.some((entry) => entry.detected === name && entry.error),
      `${name} is refused`,
    );
    assert.ok(
      all.some((entry) => entry.written?.[name]),
      `${name} is written`,
    );
  }
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
      const error = caught(() => read(entry.text, entry.format ?? null, optionsOf(entry.options)));
      if (error) return [tError(t, error), ...error.problems.map(({ code, params }) => t(code, params))];
      return findProblems(parse(entry.document)).map(({ code, params }) => t(code, params));
    });
  for (const text of said) assert.ok(!/\{\w+\}|undefined|\[object|^\w+\.\w+$/.test(text), text);
});
