/** The document against its schema, round trips, and text that JavaScript alone would spoil. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as document from "../../web/lib/document.mjs";
import { floatText, locate, parseJson } from "../../web/lib/json.mjs";
import { forEachSeed, randomLayout, readJson } from "./support.mjs";

const schema = readJson("layout/layout.schema.json");
const instance = schema.$defs.instance.properties;

test("limits are those of the schema", () => {
  const { side, side_of_mask: maskSide, coordinate } = schema.$defs;
  assert.deepEqual([side.minimum, side.maximum], [document.SMALLEST_CANVAS, document.LARGEST_CANVAS]);
  assert.deepEqual([coordinate.minimum, coordinate.maximum], [document.LOWEST, document.HIGHEST]);
  assert.equal(maskSide.maximum, document.LONGEST_MASK_SIDE);
  assert.equal(schema.$defs.polygon.properties.polygon.maxItems, document.MOST_POINTS);
  assert.equal(instance.strength.maximum, document.STRONGEST);
  assert.equal(instance.color.pattern, document.COLOR.source);
  assert.equal(schema.properties.version.const, document.VERSION);
});

test("fields and their defaults are those of the schema", () => {
  const { mask, extra, ...rest } = document.createInstance("1", [0, 0, 1, 1]);
  assert.deepEqual(Object.keys({ ...rest, mask }).sort(), Object.keys(instance).sort());
  for (const [name, value] of Object.entries(document.DEFAULTS))
    assert.equal(value, instance[name].default, name);
  assert.equal(mask, instance.mask.default);
  assert.equal(extra.size, 0);
  const { prompt, negative } = document.createLayout();
  assert.deepEqual(
    [prompt, negative],
    [schema.properties.prompt.default, schema.properties.negative.default],
  );
});

test("what is written is read back", () => {
  forEachSeed((random) => {
    const layout = randomLayout(random);
    const text = document.serialise(layout);
    assert.deepEqual(document.parse(text), layout);
    assert.equal(document.canonical(text), text);
    assert.doesNotThrow(() => JSON.parse(text));
  });
});

test("an empty text is a layout without instances", () => {
  assert.deepEqual(document.parse(" \n"), document.createLayout());
});

test("a field of the wrong type is shown where it stands", () => {
  const text =
    '{"version": 1, "canvas": {"width": 64, "height": 64},\n "instances": [{"id": "1", "box": [0, 0, 1, "x"]}]}';
  assert.throws(
    () => document.parse(text),
    (error) => {
      assert.deepEqual([error.line, error.column], [2, 35]);
      assert.equal(text.slice(error.offset, error.offset + 2), "[0");
      return error.params.path === "instances[1].box";
    },
  );
});

test("numbers are written as Python writes them", () => {
  const written = {
    0: "0.0",
    1: "1.0",
    0.1: "0.1",
    1e-4: "0.0001",
    1e-5: "1e-05",
    1.5e-10: "1.5e-10",
    1e15: "1000000000000000.0",
    1e16: "1e+16",
    1e22: "1e+22",
  };
  for (const [value, text] of Object.entries(written)) assert.equal(floatText(Number(value)), text);
  assert.equal(floatText(-0), "-0.0");
});

test("a path leads to a character", () => {
  const text = '{"a": [1, {"b": "x"}], "c": }';
  assert.equal(text.slice(locate(text, ["a", 1, "b"])).slice(0, 3), '"x"');
  assert.equal(locate(text, []), 0);
  assert.equal(locate(text, ["a", 7]), null);
});

test("keys of objects cannot reach their prototype", () => {
  const value = parseJson('{"__proto__": {"polluted": true}}');
  assert.equal({}.polluted, undefined);
  assert.equal(value.polluted, undefined);
  assert.deepEqual(Object.keys(value), ["__proto__"]);
});

test("ten megabytes and more are refused before they are read", () => {
  assert.throws(() => document.parse(" ".repeat(10_000_001) + "{}"), { code: "error.text_too_long" });
});

test("text is stripped in time that grows with it", () => {
  const caption = `a${" ".repeat(60_000)}b`;
  const start = performance.now();
  for (let round = 0; round < 20; round += 1) assert.equal(document.strip(` \u3000${caption}\x85 `), caption);
  assert.equal(document.strip(" \t ".repeat(20_000)), "");
  assert.ok(performance.now() - start < 1_000);
});
