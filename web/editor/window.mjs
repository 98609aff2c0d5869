// The editor outside its node: large over the page, or in a panel beside the graph that stays open while one works.
import { html, iconButton } from "./dom.mjs";
import { loadPanelPlace, savePanelPlace } from "./settings.mjs";

// The graph takes these wherever they happen on the page.
const POINTER = [..."wheel pointerdown pointermove pointerup mousedown contextmenu drop dragover".split(" ")];
const KEYS = ["keydown", "keyup"]; // in the panel they go on, as from the node: Ctrl+Enter runs the graph
const LEAST_SEEN = 48; // pixels of a panel that stay on the page

export class EditorWindow {
  /** `home` is the element that holds the editor otherwise; `closed` is called when it is back in there. */
  constructor(editor, home, closed) {
    Object.assign(this, { editor, home, closed, kind: null, dialog: null });
  }

  /** Open as "large" or "panel"; the same again goes back to the node. `title` says whose layout it is. */
  toggle(kind, title = "") {
    const again = this.kind === kind;
    this.close();
    if (!again) this.open(kind, title);
  }

  open(kind, title) {
    const { editor, home } = this;
    const { t } = editor;
    this.kind = kind;
    const back = html("button", { type: "button", onclick: () => this.close() }, t("editor.small"));
    home.replaceChildren(html("div", { class: "ic-away" }, t(`editor.editing_${kind}`), back));
    const isPanel = kind === "panel";
    this.dialog = html(
      "dialog",
      { class: isPanel ? "ic-dialog ic-floating" : "ic-dialog", "aria-label": title || t("editor.title") },
      isPanel && this.bar(title),
      editor.root,
    );
    for (const name of isPanel ? POINTER : [...POINTER, ...KEYS])
      this.dialog.addEventListener(name, (event) => event.stopPropagation());
    const { dialog } = this;
    // By Escape; the event comes later, when another window may be open in its place.
    dialog.addEventListener("close", () => this.dialog === dialog && this.close());
    document.body.append(this.dialog);
    editor.large = true;
    editor.fit();
    if (isPanel) this.showPanel();
    else this.dialog.showModal();
    editor.keys.focus();
  }

  /** Back to the node; one that is being removed, with its whole graph perhaps, is told of nothing. */
  close({ isRemoved = false } = {}) {
    const { dialog, editor, home } = this;
    if (!dialog) return;
    if (this.kind === "panel") this.keepPlace();
    this.dialog = this.kind = null;
    dialog.close();
    dialog.remove();
    editor.large = false;
    editor.fit();
    home.replaceChildren(editor.root);
    if (isRemoved) return;
    editor.keys.focus({ preventScroll: true });
    this.closed();
  }

  /** The panel's title, by which it is moved. */
  bar(title) {
    const { t } = this.editor;
    const bar = html(
      "div",
      { class: "ic-bar" },
      html("span", { class: "ic-bar-title" }, title),
      iconButton("close", t("editor.small"), () => this.close()),
    );
    bar.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target.closest("button")) return;
      const { left, top } = this.dialog.getBoundingClientRect();
      const [x, y] = [event.clientX - left, event.clientY - top];
      const move = (moving) => this.put({ left: moving.clientX - x, top: moving.clientY - y });
      bar.setPointerCapture(event.pointerId);
      bar.addEventListener("pointermove", move);
      bar.addEventListener("lostpointercapture", () => bar.removeEventListener("pointermove", move), {
        once: true,
      });
    });
    return bar;
  }

  showPanel() {
    const { innerWidth, innerHeight } = window;
    const [width, height] = [Math.min(620, innerWidth - 40), Math.min(860, innerHeight - 120)];
    this.dialog.show();
    this.put({ left: innerWidth - width - 20, top: 96, width, height, ...loadPanelPlace() });
  }

  /** Place the panel so that it can be reached, whatever the window's size was when it was kept. */
  put({ left, top, width, height }) {
    const { style } = this.dialog;
    const { innerWidth, innerHeight } = window;
    style.left = `${Math.min(Math.max(left, LEAST_SEEN - this.dialog.offsetWidth), innerWidth - LEAST_SEEN)}px`;
    style.top = `${Math.min(Math.max(top, 0), innerHeight - LEAST_SEEN)}px`;
    if (width) style.width = `${Math.min(width, innerWidth)}px`;
    if (height) style.height = `${Math.min(height, innerHeight)}px`;
  }

  keepPlace() {
    const { left, top, width, height } = this.dialog.getBoundingClientRect();
    savePanelPlace({ left, top, width, height });
  }
}
