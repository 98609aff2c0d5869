// Pictures under the regions: a live preview, the last result, or a reference; and heat maps over it.
import { html } from "./dom.mjs";
import { instanceColor } from "./colors.mjs";

export class Pictures {
  constructor(editor) {
    this.editor = editor;
    this.images = { preview: null, result: null, reference: null };
    this.heats = new Map();
    this.opened = false; // a picture was opened just now: it lies there whatever else is chosen
    this.canvas = html("canvas", { class: "ic-picture ic-whole-picture" });
    this.heat = html("canvas", { class: "ic-picture ic-heat", hidden: true });
    editor.stage.pictures.prepend(this.canvas, this.heat);
    this.render();
  }

  destroy() {
    for (const image of Object.values(this.images)) image?.close?.();
  }

  /**
   * The picture to show now, null for none. "auto" prefers what is newest: preview, result, reference. Where there is
   * no reference, whoever wants to see it sees the others.
   */
  get shown() {
    const { picture } = this.editor.settings;
    const { preview, result, reference } = this.images;
    if (this.opened && reference) return reference;
    if (picture === "none") return null;
    if (picture === "result") return preview ?? result;
    return (picture === "reference" ? reference : null) ?? preview ?? result ?? reference;
  }

  /** Show another picture of one kind, `isNew` unless it was there before; bitmaps given up are closed. */
  set(kind, image, isNew = true) {
    const before = this.images[kind];
    if (before === image) return;
    this.images[kind] = image;
    before?.close?.();
    // Until a run brings something newer, or it is taken away.
    if (isNew && (kind === "reference") !== Boolean(image)) this.opened = false;
    this.render();
  }

  choose(name) {
    this.opened = false;
    this.editor.setSetting("picture", name);
    this.render();
  }

  /** A picture of the person's own to draw over; the host keeps it with the workflow. Other editors show theirs. */
  async useFile(file) {
    const { editor } = this;
    try {
      const image = await createImageBitmap(file);
      this.opened = true;
      this.set("reference", image);
    } catch {
      return editor.say(editor.t("editor.not_a_picture", { name: file.name }), true);
    }
    const kept = await editor.host.keepPicture?.(file);
    return kept || editor.say(editor.t("editor.picture_not_kept"), true);
  }

  /** Heat maps by instance id: pictures whose brightness is the heat. */
  setHeats(heats) {
    this.heats = heats;
    this.render();
  }

  progress(share) {
    this.editor.stage.progress.style.transform = `scaleX(${share})`;
  }

  render() {
    const { shown, canvas } = this;
    const { editor } = this;
    editor.root.toggleAttribute("data-picture", shown !== null);
    canvas.hidden = shown === null;
    if (shown && this.drawn !== shown) {
      canvas.width = shown.width || shown.naturalWidth;
      canvas.height = shown.height || shown.naturalHeight;
      canvas.getContext("2d").drawImage(shown, 0, 0, canvas.width, canvas.height);
    }
    this.drawn = shown;
    canvas.style.opacity = editor.settings.opacity;
    this.renderHeat();
    editor.invalidate();
  }

  /** The heat of the selected instances, or of all, each in its colour; drawn anew when something of that changed. */
  renderHeat() {
    const { editor, heat, heats } = this;
    const { instances } = editor.layout;
    const { selection } = editor.state;
    heat.hidden = heats.size === 0;
    heat.style.opacity = editor.settings.heat;
    const facts = [heats, instances, selection];
    if (heat.hidden || facts.every((fact, at) => fact === this.heatOf?.[at])) return;
    this.heatOf = facts;
    const chosen = selection.some((id) => heats.has(id)) ? selection : [...heats.keys()];
    heat.width = heat.height = 256;
    const context = heat.getContext("2d");
    context.globalCompositeOperation = "lighter";
    instances.forEach((instance, index) => {
      if (chosen.includes(instance.id) && heats.has(instance.id))
        context.drawImage(colored(heats.get(instance.id), instanceColor(instance, index)), 0, 0, 256, 256);
    });
  }
}

/** A grey picture in one colour, its brightness as opacity. */
function colored(image, color) {
  const canvas = html("canvas", { width: image.width, height: image.height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height);
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data[at + 3] = pixels.data[at];
    pixels.data.set(parts, at);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
