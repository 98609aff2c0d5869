// Changing the stacking order in the list: drag the grip, or Alt with the arrow keys on it.

// How near to the list's edge, in pixels of the screen, a dragged line scrolls it, and how far at each frame.
const EDGE = 24;
const STEP = 6;

export class ListDrag {
  constructor(list) {
    this.list = list;
    const element = list.element_list;
    element.addEventListener("pointerdown", (event) => this.down(event));
    element.addEventListener("pointermove", (event) => this.move(event));
    element.addEventListener("pointerup", () => this.up());
    element.addEventListener("pointercancel", () => this.cancel());
    element.addEventListener("keydown", (event) => this.key(event));
  }

  down(event) {
    event.stopPropagation();
    const grip = event.target.closest(".ic-grip");
    if (!grip || event.button !== 0) return;
    const item = grip.closest(".ic-item");
    grip.setPointerCapture(event.pointerId);
    const rows = [...this.list.element_list.children];
    const ratio = item.getBoundingClientRect().height / item.offsetHeight || 1;
    this.dragged = {
      item,
      grip,
      from: rows.indexOf(item),
      to: rows.indexOf(item),
      y: event.clientY,
      ratio,
      rows,
      middles: rows.map((row) => row.offsetTop + row.offsetHeight / 2),
      at: event.clientY,
      scrolled: this.list.scroll.scrollTop,
    };
    item.setAttribute("data-dragged", "");
    requestAnimationFrame(() => this.scroll(this.dragged));
  }

  move(event) {
    if (!this.dragged) return;
    this.dragged.at = event.clientY;
    this.place();
  }

  /** A list that is longer than its room scrolls while a line is held at its edge. */
  scroll(dragged) {
    if (!dragged || dragged !== this.dragged) return;
    const { scroll } = this.list;
    const { top, bottom } = scroll.getBoundingClientRect();
    const before = scroll.scrollTop;
    if (dragged.at < top + EDGE) scroll.scrollTop -= STEP;
    else if (dragged.at > bottom - EDGE) scroll.scrollTop += STEP;
    if (scroll.scrollTop !== before) this.place();
    requestAnimationFrame(() => this.scroll(dragged));
  }

  place() {
    const { dragged } = this;
    const { item, from, rows, middles } = dragged;
    const by = (dragged.at - dragged.y) / dragged.ratio + this.list.scroll.scrollTop - dragged.scrolled;
    // No further than the list goes: what is dragged past its end would make it longer.
    const half = item.offsetHeight / 2;
    const [first, last] = [middles[0] - half, middles.at(-1) + half];
    const middle = Math.min(Math.max(middles[from] + by, first), last);
    item.style.transform = `translateY(${middle - middles[from]}px)`;
    dragged.to = middles.filter((other, at) => at !== from && other < middle).length;
    rows.forEach((row, at) => {
      if (row === item) return;
      const passed = at > from && at <= dragged.to ? -1 : at < from && at >= dragged.to ? 1 : 0;
      row.style.transform = passed ? `translateY(${passed * item.offsetHeight}px)` : "";
    });
  }

  up() {
    const { dragged } = this;
    if (!dragged) return;
    this.cancel();
    if (dragged.to === dragged.from) return;
    const { editor } = this.list;
    const id = dragged.item.dataset.id;
    // The list shows the front one first.
    editor.run("moveTo", id, editor.layout.instances.length - 1 - dragged.to);
    this.say(id);
  }

  cancel() {
    if (!this.dragged) return;
    for (const row of this.dragged.rows) row.style.transform = "";
    this.dragged.item.removeAttribute("data-dragged");
    this.dragged = null;
  }

  key(event) {
    const item = event.target.closest?.(".ic-item");
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!item || !step || event.target.closest("textarea, input")) return;
    event.preventDefault();
    const { editor } = this.list;
    const { id } = item.dataset;
    if (event.altKey || event.target.closest(".ic-grip")) {
      const at = editor.layout.instances.findIndex((instance) => instance.id === id);
      editor.run("moveTo", id, Math.min(Math.max(at + step, 0), editor.layout.instances.length - 1));
      editor.renderNow();
      event.target.focus();
      this.say(id);
    } else {
      const next = step > 0 ? item.previousElementSibling : item.nextElementSibling;
      next?.querySelector(".ic-pick")?.focus();
    }
  }

  say(id) {
    const { editor } = this.list;
    const place = editor.layout.instances.findIndex((instance) => instance.id === id) + 1;
    editor.say(editor.t("editor.reordered", { id, place, count: editor.layout.instances.length }));
  }
}
