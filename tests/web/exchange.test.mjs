/** Files that are dropped or pasted. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Exchange } from "../../web/editor/exchange.mjs";
import { createTranslator } from "../../web/lib/i18n.mjs";
import { readJson } from "./support.mjs";

const t = createTranslator({ en: readJson("locales/en/main.json") }, "en");

test("of several files the first is opened and the others are told of", () => {
  for (const files of [["a.png"], ["a.png", "b.json"], ["a.png", "b.json", "c.json"]]) {
    const [opened, said] = [[], []];
    const exchange = Object.assign(Object.create(Exchange.prototype), {
      editor: { root: { contains: () => true }, t, say: (text) => said.push(text) },
      openFile: (file) => opened.push(file),
    });
    const dataTransfer = { types: ["Files"], files };
    exchange.drag({ type: "drop", dataTransfer, preventDefault() {}, stopPropagation() {} });
    exchange.pasted({ files, getData: () => "" });
    assert.deepEqual(opened, ["a.png", "a.png"]);
    const others = files.length - 1;
    assert.equal(said.length, others ? 2 : 0);
    for (const text of said) assert.match(text, new RegExp(`^${others} more`));
  }
});
