// A list of the layouts of a workflow, wherever in it they are, to open one of them in a panel.
import { parse } from "../lib/document.mjs";
import { html, iconButton } from "./dom.mjs";
import { mini } from "./mini.mjs";

/** @param {{title: string, text: string, theme: string, open: () => void}[]} layouts */
export function chooseLayout(layouts, t) {
  const dialog = html("dialog", { class: "ic-dialog ic-chooser", "aria-label": t("editor.choose_layout") });
  const close = () => dialog.close();
  const entry = ({ title, text, open }) => {
    const layout = readable(text);
    const press = () => {
      close();
      open();
    };
    return html(
      "button",
      { type: "button", class: "ic-card", onclick: press },
      layout && mini(layout),
      html("span", { class: "ic-card-name" }, title),
      layout &&
        html("span", { class: "ic-muted" }, t("editor.instance_count", { count: layout.instances.length })),
    );
  };
  const head = html(
    "div",
    { class: "ic-row" },
    html("h2", {}, t("editor.choose_layout")),
    html("span", { class: "ic-spacer" }),
    iconButton("close", t("editor.close"), close),
  );
  const panel = html(
    "div",
    { class: "ic-panel" },
    head,
    html("div", { class: "ic-cards" }, ...layouts.map(entry)),
  );
  dialog.append(html("div", { class: "ic-editor", "data-theme": layouts[0]?.theme }, panel));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function readable(text) {
  try {
    return parse(text);
  } catch {
    return null; // text that is no layout is shown by its editor
  }
}
