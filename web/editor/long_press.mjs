// A finger that rests on the stage does what a mouse's other button does.
const LASTS = 550;

export class LongPress {
  timer = null;

  /** `rested` is called with the place of a finger that has rested. */
  constructor(rested) {
    this.rested = rested;
  }

  begin({ pointerType, clientX, clientY }) {
    this.cancel();
    if (pointerType !== "touch") return;
    const timer = setTimeout(() => {
      // On a busy page the finger may have moved by now: what it did is told before the next frame.
      requestAnimationFrame(() => {
        if (this.timer !== timer) return;
        this.timer = null;
        this.rested({ clientX, clientY });
      });
    }, LASTS);
    this.timer = timer;
  }

  cancel() {
    clearTimeout(this.timer);
    this.timer = null;
  }
}
