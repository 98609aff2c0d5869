/** The request for a chat model: what it shows as an answer can be pasted, and it says what the layout is for. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { answerLike, chatRequest } from "../../web/lib/chat_request.mjs";
import { createLayout } from "../../web/lib/document.mjs";
import { readOwn } from "../../web/lib/formats.mjs";
import { createTranslator } from "../../web/lib/i18n.mjs";
import { findProblems } from "../../web/lib/problems.mjs";
import { readText } from "./support.mjs";

const catalogues = Object.fromEntries(
  ["en", "zh"].map((name) => [name, JSON.parse(readText(`locales/${name}/main.json`))]),
);

test("the answer that the request shows is a layout of the canvas without faults", () => {
  const layout = readOwn(answerLike(1344, 768), "");
  assert.deepEqual([layout.canvas.width, layout.canvas.height], [1344, 768]);
  assert.ok(layout.instances.length >= 2);
  assert.deepEqual(findProblems(layout), []);
});

test("the request names size, subject and form, in both languages", () => {
  for (const locale of ["en", "zh"]) {
    const t = createTranslator(catalogues, locale);
    const request = chatRequest(createLayout(1344, 768, { prompt: "a harbour at dawn" }), t);
    for (const part of ["1344 × 768", "a harbour at dawn", answerLike(1344, 768)])
      assert.ok(request.includes(part), `${locale}: ${part}`);
    assert.ok(!/\{\w+\}/.test(request), "a parameter was not filled in");
    assert.ok(chatRequest(createLayout(64, 64), t).includes(t("editor.chat_subject")));
  }
});
