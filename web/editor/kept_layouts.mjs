// The sheet of layouts that the person keeps: keep this one, find one, take it over, remove it.
import { parse, serialise } from "../lib/document.mjs";
import { tidyName } from "../lib/file_names.mjs";
import { isComposing } from "./composing.mjs";
import { html, iconButton } from "./dom.mjs";
import { mini } from "./mini.mjs";

/** `host.kept` of the editor is a promise of list, read, keep and remove. */
export class KeptLayouts {
  constructor(editor) {
    this.editor = editor;
    this.entries = [];
  }

  async open() {
    const { menus, t, layout } = this.editor;
    this.name = html("input", {
      class: "ic-field",
      style: "flex:1",
      "aria-label": t("editor.layout_name"),
      placeholder: t("editor.layout_name"),
      disabled: layout.instances.length === 0,
    });
    this.button = html(
      "button",
      { type: "button", class: "ic-button ic-primary", onclick: () => this.keep() },
      t("editor.keep"),
    );
    this.question = html("div", { class: "ic-row", role: "alert", hidden: true });
    this.search = html("input", {
      type: "search",
      class: "ic-field",
      "aria-label": t("editor.search_layouts"),
      placeholder: t("editor.search_layouts"),
      hidden: true,
    });
    this.state = html("p", { class: "ic-muted", style: "margin:0", role: "status" });
    this.cards = html("div", { class: "ic-cards" });
    this.name.addEventListener("input", () => this.settle());
    this.name.addEventListener(
      "keydown",
      (event) => event.key === "Enter" && !isComposing(event) && this.keep(),
    );
    this.search.addEventListener("input", () => this.filter());
    this.close = menus.sheet(
      t("editor.own_layouts_title"),
      html("div", { class: "ic-row" }, this.name, this.button),
      this.question,
      this.search,
      this.state,
      this.cards,
    );
    this.settle();
    if (!this.name.disabled) this.name.focus();
    await this.load();
  }

  /** Nothing is asked any more; without a name there is nothing to keep. */
  settle() {
    this.question.hidden = true;
    this.button.disabled = this.name.disabled || tidyName(this.name.value) === "";
  }

  async load() {
    const { editor } = this;
    try {
      const found = await (await editor.host.kept).list();
      this.entries = await Promise.all(found.map((one) => this.entry(one)));
      this.cards.replaceChildren(...this.entries.map(({ card }) => card));
      this.search.hidden = found.length < 2;
      this.filter();
    } catch {
      this.state.textContent = editor.t("editor.not_listed");
    }
  }

  async entry(name) {
    let layout = null;
    try {
      layout = parse(await (await this.editor.host.kept).read(name));
    } catch {
      // Shown by its name: it may be removed, or mended by hand.
    }
    const captions = layout?.instances.map(({ caption }) => caption) ?? [];
    const words = [name, layout?.prompt ?? "", ...captions].join("\n").toLocaleLowerCase();
    return { name, words, card: this.card(name, layout) };
  }

  card(name, layout) {
    const { t } = this.editor;
    const line = html("div", { class: "ic-row" });
    const card = html(
      "div",
      { class: "ic-card", role: "group", "aria-label": name },
      layout
        ? html(
            "button",
            {
              type: "button",
              class: "ic-picked",
              "aria-label": t("editor.take_layout", { name }),
              onclick: () => this.take(layout, true),
            },
            mini(layout),
          )
        : html("p", { class: "ic-muted" }, t("editor.unreadable_layout")),
      html("span", { class: "ic-card-name", title: name }, name),
      line,
    );
    const usual = () =>
      line.replaceChildren(
        ...(layout
          ? [
              html(
                "button",
                {
                  type: "button",
                  class: "ic-button ic-outlined",
                  onclick: () => this.take(layout, false),
                },
                t("editor.append"),
              ),
            ]
          : []),
        html("span", { class: "ic-spacer" }),
        iconButton("trash", t("editor.remove_layout", { name }), ask),
      );
    const ask = () => {
      const button = (label, onclick) =>
        html("button", { type: "button", class: "ic-button ic-outlined", onclick }, label);
      const sure = button(t("editor.remove_sure"), () => this.remove(name));
      line.replaceChildren(sure, button(t("editor.cancel"), usual));
      sure.focus();
    };
    usual();
    return card;
  }

  /** Show what has all the words that are looked for, in its name, its prompt or its captions. */
  filter() {
    const { t } = this.editor;
    const wanted = this.search.value.toLocaleLowerCase().split(/\s+/u).filter(Boolean);
    for (const { card, words } of this.entries) card.hidden = !wanted.every((word) => words.includes(word));
    const count = this.entries.filter(({ card }) => !card.hidden).length;
    this.state.textContent = this.entries.length
      ? t("editor.kept_count", { count })
      : t("editor.nothing_kept");
  }

  async keep(replace = false) {
    const { host, layout, t } = this.editor;
    const name = tidyName(this.name.value);
    if (this.button.disabled) return;
    this.button.disabled = true;
    try {
      const same = (one) => one.name.toLocaleLowerCase() === name.toLocaleLowerCase();
      const isTaken = !replace && this.entries.some(same);
      if (isTaken || !(await (await host.kept).keep(name, serialise(layout), replace)))
        return this.askToReplace(name);
      this.editor.say(t("editor.kept", { name }), true);
      this.name.value = "";
      await this.load();
    } catch {
      this.editor.say(t("editor.not_kept", { name }), true);
    }
    this.settle();
  }

  askToReplace(name) {
    const { t } = this.editor;
    const button = (label, onclick) =>
      html("button", { type: "button", class: "ic-button ic-outlined", onclick }, label);
    const another = button(t("editor.another_name"), () => {
      this.settle();
      this.name.focus();
    });
    this.settle();
    this.question.replaceChildren(
      html("span", { style: "flex:1;min-width:0;overflow-wrap:anywhere" }, t("editor.name_taken", { name })),
      button(t("editor.replace_kept"), () => this.keep(true)),
      another,
    );
    this.question.hidden = false;
    another.focus();
  }

  async remove(name) {
    try {
      await (await this.editor.host.kept).remove(name);
    } catch {
      this.editor.say(this.editor.t("editor.not_removed", { name }), true);
    }
    await this.load();
  }

  /** In place of what is drawn, with its size unless a link gives that; or onto it. */
  take(layout, all) {
    const { editor } = this;
    this.close();
    if (all) editor.replace(layout);
    else editor.run("append", layout);
  }
}
