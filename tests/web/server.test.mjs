/** The pack's own routes. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { api } from "./comfyui.mjs";

const { countTokens, readLayout, readPrompt } = await import("../../web/editor/comfyui_server.mjs");

test("a server that only fails for now is no answer, one that refuses is", async () => {
  let status = 502;
  api.fetchApi = async () => new Response("<html>", { status });
  await assert.rejects(countTokens(["a"]), /502/);
  await assert.rejects(readPrompt("{}"), /502/);
  assert.equal((await readLayout("a")).refused, "HTTP 502", "said in the sheet");
  status = 413;
  assert.deepEqual(await countTokens(["a"]), []);
  assert.equal(await readPrompt("{}"), null);
  status = 404;
  assert.equal(await countTokens(["a"]), null);
});
