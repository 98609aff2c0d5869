/** Messages in the person's language, from the catalogues that ComfyUI merges out of locales/. */

const ROOT = "instanceComposer";

/**
 * A function (key, params) → text. Keys are written without "instanceComposer."; {name} takes a parameter; an
 * object of plural forms is chosen by `params.count`. What a language lacks is said in English, else the key.
 * @param {Record<string, any>} catalogues by language, as `api.getCustomNodesI18n()` gives them
 * @param {string} [locale] "en", "zh", "zh-TW", …
 * @returns {(key: string, params?: Record<string, any>) => string}
 */
export function createTranslator(catalogues, locale = "en") {
  const languages = [...new Set([locale, locale.split("-")[0], "en"])].filter(
    (language) => catalogues[language]?.[ROOT],
  );
  return (key, params = {}) => {
    for (const language of languages) {
      const text = textOf(lookUp(catalogues[language][ROOT], key), language, params.count);
      if (text !== null) return filled(text, params, language);
    }
    return key;
  };
}

function lookUp(messages, key) {
  return key
    .split(".")
    .reduce((held, name) => (Object.hasOwn(Object(held), name) ? held[name] : undefined), messages);
}

function textOf(message, language, count) {
  if (typeof message === "string") return message;
  if (typeof message?.other !== "string") return null;
  // Languages without a singular, such as Chinese, may still say something else about one thing.
  const form = Number(count) === 1 ? "one" : new Intl.PluralRules(language).select(Number(count));
  return message[form] ?? message.other;
}

function filled(text, params, language) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = params[name];
    if (value === undefined || value === null) return whole;
    return typeof value === "number"
      ? value.toLocaleString(language, { maximumFractionDigits: 4 })
      : String(value);
  });
}

/**
 * What to say about an error: its place and its message.
 * @param {ReturnType<typeof createTranslator>} t
 * @param {any} error
 */
export function tError(t, error) {
  if (!error?.code) return String(error?.message ?? error);
  const message = t(error.code, error.params);
  return error.line ? t("error.at", { line: error.line, column: error.column, message }) : message;
}
