/** What outlives an editor. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Memories, recall, remember } from "../../web/editor/memory.mjs";
import { Pictures } from "../../web/editor/pictures.mjs";
import { createState } from "../../web/lib/commands.mjs";
import { createLayout, serialise } from "../../web/lib/document.mjs";
import { createHistory } from "../../web/lib/history.mjs";

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

/** Steps with the prompts given, the prompts of those that were read, and an editor of a text that goes on from them. */
function remembered(prompts, present, text) {
  const read = [];
  const steps = prompts.map((prompt) => {
    const layout = createLayout(1024, 1024);
    return createState(
      Object.defineProperty(layout, "prompt", { get: () => read.push(prompt) && prompt, enumerable: true }),
    );
  });
  const written = serialise(createLayout(1024, 1024, { prompt: prompts[present] }));
  const history = {
    past: steps.slice(0, present),
    present: steps[present],
    future: steps.slice(present + 1),
  };
  const editor = {
    stage: { view: {} },
    pictures: {},
    host: { text: serialise(createLayout(1024, 1024, { prompt: text })) },
    broken: { text: null },
    hostSizeChanged() {},
    invalidate() {},
  };
  recall(editor, { history, written });
  return { editor, read: new Set(read), at: editor.history ? steps.indexOf(editor.history.present) : null };
}

test("the step of a text is looked for from the present outwards", () => {
  const prompts = Array.from({ length: 40 }, (_, at) => `prompt ${at}`);
  const same = remembered(prompts, 20, "prompt 20");
  assert.equal(same.at, 20);
  assert.equal(same.read.size, 0, "the text of the present is known");
  const undone = remembered(prompts, 20, "prompt 19");
  assert.deepEqual([undone.at, undone.editor.history.future.length], [19, 20]);
  assert.ok(undone.read.size <= 2);
  assert.equal(remembered(prompts, 20, "prompt 39").at, 39);
  assert.equal(remembered(prompts, 0, "prompt 39").at, 39);
  assert.equal(remembered(prompts, 39, "prompt 0").at, 0);
  assert.equal(remembered(prompts, 20, "another").at, null);
});

test("a picture that was opened lies there again when the graph is rebuilt, until a run brings another", () => {
  const made = () => ({
    history: createHistory(createState(createLayout())),
    written: null,
    stage: { view: {} },
    tool: "box",
    host: { text: "another" },
    broken: { text: null },
    invalidate() {},
    pictures: Object.assign(Object.create(Pictures.prototype), {
      editor: { settings: { picture: "auto" } },
      images: { preview: null, result: null, reference: null },
      opened: false,
      render() {},
    }),
  });
  const before = made();
  before.pictures.opened = true;
  const after = made();
  recall(after, remember(before));
  const { pictures } = after;
  pictures.set("result", "result", false);
  assert.equal(pictures.shown, "result", "the file may be gone");
  pictures.set("reference", "photo");
  assert.equal(pictures.shown, "photo");
  pictures.set("result", "next result");
  assert.equal(pictures.shown, "next result");
});
