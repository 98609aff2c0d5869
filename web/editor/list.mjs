// The instances as a list, the front one on top as in every layer panel: order, names, eye, lock, and what can
// be set of the selected ones. The accessible twin of the stage.
import { strip } from "../lib/document.mjs";
import { toPixels } from "../lib/geometry.mjs";
import { bounds } from "../lib/regions.mjs";
import { html, iconButton, PATHS, set } from "./dom.mjs";
import { instanceColor, textOn } from "./colors.mjs";
import { isComposing } from "./composing.mjs";
import { InstanceForm } from "./instance_form.mjs";
import { ListDrag } from "./list_drag.mjs";
import { WholePicture } from "./whole_picture.mjs";

export class List {
  constructor(editor) {
    this.editor = editor;
    const { t } = editor;
    this.items = new Map();
    this.element_list = html("ul", { class: "ic-list", "aria-label": t("editor.instances") });
    this.count = html("h2", { id: editor.uid("count") });
    const menu = iconButton("more", t("editor.selection_menu"), () => editor.menus.openSelection(menu), {
      "aria-haspopup": "menu",
      "aria-expanded": "false",
    });
    this.head = html(
      "div",
      { class: "ic-head" },
      this.count,
      html("span", { class: "ic-spacer" }),
      iconButton("add", t("editor.add"), () => editor.addInMiddle(), { shortcut: "N" }),
      menu,
    );
    this.form = new InstanceForm(editor);
    this.whole = new WholePicture(editor);
    this.scroll = html("div", { class: "ic-scroll" }, this.element_list);
    this.element = html("div", { class: "ic-side" }, this.head, this.scroll, this.whole.element);
    this.drag = new ListDrag(this);
    // Scrolling the list must not zoom the graph.
    this.element.addEventListener("wheel", (event) => {
      if (event.ctrlKey) event.preventDefault();
      event.stopPropagation();
    });
  }

  render() {
    const { editor } = this;
    const { instances } = editor.layout;
    const { t } = editor;
    this.count.textContent = t("editor.instance_count", { count: instances.length });
    const gone = new Set(this.items.keys());
    [...instances].reverse().forEach((instance, place) => {
      gone.delete(instance.id);
      const item = this.items.get(instance.id) ?? this.addItem(instance.id);
      this.renderItem(item, instance, instances.length - 1 - place);
      if (this.element_list.children[place] !== item.element)
        this.element_list.insertBefore(item.element, this.element_list.children[place] ?? null);
    });
    for (const id of gone) {
      this.items.get(id).element.remove();
      this.items.delete(id);
      if (this.renaming === id) this.renaming = null; // its field is gone without having lost the focus
    }
    this.placeForm();
    this.whole.render();
  }

  /**
   * While regions are dragged the list does not scroll: a list that does is a layer of its own, and Nodes 2.0 puts
   * a shadow around the node, which then would be blurred anew at every frame.
   */
  hold(held) {
    if (this.held === held) return;
    this.held = held;
    const { scroll } = this;
    scroll.style.paddingInlineEnd = held ? `${scroll.offsetWidth - scroll.clientWidth}px` : "";
    scroll.style.overflow = held ? "hidden" : "";
  }

  addItem(id) {
    const { editor } = this;
    const { t } = editor;
    const chip = html("span", { class: "ic-chip" });
    const summary = html("span", { class: "ic-summary" });
    const badge = html("span", { class: "ic-badge" });
    const name = html("span", { class: "ic-offscreen" });
    const pick = html("button", { type: "button", class: "ic-pick" }, chip, summary, name);
    const grip = iconButton("grip", t("editor.reorder", { id }), () => {}, { class: "ic-grip" });
    const eye = iconButton("eye", t("editor.hide_one", { id }), () => this.flip(id, "enabled"), {
      "aria-pressed": "false",
    });
    const lock = iconButton("unlocked", t("editor.lock_one", { id }), () => this.flip(id, "locked"), {
      "aria-pressed": "false",
    });
    const row = html(
      "div",
      { class: "ic-line-row" },
      grip,
      pick,
      badge,
      html("span", { class: "ic-tools" }, eye, lock),
    );
    const item = {
      element: html("li", { class: "ic-item", "data-id": id }, row),
      row,
      chip,
      summary,
      name,
      badge,
      pick,
      grip,
      eye,
      lock,
      seen: null,
    };
    pick.addEventListener("click", (event) => this.pick(id, event));
    pick.addEventListener("dblclick", (event) =>
      event.target === chip ? this.rename(id) : this.focusCaption(id),
    );
    item.element.addEventListener("pointerenter", () => this.editor.pointer.setHover(id));
    item.element.addEventListener("pointerleave", () => this.editor.pointer.setHover(null));
    item.element.addEventListener("contextmenu", (event) => this.openMenu(event, id));
    this.items.set(id, item);
    return item;
  }

  renderItem(item, instance, index) {
    const { editor } = this;
    const isSelected = editor.state.selection.includes(instance.id);
    const facts = [
      instance,
      index,
      isSelected && editor.state.selection.length,
      editor.layout.instances.length,
      editor.layout.canvas,
    ];
    if (item.seen && facts.every((fact, at) => fact === item.seen[at])) return;
    item.seen = facts;
    const { t } = editor;
    const color = instanceColor(instance, index);
    set(item.element, {
      style: `--c:${color};--on:${textOn(color)}`,
      "data-selected": isSelected,
      "data-off": !instance.enabled,
    });
    const caption = strip(instance.caption);
    if (!this.renaming) item.chip.textContent = instance.id;
    // The one that is open has its caption in the field below; here is room for its size.
    const isOpen = isSelected && editor.state.selection.length === 1;
    item.summary.textContent = isOpen
      ? sizeText(instance, editor.layout.canvas)
      : caption || t("editor.no_caption");
    set(item.summary, { "data-empty": isOpen || caption === "" });
    set(item.pick, { "aria-pressed": String(isSelected) });
    item.name.textContent = t("editor.item_label", {
      id: instance.id,
      place: index + 1,
      count: editor.layout.instances.length,
      caption: caption || t("editor.no_caption"),
    });
    item.badge.textContent = badge(instance);
    set(item.eye, {
      "aria-pressed": String(!instance.enabled),
      title: instance.enabled ? t("editor.hide") : t("editor.show"),
    });
    set(item.eye.firstChild.firstChild, { d: instance.enabled ? PATHS.eye : PATHS.hidden });
    set(item.lock, {
      "aria-pressed": String(instance.locked),
      title: instance.locked ? t("editor.unlock") : t("editor.lock"),
    });
    set(item.lock.firstChild.firstChild, { d: instance.locked ? PATHS.lock : PATHS.unlocked });
  }

  /** The form with what can be set goes under the one selected instance, or above the list for several. */
  placeForm() {
    const { selected } = this.editor;
    const home = selected.length === 1 ? this.items.get(selected[0].id).element : null;
    const { element } = this.form;
    if (selected.length === 0) element.remove();
    else if (home && element.parentNode !== home) home.append(element);
    else if (!home && element.parentNode !== this.scroll) this.scroll.prepend(element);
    this.form.render();
    if (home && this.shown !== home) home.scrollIntoView({ block: "nearest" });
    this.shown = home;
  }

  pick(id, event) {
    const { editor } = this;
    if (event.ctrlKey || event.metaKey) editor.run("toggle", id);
    else if (event.shiftKey && editor.state.selection.length)
      editor.run("select", this.range(editor.state.selection.at(-1), id));
    else editor.run("select", [id]);
    editor.announceSelection();
    if (event.detail) editor.keys.focus({ preventScroll: true }); // clicked, not pressed by key
  }

  range(from, to) {
    const ids = this.editor.layout.instances.map((instance) => instance.id);
    const [low, high] = [ids.indexOf(from), ids.indexOf(to)].sort((one, other) => one - other);
    return ids.slice(low, high + 1);
  }

  flip(id, field) {
    const instance = this.editor.layout.instances.find((one) => one.id === id);
    this.editor.run("set", [id], { [field]: !instance[field] });
  }

  openMenu(event, id) {
    if (event.target.closest("input, textarea")) return;
    event.preventDefault();
    event.stopPropagation();
    if (!this.editor.state.selection.includes(id)) this.editor.run("select", [id]);
    this.editor.menus.openContext(event.clientX, event.clientY);
  }

  focusCaption(id) {
    this.focusField(id, "caption");
  }

  /** Put the caret into a field of one instance, selecting the instance. */
  focusField(id, field) {
    const { editor } = this;
    editor.run("select", [id]);
    editor.renderNow();
    this.form.focus(field);
  }

  /** Edit the name of an instance in place of its chip. */
  rename(id) {
    const item = this.items.get(id);
    if (!item || this.renaming) return;
    const { editor } = this;
    const field = html("input", {
      class: "ic-field",
      value: id,
      "aria-label": editor.t("editor.name"),
      style: "width:90px;height:22px",
    });
    this.renaming = id;
    let kept = true;
    const done = () => {
      this.renaming = null;
      field.remove();
      item.pick.hidden = false;
      const name = field.value.trim();
      const before = editor.layout.instances;
      if (kept && name !== id && !editor.run("rename", id, name).refused)
        editor.host.renamed?.(id, name, before);
      editor.renderNow();
    };
    field.addEventListener("keydown", (event) => {
      if (isComposing(event) || (event.key !== "Enter" && event.key !== "Escape")) return;
      event.stopPropagation();
      event.preventDefault();
      kept = event.key === "Enter";
      editor.keys.focus({ preventScroll: true });
    });
    // As in the caption on the region: a window that lost the focus gives it back.
    field.addEventListener("blur", () => document.hasFocus() && done());
    item.pick.hidden = true;
    item.pick.before(field);
    field.focus();
    field.select();
  }
}

function sizeText(instance, canvas) {
  const [, , width, height] = toPixels(bounds(instance), canvas).map(Math.round);
  return `${width} × ${height}`;
}

/** What differs from the usual, in short: strength and the part of the run. */
function badge({ strength, start, end }) {
  const parts = [];
  if (strength !== 1) parts.push(`×${Number(strength.toFixed(2))}`);
  if (start !== 0 || end !== 1) parts.push(`${Math.round(start * 100)}–${Math.round(end * 100)} %`);
  return parts.join(" ");
}
