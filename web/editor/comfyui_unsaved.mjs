// What was typed in the moment before a reload: a front end writes a workflow only a while after it hears of a change,
// and those before 1.58 do not on leaving. The page that is left keeps the newest text for the page that comes.

const KEY = "InstanceComposer.unsaved";
const WRITTEN_WITHIN = 3000; // milliseconds after which every front end has written a change that it was told of

const left = read();

/**
 * The newest text of an editor where what came back with the workflow is one that was typed on; null otherwise.
 * It is given once: whoever opens an older file later gets that file.
 */
export function takeUnsaved(key, text) {
  const found = left[key];
  if (found === undefined) return null;
  delete left[key];
  return found.before.includes(hash(text)) ? found.text : null;
}

/** Texts that a workflow may come back with, while newer ones are on their way. */
export class Unsaved {
  steps = [];

  /** `text` is about to be replaced. */
  replaced(text) {
    this.steps.push({ hash: hash(text), told: null });
  }

  /** The front end hears of all that changed until now. */
  told() {
    const now = performance.now();
    this.steps = this.steps.filter(({ told }) => told === null || now - told < WRITTEN_WITHIN);
    for (const step of this.steps) step.told ??= now;
  }

  get before() {
    this.told();
    return [...new Set(this.steps.map((step) => step.hash))];
  }
}

/** The page is left: keep the newest texts, for the same tab alone. @param {Iterable<{key: string, text: string, unsaved: Unsaved}>} editors */
export function keepUnsaved(editors) {
  const kept = {};
  for (const { key, text, unsaved } of editors) {
    const { before } = unsaved;
    if (before.length) kept[key] = { text, before };
  }
  try {
    if (Object.keys(kept).length) sessionStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // Forbidden or full storage: then what the front end kept has to do.
  }
}

function read() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "{}") ?? {};
    sessionStorage.removeItem(KEY);
    return kept;
  } catch {
    return {};
  }
}

/** A number that tells texts apart (FNV-1a), so that long documents with masks fit in the storage. */
function hash(text) {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return value >>> 0;
}
