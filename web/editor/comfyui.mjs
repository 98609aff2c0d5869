// The one place that touches ComfyUI: puts an editor into the widget's element and is its host.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { createTranslator } from "../lib/i18n.mjs";
import { luminance } from "./colors.mjs";
import { html } from "./dom.mjs";
import { Editor } from "./editor.mjs";
import { countTokens, examine, readLayout, readPrompt, writeLayout } from "./comfyui_server.mjs";
import { adaptersAfter, halfWired, isConnected, keptPictures, sampledThrough } from "./comfyui_flow.mjs";
import { executionScope, isInside, locator, upstreamPicture } from "./comfyui_graph.mjs";
import { drawAgain } from "./comfyui_repair.mjs";
import { NodeNotes } from "./node_notes.mjs";

const PICTURE = "instance_composer_picture"; // of a node's properties: the file that was opened to draw over
const SETTLES_WITHIN = 60; // animation frames that a rebuilt graph takes to show its nodes
const RESTORED_AFTER = [100, 500, 2000]; // milliseconds in which a workflow has its outputs again
const SAME_ASPECT = 0.02; // latents are cut in steps of 8 pixels and more
const CHOSEN_RESULT = "ic_picture"; // which picture of a run is shown, in the node's properties
const mounts = new Set();
const notes = new Set();
const memories = new Map();
const elements = new Map();

/** Make the editor of a widget. @param {{node: any, widget: any, model: {element: HTMLElement, text: string, textChanged: () => void}}} parts */
export async function mount({ node, widget, model }) {
  const [t] = await Promise.all([translator(), styles()]);
  const made = new Mount(node, widget, model, t);
  mounts.add(made);
  listenOnce();
}

/** Show in a node what there is to say of it: how it is wired, and what its last run found. */
export async function mountNotes(node) {
  const made = new NodeNotes(node, await translator(), () => halfWired(node, rootGraph()));
  notes.add(made);
  chain(node, "onRemoved", () => notes.delete(made));
  chain(node, "onExecuted", (output) => made.executed(output));
  chain(node, "onConnectionsChange", () => requestAnimationFrame(graphChanged));
  listenOnce();
  made.check();
}

/** A graph was loaded or rebuilt: sizes and pictures may come through links that exist only now. */
export function graphLoaded() {
  for (const one of mounts) one.connectionsChanged();
  graphChanged();
}

/** Links may have changed anywhere: what is said of them is looked at again. */
function graphChanged() {
  for (const one of notes) one.check();
  for (const one of mounts) one.editor.check();
}

const rootGraph = () => app.rootGraph ?? app.graph;

// --- Words, styles, theme ------------------------------------------------------------------------------------

let catalogues;
async function translator() {
  catalogues ??= api.getCustomNodesI18n();
  return createTranslator(await catalogues, locale());
}

const locale = () => app.extensionManager.setting.get("Comfy.Locale") ?? "en";

let sheet;
function styles() {
  sheet ??= new Promise((resolve, reject) => {
    const link = html("link", {
      rel: "stylesheet",
      href: new URL("./editor.css", import.meta.url).href,
      onload: resolve,
    });
    link.addEventListener("error", () => reject(new Error("editor.css could not be loaded")));
    document.head.append(link);
  });
  return sheet;
}

/** Light or dark, by the background that the palette gives. */
function theme(element) {
  const probe = html("div", { style: "background:var(--comfy-menu-bg,#333)" });
  element.append(probe);
  const parts = getComputedStyle(probe)
    .backgroundColor.match(/[\d.]+/g)
    ?.slice(0, 3)
    .map(Number) ?? [0, 0, 0];
  probe.remove();
  const color = `#${parts.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;
  return luminance(color) > 0.35 ? "light" : "dark";
}

// --- One editor in one node ------------------------------------------------------------------------------------

class Mount {
  constructor(node, widget, model, t) {
    Object.assign(this, { node, widget, model });
    this.editor = new Editor(this.host(), t);
    model.element.replaceChildren(this.editor.root);
    model.textChanged = () => this.editor.read(model.text);
    for (const side of ["width", "height"]) this.follow(this.side(side));
    const joins = this.side("join_captions");
    if (joins) chain(joins, "callback", () => this.editor.check());
    chain(node, "onRemoved", () => this.remove());
    chain(node, "onExecuted", (output) => this.executed(output));
    chain(node, "onConnectionsChange", () => requestAnimationFrame(() => this.connectionsChanged()));
    if (node.graph) this.added();
    else chain(node, "onAdded", () => this.added());
    this.paint();
    this.isolate();
  }

  /** What the editor may ask for and do. */
  host() {
    const self = this;
    return {
      locale: locale(),
      get text() {
        return self.model.text;
      },
      setText: (text) => (this.widget.value = text),
      get size() {
        return self.size;
      },
      setSize: (width, height) => this.setSize(width, height),
      commit: () => this.commit(),
      select: () => this.node.selected || app.canvas.selectNode?.(this.node),
      toggleLarge: () => this.toggleLarge(),
      keepPicture: (file) => this.keepPicture(file),
      forgetPicture: () => this.forgetPicture(),
      get keepsPicture() {
        return Boolean(self.node.properties?.[PICTURE]);
      },
      get joins() {
        return self.side("join_captions")?.value !== false;
      },
      notes: () => this.notes(),
      get results() {
        return self.results;
      },
      get chosenResult() {
        return self.node.properties?.[CHOSEN_RESULT] ?? null;
      },
      chooseResult: (choice) => this.chooseResult(choice),
      countTokens,
      readPrompt,
      readLayout,
      writeLayout,
      examine,
      drawAgain: (instances, all) => drawAgain(app, this.node, instances, all),
      panGraph: (event, done) => panGraph(event, done),
      wheelGraph: (event) => LiteGraph.vueNodesMode || app.canvas.processMouseWheel(event),
    };
  }

  commit() {
    this.place = this.key;
    app.extensionManager.workflow?.activeWorkflow?.changeTracker?.captureCanvasState?.();
  }

  get key() {
    return `${this.node.graph?.id}:${this.node.id}:${this.widget.name}`;
  }

  /** The node is in its graph. The host may go on showing the element of a node that undo replaced. */
  added() {
    const { key } = this;
    this.place = key;
    const before = elements.get(key);
    elements.set(key, this.model.element);
    if (memories.has(key)) this.editor.recall(memories.get(key));
    memories.delete(key);
    this.restoreKept();
    this.connectionsChanged();
    // A front end that changes workflows gives back what they showed after their nodes are made.
    for (const wait of RESTORED_AFTER) setTimeout(() => this.restoreLate(), wait);
    if (before && before !== this.model.element) this.takeOver(before, SETTLES_WITHIN);
  }

  restoreKept() {
    const output = app.nodeOutputs?.[locator(this.node)];
    if (output) this.restore(output);
  }

  restoreLate() {
    if (!mounts.has(this) || this.editor.pictures.images.result) return;
    this.restoreKept();
    this.showResult();
  }

  takeOver(before, frames) {
    const { element } = this.model;
    if (before.isConnected && !element.isConnected) before.replaceWith(element);
    if (frames > 0 && mounts.has(this)) requestAnimationFrame(() => this.takeOver(before, frames - 1));
  }

  remove() {
    if (!mounts.delete(this)) return;
    memories.set(this.place ?? this.key, this.editor.memory); // a graph that is cleared has lost its id by now
    this.dialog?.close();
    this.editor.destroy();
  }

  paint() {
    const { root } = this.editor;
    root.dataset.theme = theme(this.model.element);
  }

  /** Presses in the editor are not for the node: it would be dragged, and its text selected. */
  isolate() {
    const { root } = this.editor;
    const own = (event) => event.button !== 1 && event.stopPropagation();
    for (const name of ["pointerdown", "pointermove", "pointerup", "dblclick"])
      root.addEventListener(name, own);
    root.addEventListener("contextmenu", (event) => {
      event.stopPropagation();
      if (!event.target.closest("input, textarea")) event.preventDefault();
    });
  }

  // --- Size ------------------------------------------------------------------------------------------------------

  side(name) {
    return this.node.widgets?.find((widget) => widget.name === name);
  }

  isLinked(name) {
    const slot = this.node.inputs?.findIndex((input) => input.name === name) ?? -1;
    return slot >= 0 && this.node.isInputConnected(slot);
  }

  /** Width and height of the picture; `driven` when links give them, then as of the last run. */
  get size() {
    const driven = this.isLinked("width") || this.isLinked("height");
    const value = (name) =>
      (this.isLinked(name) && this.used?.[name]) || Number(this.side(name)?.value) || 1024;
    return { width: value("width"), height: value("height"), driven };
  }

  setSize(width, height) {
    for (const [name, value] of [
      ["width", width],
      ["height", height],
    ]) {
      const widget = this.side(name);
      if (!widget || widget.value === value) continue;
      widget.value = value;
      widget.callback?.(value);
    }
    this.node.setDirtyCanvas?.(true, true);
  }

  follow(widget) {
    if (widget) chain(widget, "callback", () => this.editor.hostSizeChanged());
  }

  connectionsChanged() {
    this.editor.hostSizeChanged();
    this.showReference();
    this.showResult();
  }

  // --- What there is to say beside the layout itself ---------------------------------------------------------------

  notes() {
    const note = (severity, code, params = {}) => ({
      severity,
      instance: null,
      index: null,
      field: "graph",
      code,
      params,
    });
    const said = this.failure ? [note("error", "problem.run_failed", { message: this.failure })] : [];
    if (!isInside(this.node, rootGraph())) return said;
    const adapters = adaptersAfter(this.node, rootGraph());
    const wrong = new Map(
      adapters.flatMap((one) => {
        const code = halfWired(one, rootGraph());
        return code
          ? [[`${code} ${one.title}`, note("warning", `problem.${code}`, { node: one.title })]]
          : [];
      }),
    );
    said.push(...wrong.values());
    // Compose Layout encodes the prompt by itself.
    const encodes = ({ comfyClass }) => comfyClass === "IC_ComposeLayout";
    if (!adapters.every(encodes) && !isConnected(this.node, "prompt"))
      said.push(note("info", "problem.prompt_unused"));
    return said;
  }

  /** A node after us, or our own, failed: its words stay until the next run. */
  failed({ node_id: id, exception_message: message }) {
    const own = executionScope(this.node, rootGraph());
    const ours = String(id).split(":").at(-1) === String(this.node.id);
    if (!message || !(ours || own(String(id)))) return;
    this.failure = message.trim();
    this.editor.check();
  }

  // --- What runs bring back ----------------------------------------------------------------------------------------

  /** Our own node ran: its size and reference, and the document it used where boxes came in from upstream. */
  executed(output) {
    const used = this.restore(output);
    // Edits made since the run was queued win; the next run brings the boxes again.
    if (typeof used?.document === "string" && used.seeded_from === this.model.text)
      this.editor.seed(used.document);
  }

  /** What an earlier run left: ComfyUI keeps it when the widget is rebuilt. */
  restore(output) {
    const used = output?.instance_layout?.[0];
    if (used) this.used = used;
    this.editor.hostSizeChanged();
    this.showReference(output?.instance_layout_reference?.[0]);
    return used;
  }

  async showReference(file = null) {
    const kept = this.node.properties?.[PICTURE];
    const source = this.isLinked("image")
      ? file
        ? viewUrl(file)
        : upstreamPicture(this.node, "image", app, api)
      : kept
        ? viewUrl(kept)
        : null;
    if (source === this.reference) return;
    this.reference = source;
    if (source) this.load("reference", source);
    else this.editor.pictures.set("reference", null);
  }

  /** Put a picture to draw over into the server's input folder; the workflow remembers its name. False: no room. */
  async keepPicture(file) {
    const body = new FormData();
    for (const [name, value] of Object.entries({
      image: file,
      subfolder: "instance_composer",
      type: "input",
    }))
      body.append(name, value);
    const answer = await api.fetchApi("/upload/image", { method: "POST", body }).catch(() => null);
    if (!answer?.ok) return false;
    const { name: filename, subfolder, type } = await answer.json();
    this.node.properties[PICTURE] = { filename, subfolder, type };
    if (!this.isLinked("image")) this.reference = viewUrl({ filename, subfolder, type });
    this.commit();
    return true;
  }

  forgetPicture() {
    delete this.node.properties[PICTURE];
    this.commit();
    this.showReference();
  }

  async load(kind, source) {
    const image = new Image();
    image.src = source;
    try {
      await image.decode();
      this.editor.pictures.set(kind, image);
    } catch {
      // The file is gone since the run: then there is nothing to show.
    }
  }

  startRun() {
    this.scope = executionScope(this.node, rootGraph());
    this.sampled = sampledThrough(this.node, rootGraph());
    if (!this.failure) return;
    this.failure = null;
    this.editor.check();
  }

  /** A sampler that has our regions shows how far it is; only the newest picture of a frame is kept. */
  async preview(id, blob) {
    if (!this.sampled?.has(id)) return;
    const bitmap = await createImageBitmap(blob);
    if (!this.fits(bitmap)) return bitmap.close();
    this.waiting?.close();
    const first = !this.waiting;
    this.waiting = bitmap;
    if (!first) return;
    requestAnimationFrame(() => {
      if (mounts.has(this) && this.sampled) this.editor.pictures.set("preview", this.waiting);
      else this.waiting.close();
      this.waiting = null;
    });
  }

  /** Whether a picture has the aspect of the canvas: any other would lie wrong under the regions. */
  fits(image) {
    const { width, height } = this.editor.layout.canvas;
    const ratio =
      ((image.naturalWidth || image.width) / (image.naturalHeight || image.height)) * (height / width);
    return Math.abs(ratio - 1) <= SAME_ASPECT;
  }

  result(id, output) {
    this.scope ??= executionScope(this.node, rootGraph());
    if (!this.scope(id)) return;
    // The pictures of Show Attention Maps have the heat painted in; here it is drawn over the regions.
    if (output?.instance_heat_maps) this.loadHeats(output.instance_heat_maps);
    else if (output?.images?.length) this.showResult(id, output.images);
  }

  /**
   * Show the picture that was chosen, else the first of the newest that were sampled through this layout and
   * have its aspect. `id` and `files` are those of a node that ran just now.
   */
  async showResult(id = null, files = null) {
    if (!isInside(this.node, rootGraph())) return;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const places = sampledThrough(this.node, rootGraph());
    const found = new Map(keptPictures(places, app.nodeOutputs).map((one) => [one.id, one]));
    this.order = (this.order ?? []).filter((one) => one !== id);
    if (id !== null && places.has(id)) {
      this.order.push(id);
      found.set(id, { id, node: places.get(id).node, files });
    }
    const rank = (one) => this.order.indexOf(one.id);
    this.results = [...found.values()].sort((one, other) => rank(one) - rank(other));
    const chosen = this.node.properties?.[CHOSEN_RESULT];
    const first = this.results.filter((one) => one.id === chosen?.node);
    for (const { id: from, files: all } of [...first, ...[...this.results].reverse()]) {
      const index = from === chosen?.node ? Math.min(chosen.index, all.length - 1) : 0;
      const image = await this.loaded(viewUrl(all[index]));
      if (!mounts.has(this) || turn !== this.turn) return; // a later question is on its way
      if (image && this.fits(image)) return this.editor.pictures.set("result", image);
    }
    this.editor.pictures.set("result", null);
  }

  chooseResult(choice) {
    this.node.properties ??= {};
    if (choice) this.node.properties[CHOSEN_RESULT] = choice;
    else delete this.node.properties[CHOSEN_RESULT];
    this.commit();
    this.showResult();
  }

  /** The picture at an address, the same one when it is asked for again; null if it is gone. */
  async loaded(source) {
    if (this.last?.source === source) return this.last.image;
    const image = new Image();
    image.src = source;
    try {
      await image.decode();
    } catch {
      return null;
    }
    this.last = { source, image };
    return image;
  }

  /** `files`: [{instance, filename, subfolder, type}], a grey picture each, its brightness the heat. */
  async loadHeats(files) {
    const heats = new Map();
    for (const file of files) {
      const image = new Image();
      image.src = viewUrl(file);
      await image
        .decode()
        .then(() => heats.set(file.instance, image))
        .catch(() => {});
    }
    this.editor.pictures.setHeats(heats);
  }

  progress(nodes) {
    const running = Object.values(nodes).filter(
      (one) =>
        one.state === "running" &&
        one.max > 1 &&
        this.sampled?.has(String(one.display_node_id ?? one.node_id)),
    );
    if (running.length) this.editor.pictures.progress(running[0].value / running[0].max);
  }

  endRun() {
    this.scope = null;
    this.sampled = null;
    this.editor.pictures.progress(0);
    this.editor.pictures.set("preview", null);
  }

  // --- The large editor ----------------------------------------------------------------------------------------------

  toggleLarge() {
    if (this.dialog) return this.dialog.close();
    const { editor, model } = this;
    const { t } = editor;
    const back = html("button", { type: "button", onclick: () => this.dialog.close() }, t("editor.small"));
    model.element.replaceChildren(html("div", { class: "ic-away" }, t("editor.editing_large"), back));
    this.dialog = html("dialog", { class: "ic-dialog", "aria-label": t("editor.title") }, editor.root);
    for (const name of [
      "keydown",
      "keyup",
      "wheel",
      "pointerdown",
      "pointermove",
      "pointerup",
      "mousedown",
      "contextmenu",
      "drop",
      "dragover",
    ])
      this.dialog.addEventListener(name, (event) => event.stopPropagation());
    this.dialog.addEventListener("close", () => this.closeLarge());
    document.body.append(this.dialog);
    editor.large = true;
    editor.fit();
    this.dialog.showModal();
    editor.keys.focus();
    return undefined;
  }

  closeLarge() {
    const { editor, model } = this;
    this.dialog.remove();
    this.dialog = null;
    editor.large = false;
    editor.fit();
    model.element.replaceChildren(editor.root);
    editor.keys.focus({ preventScroll: true });
    editor.host.commit();
  }
}

// --- ComfyUI's events, once for all editors ---------------------------------------------------------------------------

let listening = false;
function listenOnce() {
  if (listening) return;
  listening = true;
  const each = (name, act) =>
    api.addEventListener(name, ({ detail }) => {
      // Nodes of a workflow in another tab may still be there; their ids are those of others here.
      for (const one of mounts) if (isInside(one.node, rootGraph())) act(one, detail);
    });
  each("execution_start", (one) => one.startRun());
  each("b_preview_with_metadata", (one, { blob, displayNodeId, nodeId }) =>
    one.preview(String(displayNodeId ?? nodeId), blob),
  );
  each("executed", (one, { node, display_node: shown, output }) => one.result(String(shown ?? node), output));
  each("progress_state", (one, { nodes }) => one.progress(nodes));
  each("execution_error", (one, detail) => one.failed(detail));
  api.addEventListener("graphChanged", () => requestAnimationFrame(graphChanged));
  for (const name of ["execution_success", "execution_error", "execution_interrupted"])
    each(name, (one) => one.endRun());
  // Before the page goes ComfyUI keeps the workflow as it knows it.
  window.addEventListener("beforeunload", () => mounts.forEach((one) => one.editor.flush()));
  window.addEventListener("wheel", keepForScrolling, { capture: true, passive: true });
  const repaint = new MutationObserver(() => mounts.forEach((one) => one.paint()));
  for (const element of [document.documentElement, document.body])
    repaint.observe(element, { attributes: true, attributeFilter: ["class", "style"] });
  let scale = app.canvas.ds.scale;
  chain(app.canvas.ds, "onChanged", () => {
    if (scale !== app.canvas.ds.scale) mounts.forEach((one) => one.editor.invalidate());
    scale = app.canvas.ds.scale;
  });
}

/**
 * The wheel over what scrolls in an editor scrolls it. Nodes 2.0 takes the wheel above all nodes, before any of them
 * hears of it, and leaves it alone only where the part under the pointer holds the focus as well; the editor's focus
 * is beside its list. What zooms or moves the graph everywhere (Ctrl, sideways) stays the graph's.
 */
function keepForScrolling(event) {
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

/** Move the graph with the pointer until it is released. */
function panGraph(event, done) {
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

const viewUrl = ({ filename, subfolder = "", type = "output" }) =>
  api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);

/** Call `after` whenever the object's handler is called, keeping what was there. */
function chain(object, name, after) {
  const before = object[name];
  object[name] = function (...args) {
    const result = before?.apply(this, args);
    after(...args);
    return result;
  };
}
