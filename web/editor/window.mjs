// The editor outside its node: large over the page, or in a panel beside the graph that stays open while one works.
import { html, iconButton } from "./dom.mjs";
import { loadPanelPlace, savePanelPlace } from "./settings.mjs";

// The graph takes these wherever they happen on the page.
const POINTER = [..."wheel pointerdown pointermove pointerup mousedown contextmenu drop dragover".split(" ")];
const KEYS = ["keydown", "keyup"]; // in the panel they go on, as from the node
const LEAST_SEEN = 48; // pixels of a panel that stay on the page

export class EditorWindow {
  /** `home` is the element that holds the editor otherwise; `closed` is called when it is back in there. */
  constructor(editor, home, closed) {
    Object.assign(this, { editor, home, closed, kind: null, frame: null });
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
    const frame = isPanel ? this.panel(title) : this.dialog(title);
    this.frame = frame;
    for (const name of isPanel ? POINTER : [...POINTER, ...KEYS])
      frame.addEventListener(name, (event) => event.stopPropagation());
    document.body.append(frame);
    editor.large = true;
    editor.fit();
    if (isPanel) this.showPanel();
    else frame.showModal();
    editor.keys.focus();
  }

  /** Over the page, which hears nothing meanwhile. */
  dialog(title) {
    const { editor } = this;
    const label = title || editor.t("editor.title");
    const dialog = html("dialog", { class: "ic-dialog", "aria-label": label }, editor.root);
    // The browser would take for its own page what ComfyUI does not hear.
    dialog.addEventListener("keydown", (event) => editor.host.shortcut(event) && event.preventDefault());
    // By Escape; the event comes later, when another window may be open in its place.
    dialog.addEventListener("close", () => this.frame === dialog && this.close());
    return dialog;
  }

  /** Beside the graph. No dialog element: while one is open ComfyUI's own shortcuts and undo rest. */
  panel(title) {
    const label = title || this.editor.t("editor.title");
    const properties = { class: "ic-floating", role: "dialog", "aria-label": label };
    return html("div", properties, this.bar(title), this.editor.root);
  }

  /** Back to the node; one that is being removed, with its whole graph perhaps, is told of nothing. */
  close({ isRemoved = false } = {}) {
    const { frame, editor, home } = this;
    if (!frame) return;
    if (this.kind === "panel") this.keepPlace();
    this.frame = this.kind = null;
    frame.close?.();
    frame.remove();
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
      const { left, top } = this.frame.getBoundingClientRect();
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
    this.put({ left: innerWidth - width - 20, top: 96, width, height, ...loadPanelPlace() });
  }

  /** Place the panel so that it can be reached, whatever the window's size was when it was kept. */
  put({ left, top, width, height }) {
    const { style } = this.frame;
    const { innerWidth, innerHeight } = window;
    style.left = `${Math.min(Math.max(left, LEAST_SEEN - this.frame.offsetWidth), innerWidth - LEAST_SEEN)}px`;
    style.top = `${Math.min(Math.max(top, 0), innerHeight - LEAST_SEEN)}px`;
    if (width) style.width = `${Math.min(width, innerWidth)}px`;
    if (height) style.height = `${Math.min(height, innerHeight)}px`;
  }

  keepPlace() {
    const { left, top, width, height } = this.frame.getBoundingClientRect();
    savePanelPlace({ left, top, width, height });
  }
}
