/** Exact numbers of tokens: asked once for each caption, estimated where nobody can tell. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Tokens } from "../../web/editor/tokens.mjs";

/** Counts of a host whose texts have as many tokens as letters; what it was asked, and how often it had news. */
function counting(answer = (texts) => texts.map((text) => text.length)) {
  const asked = [];
  let news = 0;
  const ask = async (texts) => (asked.push(texts), answer(texts));
  const tokens = new Tokens(ask, () => (news += 1));
  return { tokens, asked, news: () => news };
}

test("a caption is estimated until the host has counted it, and asked for once", async () => {
  const { tokens, asked, news } = counting();
  assert.equal(tokens.of("a red book").exact, false);
  const first = tokens.look(["a red book", "", "a red book", "a vase"]);
  await tokens.look(["a red book"]);
  await first;
  assert.deepEqual(tokens.of("a red book"), { count: 10, exact: true });
  await tokens.look(["a red book", "a vase"]);
  assert.deepEqual(asked, [["a red book", "a vase"]]);
  assert.equal(news(), 1);
});

test("what the tokenizer cannot read stays an estimate and is not asked for again", async () => {
  const { tokens, asked } = counting(() => [null]);
  await tokens.look(["embedding:"]);
  await tokens.look(["embedding:"]);
  assert.equal(asked.length, 1);
  assert.equal(tokens.of("embedding:").exact, false);
});

test("a server without the route is asked once, one that is away again", async () => {
  const without = counting(() => null);
  await without.tokens.look(["a"]);
  await without.tokens.look(["b"]);
  assert.equal(without.asked.length, 1);
  let away = true;
  const back = counting((texts) => {
    if (away) throw new TypeError("fetch failed");
    return texts.map(() => 5);
  });
  await back.tokens.look(["a"]);
  away = false;
  await back.tokens.look(["a"]);
  assert.deepEqual(back.tokens.of("a"), { count: 5, exact: true });
});

test("a request stays small: huge captions are estimated, many are asked for in turns", async () => {
  const { tokens, asked } = counting();
  const many = Array.from({ length: 120 }, (_, number) => `thing ${number}`);
  await tokens.look(["x".repeat(5_000), ...many]);
  await tokens.look(many);
  await tokens.look(many);
  assert.deepEqual(
    asked.map((texts) => texts.length),
    [50, 50, 20],
  );
});

test("no request is longer than the server reads", async () => {
  const { tokens, asked } = counting();
  const long = Array.from({ length: 30 }, (_, number) => `${number} `.padEnd(4_000, "x"));
  await tokens.look(long);
  await tokens.look(long);
  const characters = asked.map((texts) => texts.join("").length);
  assert.deepEqual(
    asked.map((texts) => texts.length),
    [25, 5],
  );
  assert.ok(
    characters.every((count) => count <= 100_000),
    String(characters),
  );
});
