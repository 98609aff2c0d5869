/** Messages: complete in every language, all used, none missing. */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { createTranslator, tError } from "../../web/lib/i18n.mjs";
import { parse } from "../../web/lib/document.mjs";
import { readJson, readText, ROOT } from "./support.mjs";

const LANGUAGES = ["en", "zh"];
const catalogues = Object.fromEntries(
  LANGUAGES.map((language) => [language, readJson(`locales/${language}/main.json`)]),
);
const sections = Object.keys(catalogues.en.instanceComposer);
const PLURALS = ["zero", "one", "two", "few", "many", "other"];

/** Keys with their messages; plural forms are one message. */
function messages(held, prefix = "") {
  return Object.entries(held).flatMap(([key, value]) => {
    const plural = typeof value === "object" && Object.keys(value).every((name) => PLURALS.includes(name));
    return typeof value === "string" || plural
      ? [[prefix + key, value]]
      : messages(value, `${prefix}${key}.`);
  });
}

const texts = (message) => (typeof message === "string" ? [message] : Object.values(message));
const inText = (text) => new Set(text.match(/\{\w+\}/g));
const placeholders = (message) => inText(typeof message === "string" ? message : message.other);
const allPlaceholders = (message) => inText(texts(message).join(" "));
const english = new Map(messages(catalogues.en.instanceComposer));

const sources = readdirSync(new URL("web/", ROOT), { recursive: true })
  .filter((name) => /\.m?js$/.test(name) && !name.startsWith("bundle"))
  .map((name) => readText(`web/${name}`))
  .join("\n");

test("every language has the same messages with the same parameters", () => {
  for (const language of LANGUAGES) {
    const found = new Map(messages(catalogues[language].instanceComposer));
    assert.deepEqual([...found.keys()], [...english.keys()], language);
    for (const [key, message] of found) {
      assert.ok(
        texts(message).every((text) => text.trim()),
        key,
      );
      assert.deepEqual(placeholders(message), placeholders(english.get(key)), `${language} ${key}`);
      const known = allPlaceholders(english.get(key));
      assert.ok(
        [...allPlaceholders(message)].every((name) => known.has(name)),
        `${language} ${key}`,
      );
    }
  }
});

test("plural forms are those of the language", () => {
  for (const language of LANGUAGES) {
    const forms = new Intl.PluralRules(language).resolvedOptions().pluralCategories.sort();
    for (const [key, message] of messages(catalogues[language].instanceComposer)) {
      if (typeof message === "string") continue;
      const given = Object.keys(message).filter((form) => form !== "one" || forms.includes("one"));
      assert.deepEqual(given.sort(), forms, `${language} ${key}`);
    }
  }
});

// The server names these codes; what it says of each is in the same table.
const fromServer = new Set(
  [...readText("layout/messages.py").matchAll(/^ {4}"(\w+)":/gm)].map(([, code]) => `error.${code}`),
);

test("every message is used, every key has a message", () => {
  const literals = new Set([...sources.matchAll(/["'`]([a-z]+\.[a-z0-9_.]+)["'`]/g)].map(([, key]) => key));
  const beginnings = [...sources.matchAll(/`([a-z]+\.[a-z0-9_.]*)\$\{/g)].map(([, start]) => start);
  const used = (key) =>
    literals.has(key) || fromServer.has(key) || beginnings.some((start) => key.startsWith(start));
  assert.deepEqual(
    [...english.keys()].filter((key) => !used(key)),
    [],
  );
  const meant = [...literals].filter((key) => sections.includes(key.split(".")[0]));
  assert.deepEqual(
    meant.filter((key) => !english.has(key)),
    [],
  );
});

test("parameters, plurals and the way back to English", () => {
  const t = createTranslator(
    {
      en: {
        instanceComposer: {
          a: "{x} of {y}",
          n: { one: "{count} region", other: "{count} regions" },
          only: "English",
        },
      },
      de: { instanceComposer: { a: "{y} von {x}", n: { other: "{count} Bereiche" } } },
      fr: {},
    },
    "de-AT",
  );
  assert.equal(t("a", { x: "<b>", y: 1.5 }), "1,5 von <b>");
  assert.equal(t("n", { count: 1 }), "1 Bereiche");
  const chinese = createTranslator(
    { zh: { instanceComposer: { n: { one: "it", other: "{count}" } } } },
    "zh",
  );
  assert.deepEqual(
    [1, 2].map((count) => chinese("n", { count })),
    ["it", "2"],
  );
  assert.equal(t("only"), "English");
  assert.equal(t("no.such"), "no.such");
  assert.equal(t("constructor"), "constructor");
  assert.equal(
    createTranslator(catalogues, "fr")("refused.locked", { count: 1, names: "a" }),
    "a is locked. Unlock it first.",
  );
  assert.equal(createTranslator({}, "en")("a"), "a");
});

test("an error tells its place and what to do", () => {
  const t = createTranslator(catalogues, "en");
  assert.throws(
    () => parse('{"version": 1,\n x}'),
    (error) => {
      assert.equal(tError(t, error), "Line 2, column 2: A key in double quotes is expected here.");
      return true;
    },
  );
  assert.equal(tError(t, new Error("other")), "other");
});
