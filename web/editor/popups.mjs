// Panels over the editor: a menu, a sheet, a short message. One is open at a time; Escape closes and gives the focus back.
import { isComposing } from "./composing.mjs";
import { html, icon, iconButton } from "./dom.mjs";

const TOAST = 3500;

export class Popups {
  constructor(editor) {
    this.editor = editor;
    this.element = null;
  }

  get open() {
    return this.element !== null;
  }

  close(focus = false) {
    if (!this.element) return;
    this.element.remove();
    this.element = null;
    this.opener?.setAttribute?.("aria-expanded", "false");
    document.removeEventListener("pointerdown", this.outside, true);
    if (focus) (this.byKey ? this.opener : this.editor.keys).focus({ preventScroll: true });
    this.opener = null;
  }

  /** Show entries beside a button, or at a point of the screen. */
  show(entries, { button = null, x = 0, y = 0, label }) {
    const again = button && this.opener === button;
    this.close();
    if (again) return;
    const { root } = this.editor;
    this.opener = button;
    // Keys go back to the button that a key pressed; after the mouse to the stage, as on a button they would reach the
    // graph's shortcuts.
    this.byKey = button?.matches(":focus") ?? false;
    button?.setAttribute("aria-expanded", "true");
    this.element = html(
      "div",
      { class: "ic-menu", role: "group", "aria-label": label },
      ...inMenus(entries, label),
    );
    root.append(this.element);
    this.place(button, x, y);
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("pointerdown", (event) => event.stopPropagation());
    this.element.addEventListener("contextmenu", (event) => event.preventDefault());
    this.outside = (event) => {
      if (!this.element?.contains(event.target) && !button?.contains(event.target)) this.close();
    };
    document.addEventListener("pointerdown", this.outside, true);
    this.items[0]?.focus({ preventScroll: true });
  }

  place(button, x, y) {
    const { root } = this.editor;
    const frame = root.getBoundingClientRect();
    const ratio = frame.width / root.offsetWidth || 1;
    const rect = button?.getBoundingClientRect();
    const wanted = rect ? [rect.left, rect.bottom + 2] : [x, y];
    const left = (wanted[0] - frame.left) / ratio;
    const top = (wanted[1] - frame.top) / ratio;
    const { offsetWidth, offsetHeight } = this.element;
    this.element.style.left = `${Math.max(4, Math.min(left, root.clientWidth - offsetWidth - 4))}px`;
    this.element.style.top = `${Math.max(4, Math.min(top, root.clientHeight - offsetHeight - 4))}px`;
  }

  get items() {
    return [...this.element.querySelectorAll("button, input")];
  }

  /** Arrows go round the buttons; fields have their own use for them, so Tab goes through all where there are any. */
  key(event) {
    const { items } = this;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      event.stopPropagation();
      const walks = event.key === "Tab" && items.some((item) => item.matches("input"));
      const next = walks && items[items.indexOf(document.activeElement) + (event.shiftKey ? -1 : 1)];
      if (!next) return this.close(true);
      next.focus();
      next.select?.();
    } else if (step && !event.target.matches("input")) {
      event.preventDefault();
      const buttons = items.filter((item) => item.matches("button"));
      buttons.at((buttons.indexOf(document.activeElement) + step) % buttons.length).focus();
    }
    return undefined;
  }

  item(label, action, { drawing, shortcut, disabled, checked } = {}) {
    const role = checked === undefined ? "menuitem" : "menuitemcheckbox";
    const run = (event) => {
      if (disabled) return;
      const { opener } = this;
      this.close();
      // Focus first: what the action opens may take it.
      if (opener?.focus && event.detail === 0) opener.focus({ preventScroll: true });
      else this.editor.keys.focus({ preventScroll: true });
      action();
    };
    return html(
      "button",
      {
        type: "button",
        role,
        tabindex: -1,
        "aria-disabled": disabled ? "true" : null,
        "aria-checked": checked === undefined ? null : String(checked),
        onclick: run,
      },
      checked ? icon("check") : drawing ? icon(drawing) : html("span", { class: "ic-icon-space" }),
      label,
      shortcut && html("kbd", { "aria-hidden": "true" }, shortcut),
    );
  }

  title(text) {
    return html("div", { class: "ic-menu-title", role: "presentation" }, text);
  }

  // --- Sheets and messages -------------------------------------------------------------------------------------

  /** A panel over the editor; returns a function that closes it. */
  sheet(label, ...content) {
    const { root, t, keys } = this.editor;
    const before = document.activeElement;
    const title = html(
      "div",
      { class: "ic-row" },
      html("h2", {}, label),
      html("span", { class: "ic-spacer" }),
      iconButton("close", t("editor.close"), () => close()),
    );
    const panel = html(
      "div",
      { class: "ic-panel", role: "dialog", "aria-label": label, tabindex: -1 },
      title,
      ...content,
    );
    const sheet = html("div", { class: "ic-sheet" }, panel);
    const close = () => {
      sheet.remove();
      (root.contains(before) ? before : keys).focus({ preventScroll: true });
    };
    sheet.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      if (event.target === sheet) close();
    });
    sheet.addEventListener("keydown", (event) => {
      if (isComposing(event)) return;
      if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        close();
      } else if (event.key === "Tab") keepInside(panel, event);
    });
    sheet.addEventListener("wheel", (event) => event.stopPropagation());
    this.close();
    root.append(sheet);
    panel.focus({ preventScroll: true });
    return close;
  }

  toast(text) {
    clearTimeout(this.toastTimer);
    this.toastElement?.remove();
    this.toastElement = html("div", { class: "ic-toast", "aria-hidden": "true" }, text);
    this.editor.root.append(this.toastElement);
    this.toastTimer = setTimeout(() => this.toastElement.remove(), TOAST);
  }
}

/** Runs of entries become menus; fields between them stand on their own, since a menu may not hold any. */
function inMenus(entries, label) {
  const parts = [];
  for (const entry of entries) {
    const belongs = entry.matches('[role^="menuitem"], [role="presentation"], hr');
    const last = parts.at(-1);
    if (!belongs) parts.push(entry);
    else if (last?.matches('[role="menu"]')) last.append(entry);
    else parts.push(html("div", { role: "menu", "aria-label": label }, entry));
  }
  // A line or title alone is no menu.
  return parts.map((part) =>
    part.matches('[role="menu"]') && !part.querySelector('[role^="menuitem"]')
      ? html("div", {}, ...part.childNodes)
      : part,
  );
}

/** Tab stays inside a sheet. */
function keepInside(panel, event) {
  const stops = [...panel.querySelectorAll("button, input, textarea, select")].filter(
    (element) => !element.disabled && element.offsetParent,
  );
  const edge = event.shiftKey ? stops[0] : stops.at(-1);
  if (document.activeElement !== edge && document.activeElement !== panel) return;
  event.preventDefault();
  (event.shiftKey ? stops.at(-1) : stops[0])?.focus();
}
