// The parts of an editor: its elements on the page, and what works on each.
import { Broken } from "./broken.mjs";
import { html } from "./dom.mjs";
import { EmptyState } from "./empty.mjs";
import { Exchange } from "./exchange.mjs";
import { InlineCaption } from "./inline_caption.mjs";
import { Keyboard } from "./keyboard.mjs";
import { List } from "./list.mjs";
import { Menus } from "./menus.mjs";
import { Pictures } from "./pictures.mjs";
import { Pointer } from "./pointer.mjs";
import { Stage } from "./stage.mjs";
import { Status } from "./status.mjs";
import { Toolbar } from "./toolbar.mjs";

/** Make the parts of an editor and put them together in its `root`. */
export function buildParts(editor) {
  editor.live = html("div", { class: "ic-offscreen", "aria-live": "polite" });
  editor.keys = html("textarea", {
    class: "ic-offscreen ic-keys",
    "aria-label": editor.t("editor.stage"),
    "aria-describedby": editor.uid("keys"),
    autocomplete: "off",
    inputmode: "none", // nothing is written here: a touch brings up no keyboard
    spellcheck: "false",
    rows: 1,
  });
  editor.stage = new Stage(editor);
  editor.stage.element.prepend(
    editor.keys,
    html("div", { class: "ic-offscreen", id: editor.uid("keys") }, editor.t("editor.stage_keys")),
  );
  editor.root = html("div", {
    class: "ic-editor",
    role: "group",
    "aria-label": editor.t("editor.title"),
    lang: editor.host.locale,
  });
  editor.menus = new Menus(editor);
  editor.exchange = new Exchange(editor);
  editor.pictures = new Pictures(editor);
  editor.toolbar = new Toolbar(editor);
  editor.list = new List(editor);
  editor.status = new Status(editor);
  editor.empty = new EmptyState(editor);
  editor.broken = new Broken(editor);
  editor.inline = new InlineCaption(editor);
  const body = html("div", { class: "ic-body" }, editor.stage.element, editor.list.element);
  editor.root.append(editor.toolbar.element, body, editor.status.element, editor.live);
  editor.pointer = new Pointer(editor);
  editor.keyboard = new Keyboard(editor);
  editor.root.addEventListener("mousedown", (event) => editor.keepKeys(event));
}
