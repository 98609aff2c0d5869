/** Layouts inside pictures: built here chunk by chunk, as PNG writers do. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { layoutsFromPng, pngTexts } from "../../web/lib/png.mjs";
import { EXAMPLE } from "../../web/lib/templates.mjs";
import { forEachSeed, integer } from "./support.mjs";

const bytes = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));

function chunk(type, data) {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  return bytes(length, type, data, [0, 0, 0, 0]);
}

const png = (...chunks) =>
  new Uint8Array(
    bytes([137, 80, 78, 71, 13, 10, 26, 10], chunk("IHDR", Buffer.alloc(13)), ...chunks, chunk("IEND", [])),
  );
const plainText = (keyword, text) => chunk("tEXt", bytes(keyword, [0], text));

test("all three kinds of text are read, compressed or not", async () => {
  const text = "红色的狐狸 🦊";
  const picture = png(
    plainText("a", "plain"),
    chunk("zTXt", bytes("b", [0, 0], deflateSync(text))),
    chunk("iTXt", bytes("c", [0, 0, 0], "zh", [0], "译", [0], text)),
    chunk("iTXt", bytes("d", [0, 1, 0], [0], [0], deflateSync(text))),
  );
  assert.deepEqual(await pngTexts(picture), { a: "plain", b: text, c: text, d: text });
});

test("layouts are found in workflows, subgraphs and prompts, each once", async () => {
  const other = EXAMPLE.replace("red fox", "grey wolf");
  const workflow = {
    nodes: [
      { type: "IC_InstanceLayout", title: "Mine", widgets_values: [1024, 1024, EXAMPLE] },
      { type: "KSampler", widgets_values: ["instances"] },
    ],
    definitions: { subgraphs: [{ nodes: [{ type: "IC_InstanceLayout", widgets_values: [other] }] }] },
  };
  const prompt = {
    3: {
      class_type: "IC_InstanceLayout",
      inputs: { width: 64, document: EXAMPLE },
      _meta: { title: "Again" },
    },
  };
  const found = await layoutsFromPng(
    png(plainText("workflow", JSON.stringify(workflow)), plainText("prompt", JSON.stringify(prompt))),
  );
  assert.deepEqual(found, [
    { text: EXAMPLE, title: "Mine" },
    { text: other, title: "" },
  ]);
});

test("pictures without layouts, damaged ones and other files give nothing", async () => {
  for (const source of [
    png(),
    png(plainText("workflow", "{")),
    png(chunk("zTXt", bytes("workflow", [0, 0], "not deflate"))),
    png(chunk("iTXt", Buffer.from("x"))),
    png(
      plainText("workflow", '{"nodes": [{"type": "IC_InstanceLayout", "widgets_values": ["{instances"]}]}'),
    ),
    new Uint8Array(),
    new TextEncoder().encode("JFIF"),
    png(plainText("workflow", "null")),
  ]) {
    assert.deepEqual(await layoutsFromPng(source), []);
  }
});

test("a picture cut off anywhere does no harm", async () => {
  const picture = png(
    plainText(
      "prompt",
      JSON.stringify({ 1: { class_type: "IC_InstanceLayout", inputs: { document: EXAMPLE } } }),
    ),
  );
  const work = [];
  forEachSeed(
    (random) => work.push(layoutsFromPng(picture.subarray(0, integer(random, 0, picture.length)))),
    60,
  );
  for (const found of await Promise.all(work)) assert.ok(found.length <= 1);
});
