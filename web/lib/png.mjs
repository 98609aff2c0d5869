/**
 * Layouts that travel in the text chunks of a PNG: ComfyUI keeps the workflow and the prompt there (PNG
 * specification, 11.3.3).
 */

import { canonical } from "./document.mjs";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MOST_TEXT = 50_000_000;
const NODE = "IC_InstanceLayout";

/**
 * The texts of a PNG by keyword; empty for other files.
 * @param {Uint8Array} bytes
 * @returns {Promise<Record<string, string>>}
 */
export async function pngTexts(bytes) {
  const texts = {};
  if (!SIGNATURE.every((value, index) => bytes[index] === value)) return texts;
  for (const { type, data } of chunks(bytes)) {
    if (!["tEXt", "zTXt", "iTXt"].includes(type)) continue;
    const entry = await textOf(type, data).catch(() => null);
    if (entry && !Object.hasOwn(texts, entry.keyword)) texts[entry.keyword] = entry.text;
  }
  return texts;
}

function* chunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (data.length < length) return;
    yield { type: latin(bytes.subarray(at + 4, at + 8)), data };
    at += length + 12;
  }
}

const latin = (bytes) => Array.from(bytes, (value) => String.fromCharCode(value)).join("");
const utf8 = (bytes) => new TextDecoder().decode(bytes);

/** Up to the next zero, and what follows it. */
function cut(data) {
  const end = data.indexOf(0);
  if (end < 0) throw new RangeError("a text chunk without an end of its keyword");
  return [data.subarray(0, end), data.subarray(end + 1)];
}

async function textOf(type, data) {
  const [name, rest] = cut(data);
  const keyword = latin(name);
  // The specification says Latin 1, but ComfyUI's pictures hold what other tools wrote as UTF-8 too.
  if (type === "tEXt") return { keyword, text: utf8(rest) };
  if (type === "zTXt") return { keyword, text: utf8(await inflate(rest.subarray(1))) };
  const [, translated] = cut(rest.subarray(2));
  const [, text] = cut(translated);
  return { keyword, text: utf8(rest[0] ? await inflate(text) : text) };
}

/** Deflate data, up to a size that no workflow has. */
async function inflate(data) {
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const parts = [];
  let size = 0;
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    size += read.value.length;
    if (size > MOST_TEXT) throw new RangeError("a text chunk larger than any workflow");
    parts.push(read.value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/**
 * The layout documents of the Instance Layout nodes in a picture, each once, in our own text form.
 * @param {Uint8Array} bytes @returns {Promise<{text: string, title: string}[]>}
 */
export async function layoutsFromPng(bytes) {
  const texts = await pngTexts(bytes);
  const found = new Map();
  for (const value of ["workflow", "prompt"].map((keyword) => parsed(texts[keyword]))) {
    for (const { source, title } of documents(value)) {
      const text = readable(source);
      if (text !== null && !found.has(text)) found.set(text, { text, title });
    }
  }
  return [...found.values()];
}

function parsed(text) {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}

function* documents(value) {
  if (value === null || typeof value !== "object") return;
  if (value.type === NODE || value.class_type === NODE) {
    const values = [...Object.values(value.inputs ?? {}), ...Object.values(value.widgets_values ?? {})];
    const title = String(value.title ?? value._meta?.title ?? "");
    for (const source of values)
      if (typeof source === "string" && source.includes("instances")) yield { source, title };
    return;
  }
  for (const item of Object.values(value)) yield* documents(item);
}

function readable(source) {
  try {
    return canonical(source);
  } catch {
    return null;
  }
}
