// Mouse, pen and fingers on the stage. One pointer works at a time; a second finger cancels what the first began.
import * as commands from "../lib/commands.mjs";
import { clampMove, drawBox, handleAt, height, moved, snap, snapLines, union, width } from "../lib/geometry.mjs";
import { boxPolygon, fromRaster, isEmpty, paint, raster, simplify, workingSize } from "../lib/mask.mjs";
import { bounds, hits } from "../lib/regions.mjs";
import { instanceColor } from "./colors.mjs";
import { HANDLE } from "./stage.mjs";

const STARTS_AFTER = 3; // pixels before a press becomes a drag
const SNAPS_WITHIN = 6;
const LONG_PRESS = 550;
const CURSORS = { n: "ns", s: "ns", e: "ew", w: "ew", nw: "nwse", se: "nwse", ne: "nesw", sw: "nesw" };
let drags = 0;

export class Pointer {
  constructor(editor) {
    this.editor = editor;
    this.fingers = new Map();
    this.gesture = null;
    this.points = null; // the polygon being drawn
    this.held = {}; // keys held: space
    const { element } = editor.stage;
    const listen = (name, handler) => element.addEventListener(name, handler.bind(this));
    listen("pointerdown", this.down);
    listen("pointermove", this.move);
    listen("pointerup", this.up);
    listen("pointercancel", this.cancelled);
    listen("pointerleave", this.leave);
    listen("dblclick", this.doubleClick);
    listen("contextmenu", this.menu);
    listen("wheel", this.wheel);
  }

  get stage() {
    return this.editor.stage;
  }

  at(event) {
    return this.stage.view.toCanvas(this.stage.point(event));
  }

  down(event) {
    const { editor } = this;
    if (event.target.closest("button, input, textarea, .ic-empty button, .ic-inline")) return;
    event.stopPropagation();
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    editor.menus.close();
    if (this.fingers.size > 1) return this.pinch();
    if (event.button === 1 || (event.button === 0 && this.held.space)) return this.startPan(event);
    if (event.button !== 0) return;
    editor.inline.close();
    editor.keys.focus({ preventScroll: true });
    editor.host.select();
    this.capture(event);
    this.start(event);
    this.watchLongPress(event);
  }

  capture(event) {
    try {
      this.stage.element.setPointerCapture(event.pointerId);
    } catch {
      // The pointer is already gone.
    }
  }

  start(event) {
    const { tool } = this.editor;
    const at = this.at(event);
    const begin = { at, screen: this.stage.point(event), event, state: this.editor.state, key: `drag:${++drags}` };
    if (tool === "brush" || tool === "eraser") return this.startPainting(begin);
    const grip = this.gripAt(at, event);
    if (tool === "polygon" && !grip) return this.addPoint(at);
    if (grip?.vertex !== undefined) return this.startVertex(begin, grip);
    if (grip) return this.startResize(begin, grip.handle);
    const target = event.ctrlKey || event.metaKey ? null : this.target(at, event);
    if (event.altKey && target) {
      this.editor.run("cycleAt", ...at);
      this.editor.announceSelection();
      return undefined;
    }
    if (target) return this.startMove(begin, target);
    if (tool === "select") return this.startMarquee(begin);
    return this.startDraw(begin);
  }

  /** The handle or vertex under a point. Fingers get a larger reach. */
  gripAt(at, event) {
    const { editor } = this;
    const radius = (event.pointerType === "touch" ? 16 : HANDLE * 0.9) / this.stage.handleScale;
    const reach = this.stage.view.reach(radius);
    const polygon = editor.editablePolygon;
    if (polygon) return vertexAt(polygon, at, reach);
    const box = editor.handleBox;
    const handle = box && handleAt(box, ...at, reach);
    return handle ? { handle } : null;
  }

  /** What a press on a point means: the selected region under it, else the front one that is not locked. */
  target(at) {
    const under = hits(this.editor.layout.instances, ...at).filter((instance) => !instance.locked);
    return under.find((instance) => this.editor.state.selection.includes(instance.id)) ?? under[0] ?? null;
  }

  move(event) {
    const { editor } = this;
    if (this.fingers.has(event.pointerId)) {
      const before = this.fingers.get(event.pointerId);
      this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
      if (this.pinching) return this.pinchMove(event.pointerId, before);
    }
    if (!this.gesture) return this.hover(event);
    event.stopPropagation();
    const { begin } = this.gesture;
    const [px, py] = this.stage.point(event);
    if (!this.gesture.started && Math.hypot(px - begin.screen[0], py - begin.screen[1]) < STARTS_AFTER) return undefined;
    if (!this.gesture.started) {
      this.gesture.started = true;
      clearTimeout(this.pressTimer);
      editor.dragging = true;
    }
    const events = this.gesture.everyPoint ? event.getCoalescedEvents?.() ?? [] : [];
    this.gesture.move(this.at(event), event, (events.length ? events : [event]).map((one) => this.at(one)));
    editor.invalidate();
    return undefined;
  }

  up(event) {
    this.fingers.delete(event.pointerId);
    clearTimeout(this.pressTimer);
    if (this.fingers.size === 0) this.pinching = false;
    const { gesture } = this;
    if (!gesture) return;
    event.stopPropagation();
    this.finish();
    if (gesture.started) gesture.end?.(this.at(event), event);
    else gesture.click?.(this.at(event), event);
    this.editor.invalidate();
  }

  finish() {
    this.gesture = null;
    this.editor.dragging = false;
    this.editor.gestureMarks = this.points ? { points: this.points } : {};
  }

  cancelled(event) {
    this.fingers.delete(event.pointerId);
    this.cancel();
  }

  /** Undo what the gesture did so far. Returns whether there was something to cancel. */
  cancel() {
    clearTimeout(this.pressTimer);
    const had = Boolean(this.gesture || this.points);
    const { gesture } = this;
    this.points = null;
    this.finish();
    gesture?.cancel?.();
    this.editor.invalidate();
    return had;
  }

  /** Back to the state a drag began with. */
  revert(begin) {
    const { editor } = this;
    if (editor.state !== begin.state && editor.layout !== begin.state.layout) editor.revertTo(begin.state);
  }

  leave() {
    this.setHover(null);
    if (!this.gesture && this.editor.gestureMarks.brush) {
      this.editor.gestureMarks = {};
      this.editor.invalidate();
    }
  }

  // --- Hovering ---------------------------------------------------------------------------------------------

  hover(event) {
    const { editor } = this;
    const at = this.at(event);
    if (event.pointerType === "touch") return;
    if (editor.tool === "brush" || editor.tool === "eraser") {
      editor.gestureMarks = { brush: { at, radius: editor.settings.brush / editor.layout.canvas.width } };
      this.cursor("none");
      return editor.invalidate();
    }
    if (this.points) {
      editor.gestureMarks = { points: [...this.points, at] };
      editor.invalidate();
    }
    const grip = this.gripAt(at, event);
    const target = grip ? null : this.target(at);
    this.setHover(target?.id ?? null);
    if (this.held.space) this.cursor("grab");
    else if (grip) this.cursor(grip.handle ? CURSORS[grip.handle] : "pointer");
    else if (editor.tool === "polygon") this.cursor(null);
    else this.cursor(target && !event.ctrlKey ? "move" : editor.tool === "select" ? "default" : null);
  }

  setHover(id) {
    if (this.editor.hover === id) return;
    this.editor.hover = id;
    this.editor.invalidate();
  }

  cursor(name) {
    const { dataset } = this.stage.element;
    if (name === null) delete dataset.cursor;
    else if (dataset.cursor !== name) dataset.cursor = name;
  }

  // --- Gestures ---------------------------------------------------------------------------------------------

  /** Lines to snap to: all regions but those that move. */
  lines(moving) {
    const { settings, layout } = this.editor;
    const others = layout.instances.filter((item) => !moving.includes(item.id) && item.enabled);
    return snapLines(others.map((item) => ({ id: item.id, box: bounds(item) })), { thirds: settings.thirds, regions: settings.regions });
  }

  /** A box snapped: the shift, and the guides to show. Ctrl turns snapping off for the moment. */
  snapped(box, lines, event, handle = null) {
    const { settings, layout } = this.editor;
    if (!settings.snap || event.ctrlKey || event.metaKey) return { delta: [0, 0], guides: [] };
    const { grid } = settings;
    const cell = grid ? [grid / layout.canvas.width, grid / layout.canvas.height] : null;
    return snap(box, lines, this.stage.view.reach(SNAPS_WITHIN), { handle, grid: cell });
  }

  startMove(begin, target) {
    const { editor } = this;
    const { selection } = editor.state;
    const wasSelected = selection.includes(target.id);
    if (begin.event.shiftKey) editor.run("toggle", target.id);
    else if (!wasSelected) editor.run("select", [target.id]);
    if (!wasSelected) editor.announceSelection();
    begin.state = editor.state;
    const moving = editor.selected.filter((instance) => !instance.locked);
    const around = union(moving.map(bounds));
    if (!around) return;
    const lines = this.lines(moving.map((instance) => instance.id));
    const step = (at, event) => {
      let by = [at[0] - begin.at[0], at[1] - begin.at[1]];
      if (event.shiftKey) by = Math.abs(by[0]) > Math.abs(by[1]) ? [by[0], 0] : [0, by[1]];
      const { delta, guides } = this.snapped(moved(around, ...by), lines, event);
      const [dx, dy] = clampMove(around, by[0] + delta[0], by[1] + delta[1]);
      editor.apply(commands.move(begin.state, dx, dy), { key: begin.key, live: true });
      editor.gestureMarks = { guides, readout: moved(around, dx, dy) };
    };
    const click = () => {
      if (wasSelected && !begin.event.shiftKey && selection.length > 1) editor.run("select", [target.id]);
    };
    this.gesture = { begin, move: step, end: () => editor.settle(), click, cancel: () => this.revert(begin) };
  }

  startResize(begin, handle) {
    const { editor } = this;
    const box = editor.handleBox;
    const lines = this.lines(editor.state.selection);
    const offset = [handle.includes("w") ? box[0] : box[2], handle.includes("n") ? box[1] : box[3]].map((edge, axis) => edge - begin.at[axis]);
    const { canvas } = editor.layout;
    const least = [8 / canvas.width, 8 / canvas.height];
    const step = (at, event) => {
      const to = [at[0] + offset[0], at[1] + offset[1]];
      const { delta, guides } = this.snapped([to[0], to[1], to[0], to[1]], lines, event, handle);
      const point = [to[0] + delta[0], to[1] + delta[1]];
      const options = { keepRatio: event.shiftKey, aboutCentre: event.altKey, least };
      editor.apply(commands.resize(begin.state, handle, ...point, options), { key: begin.key, live: true });
      editor.gestureMarks = { guides: event.shiftKey ? [] : guides, readout: editor.handleBox };
    };
    this.gesture = { begin, move: step, end: () => editor.settle(), cancel: () => this.revert(begin) };
    this.cursor(CURSORS[handle]);
  }

  startDraw(begin) {
    const { editor } = this;
    const { canvas } = editor.layout;
    const lines = this.lines([]);
    const pin = (point, event) => {
      const { delta, guides } = this.snapped([...point, ...point], lines, event, "se");
      return { point: [0, 1].map((axis) => Math.min(Math.max(point[axis] + delta[axis], 0), 1)), guides };
    };
    let box = null;
    const step = (at, event) => {
      const from = pin(begin.at, event);
      const to = pin(at, event);
      box = drawBox(from.point, to.point, { ratio: event.shiftKey ? canvas.height / canvas.width : undefined, fromCentre: event.altKey });
      editor.gestureMarks = { draft: box, guides: to.guides, readout: box };
    };
    const end = () => {
      const [w, h] = this.stage.view.size;
      if (!box || width(box) * w < 6 || height(box) * h < 6) return;
      editor.add(box);
      editor.say(editor.t("editor.created", { id: editor.selected[0]?.id ?? "" }));
      if (begin.event.pointerType !== "touch") editor.inline.open(editor.selected[0]);
    };
    const click = () => editor.run("clear");
    this.gesture = { begin, move: step, end, click };
  }

  startMarquee(begin) {
    const { editor } = this;
    const add = begin.event.shiftKey;
    const step = (at) => {
      const box = drawBox(begin.at, at);
      editor.gestureMarks = { marquee: box };
      editor.apply(commands.selectWithin(begin.state, box, { add }), { live: true });
    };
    const click = () => add || editor.run("clear");
    this.gesture = { begin, move: step, end: () => editor.announceSelection(), click, cancel: () => editor.apply({ state: begin.state }) };
  }

  startPan(event) {
    const { editor } = this;
    const local = editor.large || !this.stage.view.fitted;
    if (!local) {
      if (event.button === 1) this.fingers.clear();
      return editor.host.panGraph(event, () => this.fingers.clear());
    }
    event.preventDefault();
    this.capture(event);
    let last = this.stage.point(event);
    const step = (_, moving) => {
      const point = this.stage.point(moving);
      this.stage.view.panBy(point[0] - last[0], point[1] - last[1]);
      last = point;
    };
    this.cursor("grabbing");
    this.gesture = { begin: { screen: last }, started: true, move: step };
    return undefined;
  }

  // --- Polygons ---------------------------------------------------------------------------------------------

  /** A click with the polygon tool: a further corner, or the end when it meets the first one. */
  addPoint(at) {
    const point = at.map((value) => Math.min(Math.max(value, 0), 1));
    const first = this.points?.[0];
    const reach = this.stage.view.reach(9);
    if (first && this.points.length > 2 && first.every((value, axis) => Math.abs(value - point[axis]) <= reach[axis])) return this.closePolygon();
    this.points = [...(this.points ?? []), point];
    this.editor.gestureMarks = { points: this.points };
    this.startFreehand(point);
    return this.editor.invalidate();
  }

  /** Dragging with the polygon tool draws freehand. */
  startFreehand(point) {
    const before = this.points;
    const step = (at, event, all) => {
      this.points = [...this.points, ...all.map((one) => one.map((value) => Math.min(Math.max(value, 0), 1)))];
      this.editor.gestureMarks = { points: this.points };
    };
    const end = () => {
      const [dx, dy] = this.stage.view.reach(1.5);
      this.points = [...before.slice(0, -1), ...simplify([point, ...this.points.slice(before.length)], Math.max(dx, dy))];
      const last = this.points.at(-1);
      const near = this.stage.view.reach(24);
      const closes = this.points.length > 3 && last.every((value, axis) => Math.abs(value - this.points[0][axis]) <= near[axis]);
      if (closes) this.closePolygon();
      else this.editor.gestureMarks = { points: this.points };
    };
    const begin = { screen: this.stage.view.toStage(point), at: point };
    this.gesture = { begin, everyPoint: true, move: step, end };
  }

  closePolygon() {
    const { editor } = this;
    const { points } = this;
    this.points = null;
    this.finish();
    if (!points || points.length < 3) return editor.invalidate();
    const mask = { polygon: points };
    const result = editor.add(union(points.map(([x, y]) => [x, y, x, y])), { mask });
    if (!result.refused) editor.inline.open(editor.selected[0]);
    return undefined;
  }

  /** Take back the last corner. Returns whether a polygon is being drawn. */
  removePoint() {
    if (!this.points) return false;
    this.points = this.points.slice(0, -1);
    if (this.points.length === 0) this.points = null;
    this.editor.gestureMarks = this.points ? { points: this.points } : {};
    this.editor.invalidate();
    return true;
  }

  startVertex(begin, { vertex, inserted }) {
    const { editor } = this;
    const [only] = editor.selected;
    const original = only.mask.polygon;
    if (begin.event.altKey && !inserted) {
      if (original.length > 3) editor.run("setMask", only.id, { polygon: original.filter((_, at) => at !== vertex) });
      return;
    }
    const step = (at, event) => {
      const { delta } = this.snapped([...at, ...at], this.lines([only.id]), event, "se");
      const point = [0, 1].map((axis) => Math.min(Math.max(at[axis] + delta[axis], 0), 1));
      const polygon = inserted ? original.toSpliced(vertex, 0, point) : original.with(vertex, point);
      editor.apply(commands.setMask(begin.state, only.id, { polygon }), { key: begin.key, live: true });
    };
    this.gesture = { begin, move: step, end: () => editor.settle(), cancel: () => this.revert(begin) };
  }

  // --- Brush ------------------------------------------------------------------------------------------------

  startPainting(begin) {
    const { editor } = this;
    const erases = editor.tool === "eraser";
    const instances = editor.selected;
    if (instances.length > 1) return editor.say(editor.t("editor.paint_one"), true);
    if (erases && !instances.length) return editor.say(editor.t("editor.erase_needs_region"), true);
    const only = instances[0] ?? null;
    if (only?.locked) return editor.say(editor.t("editor.locked", { id: only.id }), true);
    const { canvas } = editor.layout;
    const size = workingSize(canvas);
    const shape = only && (only.mask ?? (erases ? boxPolygon(only.box) : null));
    const pixels = shape ? raster(shape, size.width, size.height) : new Uint8Array(size.width * size.height);
    const color = only ? instanceColor(only, editor.layout.instances.indexOf(only)) : "#6cb4ff";
    const show = paintOver(this.stage.paint, size, color);
    let last = begin.at;
    const draw = (points) => {
      const radius = editor.settings.brush * (begin.event.pointerType === "pen" && begin.event.pressure ? 0.4 + begin.event.pressure : 1);
      paint(pixels, size, canvas, [last, ...points], radius, erases ? 0 : 1);
      last = points.at(-1);
      show(pixels);
    };
    const step = (at, event, all) => {
      begin.event = event;
      draw(all);
      editor.gestureMarks = { brush: { at, radius: editor.settings.brush / canvas.width } };
    };
    const end = () => {
      this.stage.paint.hidden = true;
      const mask = fromRaster(pixels, size.width, size.height);
      if (isEmpty(mask)) return editor.say(editor.t("editor.nothing_left"), true);
      if (only) return editor.run("setMask", only.id, mask);
      return editor.add([0, 0, 1, 1], { mask });
    };
    const click = (at) => {
      draw([at]);
      end();
    };
    draw([begin.at]);
    this.gesture = { begin, everyPoint: true, move: step, end, click, cancel: () => (this.stage.paint.hidden = true) };
    return undefined;
  }

  // --- Other buttons, wheel, fingers --------------------------------------------------------------------------

  doubleClick(event) {
    event.stopPropagation();
    if (event.target.closest("button, input, textarea")) return;
    if (this.points) return this.closePolygon();
    const target = this.target(this.at(event));
    if (target && this.editor.tool !== "brush" && this.editor.tool !== "eraser") {
      this.editor.run("select", [target.id]);
      this.editor.inline.open(target);
    }
  }

  menu(event) {
    if (event.target.closest("input, textarea")) return;
    event.preventDefault();
    event.stopPropagation();
    if (this.points) return this.closePolygon();
    this.openMenu(event);
  }

  openMenu(event) {
    const { editor } = this;
    const target = hits(editor.layout.instances, ...this.at(event))[0];
    if (target && !editor.state.selection.includes(target.id)) editor.run("select", [target.id]);
    editor.menus.openContext(event.clientX, event.clientY);
  }

  watchLongPress(event) {
    if (event.pointerType !== "touch") return;
    clearTimeout(this.pressTimer);
    const place = { clientX: event.clientX, clientY: event.clientY };
    this.pressTimer = setTimeout(() => {
      if (this.gesture?.started) return;
      this.cancel();
      this.openMenu(place);
    }, LONG_PRESS);
  }

  wheel(event) {
    const { editor } = this;
    if (!editor.large && !event.altKey) return editor.host.wheelGraph(event);
    event.preventDefault();
    event.stopPropagation();
    if (event.shiftKey && !event.altKey) this.stage.view.panBy(-(event.deltaX || event.deltaY), 0);
    else editor.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), this.stage.point(event));
    return editor.invalidate();
  }

  /** A second finger: in the large editor it zooms and moves the canvas, in the node the graph does its own. */
  pinch() {
    this.cancel();
    this.pinching = this.editor.large;
  }

  pinchMove(pointer, before) {
    const points = [...this.fingers.values()];
    if (points.length !== 2) return;
    const other = [...this.fingers].find(([id]) => id !== pointer)[1];
    const now = this.fingers.get(pointer);
    const spread = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
    const middle = { clientX: (now[0] + other[0]) / 2, clientY: (now[1] + other[1]) / 2 };
    this.stage.view.zoomBy(spread(now) / spread(before), this.stage.point(middle));
    this.stage.view.panBy((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    this.editor.invalidate();
  }
}

/** The vertex near a point, or the middle of an edge where one can be inserted. */
function vertexAt(points, at, reach) {
  const near = ([x, y]) => Math.abs(x - at[0]) <= reach[0] && Math.abs(y - at[1]) <= reach[1];
  const vertex = points.findIndex(near);
  if (vertex >= 0) return { vertex, inserted: false };
  const edge = points.findIndex((point, index) => {
    const next = points[(index + 1) % points.length];
    return near([(point[0] + next[0]) / 2, (point[1] + next[1]) / 2]);
  });
  return edge >= 0 ? { vertex: edge + 1, inserted: true } : null;
}

/** Shows a raster on the canvas over the picture while it is painted. */
function paintOver(canvas, { width: w, height: h }, color) {
  canvas.hidden = false;
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d");
  const image = context.createImageData(w, h);
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return (pixels) => {
    for (let at = 0; at < pixels.length; at += 1) image.data.set([...parts, pixels[at] ? 150 : 0], at * 4);
    context.putImageData(image, 0, 0);
  };
}
