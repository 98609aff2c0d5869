// Numbers of tokens of captions: asked of the host, estimated until it answers and where it cannot.
import { estimateTokens } from "../lib/problems.mjs";

const AT_ONCE = 50;
const LONGEST = 4_000; // characters of a caption
const MOST_CHARACTERS = 100_000; // of a request, as hosts/comfyui/server/token_count.py allows
const MOST_KEPT = 2_000;

export class Tokens {
  /** `ask` takes texts and promises their numbers, or null where nobody can tell; `changed` is called with news. */
  constructor(ask, changed) {
    Object.assign(this, { ask, changed, known: new Map(), pending: new Set() });
  }

  /** The number for a caption, start and end included, and whether it is exact. */
  of(caption) {
    const exact = this.known.get(caption);
    return { count: exact ?? estimateTokens(caption), exact: exact !== undefined };
  }

  /** Ask for those that are not known yet. */
  async look(captions) {
    if (this.unknowable) return;
    if (this.known.size > MOST_KEPT) this.known.clear();
    const isNew = (text) =>
      text && text.length <= LONGEST && !this.known.has(text) && !this.pending.has(text);
    let characters = 0;
    const texts = [...new Set(captions)]
      .filter(isNew)
      .slice(0, AT_ONCE)
      .filter((text) => (characters += text.length) <= MOST_CHARACTERS);
    if (!texts.length) return;
    for (const text of texts) this.pending.add(text);
    try {
      const counts = await this.ask(texts);
      this.unknowable = counts === null;
      texts.forEach((text, at) => {
        // What the tokenizer cannot read stays pending: it would not know better the next time.
        if (!Number.isInteger(counts?.[at])) return;
        this.known.set(text, counts[at]);
        this.pending.delete(text);
      });
      this.changed();
    } catch {
      // The server is away; the next change asks again.
      for (const text of texts) this.pending.delete(text);
    }
  }
}
