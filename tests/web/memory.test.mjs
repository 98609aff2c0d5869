/** What outlives an editor. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Memories } from "../../web/editor/memory.mjs";

test("the newest memories are kept, those of nodes that never come back are not", () => {
  const memories = new Memories();
  for (let node = 0; node < 300; node += 1) {
    memories.set(`graph:${node}`, { node });
    memories.set("graph:0", { node });
  }
  assert.ok(memories.size <= 50, String(memories.size));
  assert.deepEqual(memories.get("graph:0"), { node: 299 });
  assert.deepEqual(memories.get("graph:299"), { node: 299 });
  assert.equal(memories.get("graph:7"), undefined);
});
