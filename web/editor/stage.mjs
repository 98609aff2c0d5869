// The drawing: picture, grid, regions with their labels, handles, guides. Reads the editor's state, changes nothing.
import { centre, handlePoint, HANDLES, toPixels, union } from "../lib/geometry.mjs";
import { svgPath } from "../lib/mask.mjs";
import { bounds } from "../lib/regions.mjs";
import { strip } from "../lib/document.mjs";
import { instanceColor, textOn } from "./colors.mjs";
import { html, set, svg } from "./dom.mjs";
import { guideLines } from "../lib/guides.mjs";
import { placeLabels } from "../lib/label_places.mjs";
import { View } from "./view.mjs";

export const HANDLE = 8;
const round = (value) => Math.round(value * 100) / 100;

export class Stage {
  constructor(editor) {
    this.editor = editor;
    this.view = new View();
    this.regions = new Map();
    this.paper = html("div", { class: "ic-paper" });
    this.pictures = html("div", {
      class: "ic-paper",
      style: "background:none;box-shadow:none;pointer-events:none",
    });
    this.paint = html("canvas", { class: "ic-picture", style: "image-rendering:pixelated", hidden: true });
    this.pictures.append(this.paint);
    this.gridPattern = svg(
      "pattern",
      { id: editor.uid("grid"), patternUnits: "userSpaceOnUse" },
      svg("circle", { class: "ic-grid", r: 0.8 }),
    );
    this.grid = svg("rect", { fill: `url(#${editor.uid("grid")})` });
    this.guides = svg("path", { class: "ic-guides" });
    this.regionLayer = svg("g");
    this.overlay = svg("g");
    this.svg = svg(
      "svg",
      { "aria-hidden": "true" },
      svg("defs", {}, this.gridPattern),
      this.grid,
      this.guides,
      this.regionLayer,
      this.overlay,
    );
    this.labels = html("div", { class: "ic-labels", "aria-hidden": "true" });
    this.readout = html("div", { class: "ic-readout", hidden: true });
    this.progress = html("div", { class: "ic-progress" });
    this.element = html(
      "div",
      { class: "ic-stage" },
      this.paper,
      this.pictures,
      this.svg,
      this.labels,
      this.readout,
      this.progress,
    );
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(this.element);
  }

  destroy() {
    this.observer.disconnect();
  }

  /** A hidden stage (collapsed node, other tab) has no size; the last one is kept. */
  measure() {
    const { clientWidth, clientHeight } = this.element;
    if (clientWidth && clientHeight) this.view.stage = [clientWidth, clientHeight];
    this.editor.invalidate();
  }

  /** Pixels of the screen per pixel of the editor: 1 but for the zoom of the graph. */
  get ratio() {
    return this.element.getBoundingClientRect().width / this.element.offsetWidth || 1;
  }

  /** The point of an event in pixels of the stage, whatever transform the graph applies. */
  point(event) {
    const rect = this.element.getBoundingClientRect();
    const ratio = rect.width / this.element.offsetWidth || 1;
    return [(event.clientX - rect.left) / ratio, (event.clientY - rect.top) / ratio];
  }

  render() {
    const { view, editor } = this;
    const { layout } = editor.state;
    view.canvas = layout.canvas;
    const [w, h] = view.size;
    const [x, y] = view.origin;
    const style = `width:${w}px;height:${h}px;transform:translate(${x}px,${y}px)`;
    if (this.frame !== style) {
      this.frame = style;
      this.paper.style.cssText = style;
      this.pictures.style.cssText = `${style};background:none;box-shadow:none;pointer-events:none`;
      this.renderGrid(x, y, w, h);
    }
    this.renderRegions();
    this.renderOverlay();
  }

  renderGrid(x, y, w, h) {
    const { settings } = this.editor;
    const cell = settings.grid * this.view.scale;
    const shown = settings.snap && settings.grid > 0 && cell >= 7;
    set(this.grid, { x, y, width: w, height: h, display: shown ? null : "none" });
    set(this.gridPattern, { x, y, width: Math.max(cell, 1), height: Math.max(cell, 1) });
    const lines = guideLines(settings.guides).map((at) => `M${x + at * w} ${y}v${h}M${x} ${y + at * h}h${w}`);
    set(this.guides, { d: lines.join("") });
  }

  /** Forget what is drawn, so that the next frame draws all of it (settings changed). */
  refresh() {
    this.frame = null;
    for (const region of this.regions.values()) region.seen = null;
    this.editor.invalidate();
  }

  renderRegions() {
    const { state, hover, problemIds } = this.editor;
    const { instances } = state.layout;
    const selected = new Set(state.selection);
    const gone = new Set(this.regions.keys());
    instances.forEach((instance, index) => {
      gone.delete(instance.id);
      const region = this.regions.get(instance.id) ?? this.addRegion(instance.id);
      const facts = [
        instance,
        index,
        selected.has(instance.id),
        hover === instance.id,
        problemIds.has(instance.id),
        this.frame,
      ];
      if (!region.seen || facts.some((fact, at) => fact !== region.seen[at])) {
        region.seen = facts;
        this.drawRegion(region, ...facts);
      }
      if (this.regionLayer.children[index] !== region.group)
        this.regionLayer.insertBefore(region.group, this.regionLayer.children[index] ?? null);
      if (this.labels.children[index] !== region.label)
        this.labels.insertBefore(region.label, this.labels.children[index] ?? null);
    });
    for (const id of gone) {
      this.regions.get(id).group.remove();
      this.regions.get(id).label.remove();
      this.regions.delete(id);
      this.labelsMoved = true;
    }
    if (this.labelsMoved && !this.editor.dragging) this.placeLabels();
  }

  addRegion(id) {
    const shapes = ["ic-veil", "ic-tint", "ic-halo", "ic-line", "ic-hull"].map((name) =>
      svg("path", { class: name, "fill-rule": "evenodd" }),
    );
    const group = svg("g", { class: "ic-region" }, ...shapes);
    const chip = html("span", { class: "ic-chip" });
    const words = html("span", { class: "ic-words" });
    const region = {
      group,
      shapes,
      chip,
      words,
      label: html("div", { class: "ic-label" }, chip, words),
      seen: null,
    };
    this.regions.set(id, region);
    return region;
  }

  /** Moving changes transforms alone: paths and labels that keep their size cost no layout. */
  drawRegion(region, instance, index, isSelected, isHovered, hasProblem) {
    const color = instanceColor(instance, index);
    const box = bounds(instance);
    const { group, shapes } = region;
    const at = this.view.toStage(box);
    const size = this.sizeOf(box);
    const base = instance.mask?.rle ? this.view.origin : at;
    const d = this.outlineOf(region, instance, base, size);
    if (region.d !== d) for (const shape of shapes.slice(0, 4)) shape.setAttribute("d", (region.d = d));
    const hull =
      instance.mask && isSelected
        ? `M${round(at[0] - base[0])} ${round(at[1] - base[1])}h${size[0]}v${size[1]}h${-size[0]}z`
        : null;
    if (region.hull !== hull) set(shapes[4], { d: (region.hull = hull), display: hull ? null : "none" });
    group.setAttribute("transform", `translate(${base.map(round).join(" ")})`);
    const look = {
      style: `--c:${color}`,
      "data-selected": isSelected,
      "data-off": !instance.enabled,
      "data-hover": isHovered,
      "data-problem": hasProblem,
    };
    const seen = JSON.stringify(look);
    if (region.look !== seen) set(group, look);
    region.look = seen;
    this.drawLabel(region, instance, color, at, size);
  }

  drawLabel(region, instance, color, at, size) {
    const { label, chip, words } = region;
    const style = `--c:${color};--on:${textOn(color)}`;
    if (region.style !== style) label.style.cssText = region.style = style;
    set(label, { "data-off": !instance.enabled });
    const caption = strip(instance.caption);
    if (chip.textContent !== instance.id) chip.textContent = instance.id;
    const shown = caption || this.editor.t("editor.no_caption");
    if (words.textContent !== shown) words.textContent = shown;
    set(words, { "data-empty": caption === "" });
    region.room = { at, size, chip: instance.id, words: shown };
    // While regions are dragged their labels go with them as they are; new places are found when they rest.
    if (this.editor.dragging && region.place) this.moveLabel(region);
    this.labelsMoved = true;
  }

  /** Labels where none lies over another: those that matter now choose first, then from the front to the back. */
  placeLabels() {
    this.labelsMoved = false;
    const { state, hover, settings } = this.editor;
    const { labels, labelSize } = settings;
    this.labels.hidden = labels === "none";
    this.labels.style.setProperty("--label", `${labelSize}px`);
    if (labels === "none") return;
    const front = [...state.layout.instances].reverse();
    const matters = ({ id }) => id === hover || state.selection.includes(id);
    const ordered = [...front.filter(matters), ...front.filter((one) => !matters(one))];
    const regions = ordered.map(({ id }) => this.regions.get(id));
    const rooms = regions.map((region) => region.room);
    placeLabels(rooms, { size: labelSize, words: labels === "captions" }).forEach((place, order) => {
      const region = regions[order];
      const { label, words } = region;
      region.place = place && { offset: place.at.map((value, axis) => value - region.room.at[axis]) };
      label.hidden = place === null;
      if (!place) return;
      this.moveLabel(region);
      label.style.maxWidth = `${place.width}px`;
      label.style.setProperty("--lines", place.lines);
      words.hidden = place.lines === 0;
    });
  }

  moveLabel({ label, room, place }) {
    const at = place.offset.map((value, axis) => round(value + room.at[axis]));
    label.style.transform = `translate(${at.join("px,")}px)`;
  }

  /** Width and height of a box on the stage, without the noise that moving brings. */
  sizeOf(box) {
    const [w, h] = this.view.size;
    return [round((box[2] - box[0]) * w), round((box[3] - box[1]) * h)];
  }

  /** The outline of an instance as a path from a point of the stage. */
  outlineOf(region, { mask }, base, [width, height]) {
    if (!mask) return `M0 0h${width}v${height}h${-width}z`;
    if (mask.rle) return this.paintedOutline(region, mask);
    const points = mask.polygon.map((point) =>
      this.view.toStage(point).map((value, axis) => round(value - base[axis])),
    );
    return `M${points.map((point) => point.join(" ")).join("L")}Z`;
  }

  /** The outline of a painted shape, which may have thousands of corners: the same wherever the canvas is moved to. */
  paintedOutline(region, mask) {
    const [width, height] = this.view.size;
    const { painted } = region;
    if (painted?.mask !== mask || painted.width !== width || painted.height !== height)
      region.painted = { mask, width, height, d: svgPath(mask, width, height) };
    return region.painted.d;
  }

  boxPath(box) {
    const [x0, y0] = this.view.toStage([box[0], box[1]]);
    const [x1, y1] = this.view.toStage([box[2], box[3]]);
    return `M${x0} ${y0}H${x1}V${y1}H${x0}Z`;
  }

  polygonPath(points) {
    return points.map((point, at) => (at ? "L" : "M") + this.view.toStage(point).join(" ")).join("");
  }

  /** Handles, vertices, guides and whatever a gesture is about to make. */
  renderOverlay() {
    const { editor, view } = this;
    const { guides, draft, marquee, brush, points } = editor.gestureMarks;
    const parts = [];
    for (const guide of guides ?? [])
      parts.push(svg("path", { class: "ic-guide", d: this.guidePath(guide) }));
    if (draft) parts.push(svg("path", { class: "ic-draft", d: this.boxPath(draft) }));
    if (marquee) parts.push(svg("path", { class: "ic-marquee", d: this.boxPath(marquee) }));
    if (points?.length)
      parts.push(
        svg("path", { class: "ic-draft", d: this.polygonPath(points) }),
        ...points.map((point) => this.dot(point, "ic-vertex", 3.5)),
      );
    if (!editor.dragging) parts.push(...this.handles());
    if (brush) {
      const [cx, cy] = view.toStage(brush.at);
      parts.push(svg("circle", { class: "ic-brush", cx, cy, r: brush.radius * view.size[0] }));
    }
    this.overlay.replaceChildren(...parts);
    this.renderReadout(editor.gestureMarks.readout);
  }

  dot(point, name, radius, properties = {}) {
    const [cx, cy] = this.view.toStage(point);
    return svg("circle", { class: name, cx, cy, r: radius / this.handleScale, ...properties });
  }

  /** Handles keep their size on the screen when the graph is zoomed, within reason. */
  get handleScale() {
    return Math.min(Math.max(this.ratio, 0.5), 2);
  }

  handles() {
    const { editor } = this;
    const box = editor.handleBox;
    if (!box) return [];
    const polygon = editor.editablePolygon;
    const only = editor.selected[0];
    const style = `--c:${instanceColor(only, editor.state.layout.instances.indexOf(only))}`;
    if (polygon) return this.vertices(polygon, style);
    const size = HANDLE / this.handleScale;
    const [w, h] = [(box[2] - box[0]) * this.view.size[0], (box[3] - box[1]) * this.view.size[1]];
    const room = { n: w, s: w, e: h, w: h };
    const shown = HANDLES.filter((handle) => handle.length === 2 || room[handle] > 4 * size);
    const frame =
      editor.selected.length > 1 ? [svg("path", { class: "ic-group", d: this.boxPath(box) })] : [];
    return frame.concat(
      shown.map((handle) => {
        const [x, y] = this.view.toStage(handlePoint(box, handle));
        return svg("rect", {
          class: "ic-handle",
          style,
          x: x - size / 2,
          y: y - size / 2,
          width: size,
          height: size,
          rx: 1.5,
        });
      }),
    );
  }

  vertices(points, style) {
    const middles = points.map((point, at) => {
      const next = points[(at + 1) % points.length];
      return this.dot([(point[0] + next[0]) / 2, (point[1] + next[1]) / 2], "ic-midpoint", 2.6, { style });
    });
    return [...middles, ...points.map((point) => this.dot(point, "ic-vertex", 4, { style }))];
  }

  guidePath({ axis, at, from, to }) {
    const ends =
      axis === "x"
        ? [
            [at, from],
            [at, to],
          ]
        : [
            [from, at],
            [to, at],
          ];
    return this.polygonPath(ends);
  }

  renderReadout(box) {
    this.readout.hidden = !box;
    if (!box) return;
    const [x, y, w, h] = toPixels(box, this.view.canvas).map(Math.round);
    this.readout.textContent = `${w} × ${h}  ·  ${x}, ${y}`;
    const [px, py] = this.view.toStage([box[0], box[3]]);
    const top = Math.min(py + 5, this.view.stage[1] - 20);
    this.readout.style.transform = `translate(${Math.max(px, 2)}px,${Math.max(top, 2)}px)`;
  }

  /** The middle of what is selected, or of the stage, in pixels of the stage. */
  anchor() {
    const around = union(this.editor.selected.map(bounds));
    return around ? this.view.toStage(centre(around)) : this.view.stage.map((side) => side / 2);
  }
}
