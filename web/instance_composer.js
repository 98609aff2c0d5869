// @ts-check
// The entry ComfyUI imports at start: it names the widget and shows tables. The editor itself is loaded with the
// first node, from web/bundle: run `npm run build` after a change of web/editor or web/lib.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const WIDGET = "IC_LAYOUT";
const NODE = "IC_InstanceLayout";
const NOTED = ["IC_ApplyIFAdapter", "IC_DrawRegions", "IC_ComposeLayout", "IC_AttributeConcentration"];
// Nodes that tell something when they have run: tables, and sentences, which are wrapped.
const REPORTS = {
  IC_PromptEntities: "pre",
  IC_ExtractIterCompLoRA: "pre",
  IC_LayoutFromText: "pre-wrap",
  IC_RepairInstance: "pre-wrap",
  IC_InstanceLora: "pre-wrap",
};
const COMMAND = "InstanceComposer.EditLayout";
const PACK = "instance-composer"; // in the registry: a workflow says by it where its nodes come from
// In which order the templates are best met; the server lists files as the disk has them.
const TEMPLATES = [
  "Try it",
  "Place things by region",
  "Draw regions",
  "Draw regions on a transformer",
  "Draw regions with Qwen-Image",
  "Draw regions with Z-Image",
  "Draw regions with Krea 2",
  "Draw regions with Flux",
  "Draw regions with Anima",
  "Repair an instance",
  "A LoRA for each",
  "Bind attributes",
  "Regions and attributes",
  "Choose the best",
  "Judge by a checklist",
  "Compose with IterComp",
  "With and without",
  "See where words look",
  "Refine a picture",
  "Import a layout",
  "Try everything",
];
const SIZE = [560, 920];
const REPORT = "report"; // the widget that shows them
const REPORT_WIDTH = 480;
const RESTORED_AFTER = [100, 500, 2000]; // milliseconds in which a workflow has its outputs again
const MINIMUM = 480;

let adapter;
let loaded = null;
async function load() {
  adapter ??= import("./bundle/comfyui.mjs");
  try {
    return (loaded = await adapter);
  } catch (error) {
    adapter = undefined; // the next node asks again
    throw error;
  }
}

/** A text area with the JSON, for when the editor cannot be loaded. */
function plainText(model, error) {
  console.error("Instance Composer: the layout editor could not be loaded.", error);
  const area = document.createElement("textarea");
  area.value = model.text;
  area.style.cssText = "box-sizing:border-box;width:100%;height:100%;resize:none";
  area.addEventListener("change", () => (model.text = area.value));
  model.textChanged = () => (area.value = model.text);
  model.element.replaceChildren(area);
}

/** The widget of a layout document: its value is the document's JSON, its look is the editor. */
function layoutWidget(node, name, input) {
  const element = document.createElement("div");
  element.style.minHeight = `${MINIMUM}px`;
  const model = { element, text: input?.[1]?.default ?? "", textChanged: () => {} };
  const options = {
    getValue: () => model.text,
    setValue: (value) => {
      model.text = typeof value === "string" ? value : value == null ? "" : JSON.stringify(value);
      model.textChanged();
    },
    getMinHeight: () => MINIMUM,
    hideOnZoom: false, // else classic nodes lose the editor when the graph is zoomed out
    hideInPanel: true, // else the side panel takes the element and its width with it
    surfaces: { canvas: "shown", vueNode: "shown", panel: "never" }, // the same, as front ends from 1.58 say it
    socketless: true, // a link in its place would leave the drawing unused
    margin: 6,
  };
  const widget = node.addDOMWidget(name, WIDGET, element, options);
  widget.tooltip = " "; // one about JSON would cover what is being drawn
  load()
    .then((module) => module.mount({ node, widget, model }))
    .catch((error) => plainText(model, error));
  return { widget };
}

/** Show the text a node hands over when it has run, in the node; it is no input and is not saved. */
function showReports(type, whiteSpace) {
  const before = type.prototype.onExecuted;
  type.prototype.onExecuted = function (output) {
    before?.apply(this, arguments);
    if (output?.text) showReport(this, output.text, whiteSpace);
  };
}

function showReport(node, text, whiteSpace) {
  let widget = node.widgets?.find((one) => one.name === REPORT);
  if (!widget) {
    const element = document.createElement("pre");
    element.tabIndex = 0; // so that the keyboard scrolls it
    element.dataset.captureWheel = "true"; // and the wheel once it was pressed, as core's own text areas
    element.style.cssText =
      "margin:0;padding:6px;overflow:auto;user-select:text;font-size:12px;" +
      "scrollbar-width:thin;scrollbar-color:var(--border-color,#666) transparent";
    element.style.whiteSpace = whiteSpace;
    widget = node.addDOMWidget(REPORT, "IC_REPORT", element, {
      serialize: false,
      getMinHeight: () => 96,
    });
    widget.serialize = false;
    node.setSize([Math.max(node.size[0], REPORT_WIDTH), Math.max(node.size[1], node.computeSize()[1])]);
  }
  widget.element.textContent = [text].flat().join("\n");
}

/** What an earlier run told: ComfyUI gives it back after a node is made anew, by undo or a change of tabs. */
function restoreReport(node) {
  if (!node.graph || node.widgets?.some((one) => one.name === REPORT)) return;
  const locator = (node.graph.isRootGraph ?? true) ? String(node.id) : `${node.graph.id}:${node.id}`;
  const text = app.nodeOutputs?.[locator]?.text;
  if (text) showReport(node, text, REPORTS[node.comfyClass]);
}

/** Our templates in their order; other packs' lists stay as they are. */
function orderTemplates() {
  const before = api.getWorkflowTemplates;
  if (typeof before !== "function") return;
  const place = (name) => (TEMPLATES.includes(name) ? TEMPLATES.indexOf(name) : TEMPLATES.length);
  api.getWorkflowTemplates = async function (...args) {
    const packs = await before.apply(this, args);
    const ordered = (names) =>
      Array.isArray(names) && TEMPLATES.slice(0, 2).every((name) => names.includes(name))
        ? [...names].sort((one, other) => place(one) - place(other))
        : names;
    return Object.fromEntries(Object.entries(packs ?? {}).map(([pack, names]) => [pack, ordered(names)]));
  };
}

orderTemplates();
app.registerExtension({
  name: "InstanceComposer.LayoutEditor",
  // Wherever in the workflow a layout is: its editor beside the graph. Its words in Chinese: locales/zh/commands.json.
  commands: [
    {
      id: COMMAND,
      label: "Edit a layout beside the graph",
      icon: "pi pi-objects-column",
      function: () => load().then((module) => module.openLayouts()),
    },
  ],
  menuCommands: [{ path: ["Edit"], commands: [COMMAND] }],
  getNodeMenuItems: (node) => loaded?.menuItems(node) ?? [],
  getCustomWidgets: () => ({ [WIDGET]: layoutWidget }),
  // The server speaks of plain text: without this script the node has a text field with the JSON.
  beforeRegisterNodeDef(type, definition) {
    if (REPORTS[definition.name]) showReports(type, REPORTS[definition.name]);
    if (definition.name === NODE) definition.input.optional.document[1].widgetType = WIDGET;
  },
  nodeCreated(node) {
    if (REPORTS[node.comfyClass])
      for (const wait of RESTORED_AFTER) setTimeout(() => restoreReport(node), wait);
    if (node.comfyClass?.startsWith("IC_")) node.properties.cnr_id ??= PACK;
    if (node.comfyClass === NODE)
      node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])]);
    if (NOTED.includes(node.comfyClass))
      load()
        .then((module) => module.mountNotes(node))
        .catch((error) => console.error("Instance Composer: notes could not be loaded.", error));
  },
  // The graph as saved is complete now: editors restored from it can look for their links.
  afterConfigureGraph() {
    // Whoever asked for what could not be loaded tells of it.
    adapter?.then(
      (module) => module.graphLoaded(),
      () => {},
    );
  },
});
