// A finger that rests on the stage does what a mouse's other button does.
const LASTS = 550;

export class LongPress {
  /** `rested` is called with the place of a finger that has rested. */
  constructor(rested) {
    this.rested = rested;
  }

  begin({ pointerType, clientX, clientY }) {
    this.cancel();
    if (pointerType !== "touch") return;
    this.timer = setTimeout(() => this.rested({ clientX, clientY }), LASTS);
  }

  cancel() {
    clearTimeout(this.timer);
  }
}
