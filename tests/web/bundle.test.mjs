/** What the page loads is what the sources say. */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { test } from "node:test";
import { readText, ROOT } from "./support.mjs";

const builder = await import("../../web/build.mjs").catch(() => null);
const skip = builder ? false : "esbuild is not installed. Get it with `npm install` in the root.";

test("the committed bundle is made of the sources", { skip }, async () => {
  const { outputFiles } = await builder.bundle({ write: false });
  const names = outputFiles.map(({ path }) => basename(path));
  assert.deepEqual(readdirSync(new URL("web/bundle/", ROOT)).sort(), names.sort());
  for (const { path, text } of outputFiles) {
    const committed = readText(`web/bundle/${basename(path)}`);
    assert.ok(committed === text, `${basename(path)} is not of these sources: npm run build`);
  }
});
