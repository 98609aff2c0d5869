// The pictures of one editor in ComfyUI: a reference to draw over, and what runs bring.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { executionId, keptHeat, keptPictures, nodesAfter, sampledThrough } from "./comfyui_flow.mjs";
import { isInside, isLinked, linkedNode, upstreamPicture } from "./comfyui_graph.mjs";
import { decoded, viewUrl } from "./comfyui_page.mjs";

const PICTURE = "instance_composer_picture"; // of a node's properties: the file that was opened to draw over
const CHOSEN_RESULT = "ic_picture"; // which picture of a run is shown, in the node's properties
const SAME_ASPECT = 0.02; // latents are cut in steps of 8 pixels and more

const rootGraph = () => app.rootGraph ?? app.graph;

export class NodePictures {
  /** `mount` has the node and the editor, knows which inputs are linked, and tells the graph of changes. */
  constructor(mount) {
    Object.assign(this, { mount, node: mount.node, results: [], order: [], turn: 0 });
  }

  get pictures() {
    return this.mount.editor.pictures;
  }

  // --- A reference to draw over ----------------------------------------------------------------------------------

  get keepsPicture() {
    return Boolean(this.node.properties?.[PICTURE]);
  }

  /** Show the picture of the linked node, `file` where its run has told of one, else the one that was opened. */
  async showReference(file = null) {
    const source = this.referenceSource(file);
    this.looked = this.referenceSource();
    if (source === this.reference) return;
    this.reference = source;
    const image = source && (await decoded(source));
    if (source !== this.reference) return; // a later one is on its way
    if (image || !source) this.pictures.set("reference", image);
    // A file that is gone, as one of a run may be, leaves what is there; it is asked for again.
    else this.reference = undefined;
  }

  /** Another picture may be chosen in the linked node; else what a run told of stays, and what is gone is let be. */
  checkReference() {
    if (this.referenceSource() !== this.looked) this.showReference();
  }

  referenceSource(file = null) {
    if (isLinked(this.node, "image")) {
      const origin = linkedNode(this.node, "image");
      if (file) this.told = { origin, source: viewUrl(file) };
      // Most nodes show nothing of their own: what the run told of one stays until another is linked.
      const told = this.told?.origin === origin ? this.told.source : null;
      return file ? told : (upstreamPicture(this.node, "image", app, api) ?? told);
    }
    const kept = this.node.properties?.[PICTURE];
    return kept ? viewUrl(kept) : null;
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
    if (!isLinked(this.node, "image")) this.reference = viewUrl({ filename, subfolder, type });
    this.mount.commit();
    return true;
  }

  forgetPicture() {
    delete this.node.properties[PICTURE];
    this.mount.commit();
    this.reference = undefined; // what is linked lies under it, and was not asked for again
    this.pictures.set("reference", null);
    this.showReference();
  }

  // --- What runs bring back --------------------------------------------------------------------------------------

  startRun() {
    this.sampled = sampledThrough(this.node, rootGraph());
    this.heatBefore = this.heat;
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
      if (this.mount.isAlive && this.sampled) this.pictures.set("preview", this.waiting);
      else this.waiting.close();
      this.waiting = null;
    });
  }

  /** Whether a picture has the aspect of the canvas: any other would lie wrong under the regions. */
  fits(image) {
    const { width, height } = this.mount.editor.layout.canvas;
    const ratio =
      ((image.naturalWidth || image.width) / (image.naturalHeight || image.height)) * (height / width);
    return Math.abs(ratio - 1) <= SAME_ASPECT;
  }

  result(id, output) {
    // The pictures of Show Attention Maps have the heat painted in; here it is drawn over the regions.
    if (output?.instance_heat_maps) {
      const isOurs = nodesAfter(this.node, rootGraph()).some((place) => executionId(place) === id);
      if (isOurs) this.showHeat(output.instance_heat_maps);
      return;
    }
    this.sampled ??= sampledThrough(this.node, rootGraph());
    if (!output?.images?.length || !this.sampled.has(id)) return;
    // The heat of an earlier run is not that of this picture.
    if (this.heat === this.heatBefore) this.showHeat(null);
    this.showResult(id, output.images);
  }

  /**
   * Show the picture that was chosen, else the first of the newest that were sampled through this layout and
   * have its aspect. `id` and `files` are those of a node that ran just now.
   */
  async showResult(id = null, files = null) {
    if (!isInside(this.node, rootGraph())) return;
    if (this.heat === undefined) this.showHeat(keptHeat(this.node, rootGraph(), app.nodeOutputs));
    const turn = (this.turn += 1);
    const places = sampledThrough(this.node, rootGraph());
    const found = new Map(keptPictures(places, app.nodeOutputs).map((one) => [one.id, one]));
    this.order = this.order.filter((one) => one !== id);
    if (id !== null && places.has(id)) {
      this.order.push(id);
      found.set(id, { id, node: places.get(id).node, files });
    }
    const rank = (one) => this.order.indexOf(one.id);
    this.results = [...found.values()].sort((one, other) => rank(one) - rank(other));
    const chosen = this.chosen;
    const first = this.results.filter((one) => one.id === chosen?.node);
    for (const { id: from, files: all } of [...first, ...[...this.results].reverse()]) {
      const index = from === chosen?.node ? Math.min(chosen.index, all.length - 1) : 0;
      const image = await this.loaded(viewUrl(all[index]));
      if (!this.mount.isAlive || turn !== this.turn) return; // a later question is on its way
      if (image && this.fits(image)) return this.pictures.set("result", image, id !== null);
    }
    this.pictures.set("result", null);
  }

  /** Which picture of which node the person chose: {node, index}, null for the newest. */
  get chosen() {
    return this.node.properties?.[CHOSEN_RESULT] ?? null;
  }

  choose(choice) {
    this.node.properties ??= {};
    if (choice) this.node.properties[CHOSEN_RESULT] = choice;
    else delete this.node.properties[CHOSEN_RESULT];
    this.mount.commit();
    this.showResult();
  }

  /** The picture at an address, the same one when it is asked for again; null if it is gone. */
  async loaded(source) {
    if (this.last?.source === source) return this.last.image;
    const image = await decoded(source);
    if (image) this.last = { source, image };
    return image;
  }

  /**
   * `files`: [{instance, filename, subfolder, type}], a grey picture each, its brightness the heat. Null for none;
   * undefined while nobody has told of any.
   */
  async showHeat(files) {
    if (files === this.heat) return;
    this.heat = files;
    const heats = new Map();
    for (const file of files ?? []) {
      const image = await decoded(viewUrl(file));
      if (!this.mount.isAlive || files !== this.heat) return; // others are on their way
      if (image) heats.set(file.instance, image);
    }
    this.pictures.setHeats(heats);
  }

  progress(nodes) {
    const running = Object.values(nodes).filter(
      (one) =>
        one.state === "running" &&
        one.max > 1 &&
        this.sampled?.has(String(one.display_node_id ?? one.node_id)),
    );
    if (running.length) this.pictures.progress(running[0].value / running[0].max);
  }

  endRun() {
    // The node that brought the heat is off or gone.
    if (this.heat === this.heatBefore && !keptHeat(this.node, rootGraph(), app.nodeOutputs))
      this.showHeat(null);
    this.sampled = null;
    this.pictures.progress(0);
    this.pictures.set("preview", null);
  }
}
