/** Fixtures shared with the Python tests, and random values that are the same on every run. */

import { readdirSync, readFileSync } from "node:fs";
import { createInstance, createLayout } from "../../web/lib/document.mjs";
import { fromRaster } from "../../web/lib/mask.mjs";

export const ROOT = new URL("../../", import.meta.url);
const FIXTURES = new URL("tests/data/layouts/", ROOT);

export const readText = (path) => readFileSync(new URL(path, ROOT), "utf8");
export const readJson = (path) => JSON.parse(readText(path));
export const fixtures = (name) => readJson(`tests/data/layouts/${name}.json`);

/** Every case of every file that holds texts, with the name of the file in its own. */
export const cases = () =>
  readdirSync(FIXTURES)
    .filter((name) => name.endsWith(".json") && name !== "masks.json")
    .flatMap((file) =>
      fixtures(file.slice(0, -5)).map((entry) => ({ ...entry, name: `${file}: ${entry.name}` })),
    );

/** Numbers from 0 to 1 (Marsaglia 2003, xorshift). */
export function randomSource(seed) {
  let state = seed * 2_654_435_761 + 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Runs a check with many random sources; a failure names the seed. */
export function forEachSeed(check, count = 200) {
  for (let seed = 1; seed <= count; seed += 1) {
    try {
      check(randomSource(seed));
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
}

export const between = (random, low, high) => low + random() * (high - low);
export const integer = (random, low, high) => Math.floor(between(random, low, high + 1));
export const pick = (random, values) => values[integer(random, 0, values.length - 1)];

export function randomBox(random, smallest = 0.02) {
  const [x0, y0] = [between(random, 0, 1 - smallest), between(random, 0, 1 - smallest)];
  return [x0, y0, between(random, x0 + smallest, 1), between(random, y0 + smallest, 1)];
}

export function randomRaster(random, largest = 12) {
  const [width, height] = [integer(random, 1, largest), integer(random, 1, largest)];
  return { pixels: Uint8Array.from({ length: width * height }, () => integer(random, 0, 1)), width, height };
}

export function randomMask(random) {
  if (random() < 0.5)
    return { polygon: Array.from({ length: integer(random, 3, 7) }, () => [random(), random()]) };
  const { pixels, width, height } = randomRaster(random);
  pixels[integer(random, 0, pixels.length - 1)] = 1;
  return fromRaster(pixels, width, height);
}

export function randomLayout(random, { masks = true } = {}) {
  const instances = Array.from({ length: integer(random, 1, 6) }, (_, index) =>
    createInstance(String(index + 1), randomBox(random), {
      caption: pick(random, ["a red fox", "", "红色的狐狸", "<b>"]),
      mask: masks && random() < 0.4 ? randomMask(random) : null,
      locked: random() < 0.2,
      enabled: random() < 0.8,
      strength: pick(random, [1, 0.5, 2.25]),
    }),
  );
  return createLayout(integer(random, 16, 4000), integer(random, 16, 4000), { instances });
}

export const near = (one, other, tolerance) =>
  one.length === other.length && one.every((value, index) => Math.abs(value - other[index]) <= tolerance);

/** A mask of a run-length, and how often its runs were read. */
export function countedMask() {
  let reads = 0;
  const rle = {
    size: [4, 4],
    get counts() {
      reads += 1;
      return [5, 2, 2, 2, 5];
    },
  };
  return { mask: { rle }, reads: () => reads };
}
