/** What the run makes of the prompt: asked once for the same words, never told of other ones. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { createInstance, createLayout, parse } from "../../web/lib/document.mjs";
import { Naming } from "../../web/editor/naming.mjs";

const layoutOf = (prompt, caption, box = [0, 0, 0.5, 0.5]) =>
  createLayout(1024, 1024, { prompt, instances: [createInstance("1", box, { caption })] });

function naming(answer) {
  const asked = [];
  const told = { news: 0 };
  const made = new Naming(
    async (text) => {
      asked.push(text);
      return answer(text);
    },
    () => (told.news += 1),
  );
  return { made, asked, told };
}

test("the same words are asked about once, however the box moves", async () => {
  const { made, asked, told } = naming((text) => ({ prompt: `${parse(text).prompt}!`, unnamed: ["1"] }));
  const layout = layoutOf("on grey", "a fox");
  assert.equal(made.of(layout), null);
  await made.look(layout);
  const moved = layoutOf("on grey", "a fox", [0.2, 0.2, 0.6, 0.6]);
  await made.look(moved);
  assert.equal(asked.length, 1);
  assert.deepEqual(made.of(moved), { prompt: "on grey!", unnamed: ["1"] });
  assert.equal(told.news, 1);
  assert.equal(made.of(layoutOf("on grey", "an owl")), null);
});

test("an answer that comes late does not speak of other words", async () => {
  const answers = [];
  const { made } = naming(() => new Promise((done) => answers.push(done)));
  const [first, second] = [layoutOf("", "a fox"), layoutOf("", "an owl")];
  const waiting = [made.look(first), made.look(second)];
  answers[1]({ prompt: "an owl", unnamed: ["1"] });
  answers[0]({ prompt: "a fox", unnamed: ["1"] });
  await Promise.all(waiting);
  assert.equal(made.of(second).prompt, "an owl");
  assert.equal(made.of(first), null);
});

test("without a route nothing is said, and a server that was away is asked again", async () => {
  const nobody = naming(() => null);
  const layout = layoutOf("", "a fox");
  await nobody.made.look(layout);
  assert.equal(nobody.made.of(layout), null);
  const away = naming(() => Promise.reject(new Error("away")));
  await away.made.look(layout);
  await away.made.look(layout);
  assert.equal(away.asked.length, 2);
});

test("a first question that fails late does not take the answer of the second one away", async () => {
  const answers = [];
  const { made, asked } = naming(() => new Promise((...ends) => answers.push(ends)));
  const [first, second] = [layoutOf("", "a fox"), layoutOf("", "an owl")];
  const waiting = [made.look(first), made.look(second)];
  answers[0][1](new Error("aborted"));
  await waiting[0];
  answers[1][0]({ prompt: "an owl", unnamed: ["1"] });
  await waiting[1];
  assert.equal(made.of(second).prompt, "an owl");
  await made.look(second);
  assert.equal(asked.length, 2);
});

test("painted shapes are not sent, and read only when something is asked", async () => {
  const { made, asked } = naming(() => ({ prompt: "", unnamed: [] }));
  let read = 0;
  const mask = { rle: { size: [2, 2], counts: [0, 4] } };
  const painted = Object.defineProperty(layoutOf("", "a fox"), "negative", {
    enumerable: true,
    get: () => ((read += 1), ""),
  });
  painted.instances[0] = { ...painted.instances[0], mask };
  await made.look(painted);
  assert.equal(asked.length, 1);
  assert.equal(parse(asked[0]).instances[0].mask, null);
  const before = read;
  await made.look({ ...layoutOf("", "a fox"), instances: painted.instances });
  await made.look(painted);
  assert.deepEqual([asked.length, read], [1, before]);
});
