// What the run makes of the prompt: the captions it does not name join it. Asked of the host, which reads the words
// as the run does; nothing is said until it answers and where it cannot.
import { isActive, serialise } from "../lib/document.mjs";

/** @typedef {{prompt: string, unnamed: string[]}} Reading */

export class Naming {
  /** `ask` takes the text of a document and promises its reading, or null where nobody can tell. */
  constructor(ask, changed) {
    Object.assign(this, { ask, changed, asked: null, reading: null, layout: null });
  }

  /** The reading of a layout; null until it is known. @returns {Reading | null} */
  of(layout) {
    return this.layout !== null && sameWords(this.layout, layout) ? this.reading : null;
  }

  /** Ask about a layout whose words are new. */
  async look(layout) {
    if (this.asked !== null && sameWords(this.asked, layout)) return;
    this.asked = layout;
    try {
      const reading = await this.ask(serialise(withoutMasks(layout)));
      if (this.asked !== layout) return; // a later question is on its way
      Object.assign(this, {
        layout,
        reading: reading && { prompt: reading.prompt, unnamed: reading.unnamed },
      });
      this.changed();
    } catch {
      if (this.asked === layout) this.asked = null; // the server is away; the next change asks again
    }
  }
}

/** Painted shapes are megabytes at times, and have no words. */
const withoutMasks = (layout) => ({
  ...layout,
  instances: layout.instances.map((item) => ({ ...item, mask: null })),
});

const words = (layout) => layout.instances.filter(isActive).map((item) => [item.id, item.caption]);

function sameWords(one, other) {
  if (one === other) return true;
  return one.prompt === other.prompt && JSON.stringify(words(one)) === JSON.stringify(words(other));
}
