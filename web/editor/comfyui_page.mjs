// ComfyUI's page around the editors: words, styles, colours, the wheel, moving the graph, files by their address.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { createTranslator } from "../lib/i18n.mjs";
import { luminance } from "./colors.mjs";
import { isComposing } from "./composing.mjs";
import { html } from "./dom.mjs";
import { keyOf } from "./keyboard.mjs";

// What failed to load, as while the server starts again, is asked for again.
let catalogues;
export async function translator() {
  catalogues ??= api.getCustomNodesI18n();
  try {
    return createTranslator(await catalogues, locale());
  } catch (error) {
    catalogues = undefined;
    throw error;
  }
}

export const locale = () => app.extensionManager.setting.get("Comfy.Locale") ?? "en";

let sheet;
export function styles() {
  sheet ??= new Promise((resolve, reject) => {
    const link = html("link", {
      rel: "stylesheet",
      href: new URL("./editor.css", import.meta.url).href,
      onload: resolve,
    });
    link.addEventListener("error", () => {
      link.remove();
      sheet = undefined;
      reject(new Error("editor.css could not be loaded"));
    });
    document.head.append(link);
  });
  return sheet;
}

/** Light or dark, by the background that the palette gives to the whole page: an element may not be in it yet. */
export function theme() {
  const probe = html("div", { style: "background:var(--comfy-menu-bg,#333)" });
  document.body.append(probe);
  const parts = getComputedStyle(probe)
    .backgroundColor.match(/[\d.]+/g)
    ?.slice(0, 3)
    .map(Number) ?? [0, 0, 0];
  probe.remove();
  const color = `#${parts.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;
  return luminance(color) > 0.35 ? "light" : "dark";
}

/**
 * The wheel over what scrolls in an editor scrolls it. Nodes 2.0 takes the wheel above all nodes, before any of them
 * hears of it, and leaves it alone only where the part under the pointer holds the focus as well; the editor's focus
 * is beside its list. What zooms or moves the graph everywhere (Ctrl, sideways) stays the graph's.
 */
export function keepForScrolling(event) {
  if (event.ctrlKey || event.metaKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
  if (scrollingPart(event.target)) event.stopPropagation();
}

/** The nearest part around an element that scrolls up and down now, inside its editor; null if there is none. */
function scrollingPart(element) {
  const root = element.closest?.(".ic-editor");
  for (let part = root && element; part && part !== root; part = part.parentElement) {
    const { overflowY } = getComputedStyle(part);
    const scrolls = overflowY === "auto" || overflowY === "scroll";
    if (scrolls && part.scrollHeight > part.clientHeight) return part;
  }
  return null;
}

const COMMANDS = {
  enter: "Comfy.QueuePrompt",
  "shift+enter": "Comfy.QueuePromptFront",
  s: "Comfy.SaveWorkflow",
  "shift+s": "Comfy.SaveWorkflowAs",
  o: "Comfy.OpenWorkflow",
};

/** What ComfyUI does at a key that the editor passes on; undefined for any other key. */
export function commandOf(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || isComposing(event)) return undefined;
  return COMMANDS[`${event.shiftKey ? "shift+" : ""}${keyOf(event).toLowerCase()}`];
}

/** Whether ComfyUI asks for a name before it saves: its question would lie below a modal dialog. */
export const asksForName = (command) =>
  command === "Comfy.SaveWorkflowAs" ||
  (command === "Comfy.SaveWorkflow" && app.extensionManager.workflow?.activeWorkflow?.isTemporary);

/** Presses in an editor are not for its node: it would be dragged, and its text selected. */
export function isolate(root) {
  const own = (event) => event.button !== 1 && event.stopPropagation();
  for (const name of ["pointerdown", "pointermove", "pointerup", "dblclick"])
    root.addEventListener(name, own);
  root.addEventListener("contextmenu", (event) => {
    event.stopPropagation();
    if (!event.target.closest("input, textarea")) event.preventDefault();
  });
}

/** Move the graph with the pointer until it is released. */
export function panGraph(event, done) {
  if (event.button === 1 && LiteGraph.vueNodesMode) return; // core does
  event.preventDefault();
  let last = [event.clientX, event.clientY];
  const move = (moving) => {
    const { ds } = app.canvas;
    ds.offset[0] += (moving.clientX - last[0]) / ds.scale;
    ds.offset[1] += (moving.clientY - last[1]) / ds.scale;
    last = [moving.clientX, moving.clientY];
    app.canvas.setDirty(true, true);
  };
  const end = () => {
    window.removeEventListener("pointermove", move, true);
    done();
  };
  window.addEventListener("pointermove", move, true);
  window.addEventListener("pointerup", end, { capture: true, once: true });
}

export const viewUrl = ({ filename, subfolder = "", type = "output" }) =>
  api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);

/** Call `after` whenever the object's handler is called, keeping what was there. */
export function chain(object, name, after) {
  const before = object[name];
  object[name] = function (...args) {
    const result = before?.apply(this, args);
    after(...args);
    return result;
  };
}

/** Now, or once a node is in a graph. For every copy of nodes ComfyUI makes some that never are, nor removed. */
export function whenAdded(node, begin) {
  if (node.graph) return begin();
  let isBegun = false;
  return chain(node, "onAdded", () => {
    if (!isBegun) begin();
    isBegun = true;
  });
}

/** The picture at an address, ready to be drawn; null if its file is gone. @returns {Promise<HTMLImageElement | null>} */
export async function decoded(source) {
  const image = new Image();
  image.src = source;
  return image.decode().then(
    () => image,
    () => null,
  );
}
