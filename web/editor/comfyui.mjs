// The one place that touches ComfyUI: puts an editor into the widget's element and is its host.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { Editor } from "./editor.mjs";
import { drawsRegionsAlone, executionId, halfWired, placesOf } from "./comfyui_flow.mjs";
import { executionScope, isInside, locator, pathTo, switchOf } from "./comfyui_graph.mjs";
import { notesOf, strangersTo } from "./comfyui_notes.mjs";
import {
  asksForName,
  chain,
  commandOf,
  isolate,
  keepForScrolling,
  locale,
  panGraph,
  styles,
  theme,
  translator,
  whenAdded,
} from "./comfyui_page.mjs";
import { NodePictures } from "./comfyui_pictures.mjs";
import { countTokens, examine, readLayout, readPrompt, writeLayout } from "./comfyui_server.mjs";
import { NodeSize } from "./comfyui_size.mjs";
import { keepUnsaved, takeUnsaved, Unsaved } from "./comfyui_unsaved.mjs";
import { Memories, recall, remember } from "./memory.mjs";
import { NodeNotes } from "./node_notes.mjs";
import { EditorWindow } from "./window.mjs";

const SETTLES_WITHIN = 60; // animation frames that a rebuilt graph takes to show its nodes
const RESTORED_AFTER = [100, 500, 2000]; // milliseconds in which a workflow has its outputs again
const mounts = new Set();
const notes = new Set();
const memories = new Memories();
const elements = new Memories();
const later = () => import("./later.mjs");

/** Make the editor of a widget. @param {{node: any, widget: any, model: {element: HTMLElement, text: string, textChanged: () => void}}} parts */
export async function mount({ node, widget, model }) {
  const [t] = await Promise.all([translator(), styles()]);
  whenAdded(node, () => {
    const made = new Mount(node, widget, model, t);
    mounts.add(made);
    made.added();
    listenOnce();
  });
}

/** Show in a node what there is to say of it: how it is wired, and what its last run found. */
export async function mountNotes(node) {
  const t = await translator();
  const wiring = () => halfWired(node, rootGraph());
  whenAdded(node, () => {
    const made = new NodeNotes(node, t, wiring, () => app.nodeOutputs?.[locator(node)]);
    notes.add(made);
    chain(node, "onRemoved", () => notes.delete(made));
    chain(node, "onExecuted", (output) => made.executed(output));
    chain(node, "onConnectionsChange", () => requestAnimationFrame(graphChanged));
    listenOnce();
    made.check();
    for (const wait of RESTORED_AFTER) setTimeout(() => notes.has(made) && made.restore(), wait);
  });
}

/** A graph was loaded or rebuilt: sizes and pictures may come through links that exist only now. */
export function graphLoaded() {
  for (const one of mounts) one.connectionsChanged();
  graphChanged();
}

/** Open the only layout of the workflow in a panel, or the one that is chosen, subgraphs included. */
export async function openLayouts() {
  const t = await translator();
  const found = mountsIn(rootGraph());
  if (found.length === 1) return found[0].openPanel();
  if (found.length) {
    const entry = (one) => ({
      title: one.title,
      text: one.model.text,
      theme: one.editor.root.dataset.theme,
      open: () => one.openPanel(),
    });
    return (await later()).chooseLayout(found.map(entry), t);
  }
  const note = {
    severity: "info",
    summary: t("editor.no_layout"),
    detail: t("editor.no_layout_help"),
    life: 6000,
  };
  return app.extensionManager.toast?.add(note);
}

/** What the menu of a node offers: the layouts that are inside a subgraph node, or its own. */
export function menuItems(node) {
  const inside = node.subgraph ? mountsIn(node.subgraph) : [...mounts].filter((one) => one.node === node);
  return inside.map((one) => ({
    content: one.editor.t("editor.open_in_panel", { title: one.node.title || String(one.node.id) }),
    callback: () => one.openPanel(),
  }));
}

/** The editors of a graph's own nodes and of those in its subgraphs. */
const mountsIn = (graph) => [...mounts].filter((one) => isInside(one.node, graph));

/** Links may have changed anywhere: what is said of them is looked at again. */
function graphChanged() {
  for (const one of notes) one.check();
  for (const one of mounts) {
    one.editor.check();
    if (isInside(one.node, rootGraph())) one.pictures.checkReference();
  }
}

const rootGraph = () => app.rootGraph ?? app.graph;

// --- One editor in one node ------------------------------------------------------------------------------------

class Mount {
  constructor(node, widget, model, t) {
    Object.assign(this, { node, widget, model });
    this.pictures = new NodePictures(this);
    this.unsaved = new Unsaved();
    this.size = new NodeSize(node, () => this.editor.hostSizeChanged());
    this.editor = new Editor(this.host(), t);
    this.window = new EditorWindow(this.editor, model.element, () => this.commit());
    model.element.replaceChildren(this.editor.root);
    model.textChanged = () => this.editor.read(model.text);
    if (this.joins) chain(this.joins, "callback", () => this.editor.check());
    chain(node, "onRemoved", () => this.remove());
    chain(node, "onExecuted", (output) => this.executed(output));
    chain(node, "onConnectionsChange", () => requestAnimationFrame(() => this.connectionsChanged()));
    this.paint();
    isolate(this.editor.root);
  }

  /** What the editor may ask for and do. */
  host() {
    const self = this;
    return {
      locale: locale(),
      get text() {
        return self.model.text;
      },
      setText: (text) => this.setText(text),
      get size() {
        return self.size.value;
      },
      setSize: (width, height) => this.size.set(width, height),
      commit: () => this.commit(),
      select: () => this.select(),
      get window() {
        return self.window.kind;
      },
      toggleWindow: (kind) => this.window.toggle(kind, this.title),
      shortcut: (event) => this.shortcut(event),
      keepPicture: (file) => this.pictures.keepPicture(file),
      forgetPicture: () => this.pictures.forgetPicture(),
      get keepsPicture() {
        return self.pictures.keepsPicture;
      },
      get joins() {
        return switchOf(self.node, "join_captions");
      },
      get regionsAlone() {
        return drawsRegionsAlone(self.node, rootGraph());
      },
      renamed: (...names) => later().then((part) => part.renamed(this.node, rootGraph(), ...names)),
      notes: (instances) => [
        ...notesOf(this.node, rootGraph(), this.failure),
        ...strangersTo(this.node, rootGraph(), instances, graphChanged),
      ],
      get results() {
        return self.pictures.results;
      },
      get chosenResult() {
        return self.pictures.chosen;
      },
      chooseResult: (choice) => this.pictures.choose(choice),
      get kept() {
        return later().then((part) => ({
          list: part.listKept,
          read: part.readKept,
          keep: part.keep,
          remove: part.removeKept,
        }));
      },
      countTokens,
      readPrompt,
      readLayout,
      writeLayout,
      examine,
      drawAgain: (...instances) =>
        later().then(
          (part) => part.drawAgain(app, this.node, ...instances),
          () => ({ code: "editor.not_loaded" }),
        ),
      panGraph: (event, done) => panGraph(event, done),
      wheelGraph: (event) => LiteGraph.vueNodesMode || app.canvas.processMouseWheel(event),
    };
  }

  /** The switch that has captions join the prompt. */
  get joins() {
    return this.size.widget("join_captions");
  }

  get text() {
    return this.model.text;
  }

  setText(text) {
    this.unsaved.replaced(this.text);
    this.widget.value = text;
  }

  commit() {
    this.place = this.key;
    this.unsaved.told();
    app.extensionManager.workflow?.activeWorkflow?.changeTracker?.captureCanvasState?.();
  }

  get key() {
    return `${this.node.graph?.id}:${this.node.id}:${this.widget.name}`;
  }

  /** The node is in its graph. The host may go on showing the element of a node that undo replaced. */
  added() {
    const { key } = this;
    this.place = key;
    // Of a node inside a subgraph that is made anew, a front end does not always say that the old one is gone.
    for (const one of mounts)
      if (one !== this && one.place === key && !isInside(one.node, rootGraph())) one.remove();
    const before = elements.get(key);
    elements.set(key, this.model.element);
    const memory = memories.get(key);
    memories.delete(key);
    if (memory) recall(this.editor, memory);
    const unsaved = takeUnsaved(key, this.text);
    if (unsaved !== null) this.setText(unsaved);
    this.isBehind = unsaved !== null; // the graph is still being loaded: it hears of it later
    this.restoreKept();
    this.connectionsChanged();
    // A front end that changes workflows gives back what they showed after their nodes are made.
    for (const wait of RESTORED_AFTER) setTimeout(() => this.restoreLate(), wait);
    if (before && before !== this.model.element) this.takeOver(before, SETTLES_WITHIN);
    if (memory?.inPanel) this.window.toggle("panel", this.title);
  }

  restoreKept() {
    const output = app.nodeOutputs?.[locator(this.node)];
    if (output) this.restore(output);
  }

  restoreLate() {
    if (this.isAlive && this.isBehind) this.commit();
    if (!this.isAlive || this.editor.pictures.images.result) return;
    this.restoreKept();
    this.pictures.showResult();
  }

  takeOver(before, frames) {
    const { element } = this.model;
    if (before.isConnected && !element.isConnected) before.replaceWith(element);
    if (frames > 0 && this.isAlive) requestAnimationFrame(() => this.takeOver(before, frames - 1));
  }

  remove() {
    if (!mounts.delete(this)) return;
    const inPanel = this.window.kind === "panel"; // what rebuilds the graph, undo above all, leaves it open
    // A graph that is cleared has lost its id by now.
    memories.set(this.place ?? this.key, { ...remember(this.editor), inPanel });
    this.window.close({ isRemoved: true });
    this.editor.destroy();
  }

  get isAlive() {
    return mounts.has(this);
  }

  /** The node's title, behind those of the subgraphs that it is in. */
  get title() {
    const around = isInside(this.node, rootGraph()) ? pathTo(rootGraph(), this.node.graph) : [];
    return [...around, this.node].map(({ title, id }) => title || String(id)).join(" › ");
  }

  /** A key of ComfyUI's in the large editor, where its page does not hear it; false for others. */
  shortcut(event) {
    const command = commandOf(event);
    if (!command) return false;
    this.editor.flush();
    if (asksForName(command)) this.window.close();
    app.extensionManager.command.execute(command);
    return true;
  }

  openPanel() {
    if (this.window.kind !== "panel") this.window.toggle("panel", this.title);
    else this.editor.keys.focus();
  }

  select() {
    if (this.node.graph !== app.canvas.graph || this.node.selected) return; // a panel's node may be elsewhere
    app.canvas.selectNode?.(this.node);
  }

  paint() {
    const { root } = this.editor;
    root.dataset.theme = theme();
  }

  // --- Links ----------------------------------------------------------------------------------------------------

  connectionsChanged() {
    this.editor.hostSizeChanged();
    this.pictures.showReference();
    this.pictures.showResult();
  }

  // --- Runs ------------------------------------------------------------------------------------------------------

  /** A node after us, or our own, failed: its words stay until the next run. */
  failed({ node_id: id, exception_message: message }) {
    const isAfter = executionScope(this.node, rootGraph());
    const isOwn = placesOf(this.node, rootGraph()).some((place) => executionId(place) === String(id));
    if (!message || !(isOwn || isAfter(String(id)))) return;
    this.failure = message.trim();
    this.editor.check();
  }

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
    if (used) this.size.used = used;
    this.editor.hostSizeChanged();
    this.pictures.showReference(output?.instance_layout_reference?.[0]);
    return used;
  }

  startRun() {
    this.pictures.startRun();
    if (!this.failure) return;
    this.failure = null;
    this.editor.check();
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
    one.pictures.preview(String(displayNodeId ?? nodeId), blob),
  );
  each("executed", (one, { node, display_node: shown, output }) =>
    one.pictures.result(String(shown ?? node), output),
  );
  each("progress_state", (one, { nodes }) => one.pictures.progress(nodes));
  each("execution_error", (one, detail) => one.failed(detail));
  const tell = (id, sentence) => {
    for (const one of notes)
      if (placesOf(one.node, rootGraph()).some((place) => executionId(place) === String(id)))
        one.tell(sentence);
  };
  api.addEventListener("instance_composer.told", ({ detail }) => tell(detail.node, detail.sentence));
  // What was told of a node's last run is over once it runs anew; while ComfyUI has it still, it does not.
  api.addEventListener("executing", ({ detail }) => tell(detail?.node ?? detail, null));
  api.addEventListener("graphChanged", () => requestAnimationFrame(graphChanged));
  for (const name of ["execution_success", "execution_error", "execution_interrupted"])
    each(name, (one) => one.pictures.endRun());
  // Before the page goes ComfyUI keeps the workflow as it knows it.
  window.addEventListener("beforeunload", () => mounts.forEach((one) => one.editor.flush()));
  window.addEventListener("pagehide", () => keepUnsaved(mounts));
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
