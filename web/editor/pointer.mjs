// Mouse, pen and fingers on the stage. One pointer works at a time; a second finger cancels what the first began.
import { guideLines } from "../lib/guides.mjs";
import * as commands from "../lib/commands.mjs";
import { clampMove, drawBox, handleAt, moved, snap, snapLines, union } from "../lib/geometry.mjs";
import { bounds, hits } from "../lib/regions.mjs";
import { LongPress } from "./long_press.mjs";
import { startPainting } from "./painting.mjs";
import { ShapeDrawing, vertexAt } from "./shape_drawing.mjs";
import { HANDLE } from "./stage.mjs";

const STARTS_AFTER = 3; // pixels before a press becomes a drag
const SNAPS_WITHIN = 6;
const CURSORS = { n: "ns", s: "ns", e: "ew", w: "ew", nw: "nwse", se: "nwse", ne: "nesw", sw: "nesw" };
let drags = 0;

export class Pointer {
  constructor(editor) {
    this.editor = editor;
    this.fingers = new Map();
    this.gesture = null;
    this.drawing = new ShapeDrawing(this);
    this.longPress = new LongPress((place) => this.rested(place));
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
    editor.menus.close();
    // Of the other buttons the menu may take the release, and a pointer that never leaves would be a second finger.
    if (event.button !== 0 && event.button !== 1) return;
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.fingers.size > 1) return this.pinch();
    if (event.button === 1 || this.held.space) return this.startPan(event);
    editor.inline.close();
    editor.keys.focus({ preventScroll: true });
    editor.host.select();
    this.capture(event);
    this.start(event);
    this.longPress.begin(event);
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
    const begin = {
      at,
      screen: this.stage.point(event),
      event,
      history: this.editor.history,
      get state() {
        return this.history.present;
      },
      key: `drag:${++drags}`,
    };
    if (tool === "brush" || tool === "eraser") return startPainting(this, begin);
    const grip = this.gripAt(at, event);
    if (tool === "polygon" && !grip) return this.drawing.addPoint(at);
    if (grip?.vertex !== undefined) return this.drawing.startVertex(begin, grip);
    if (grip) return this.startResize(begin, grip.handle);
    const target = event.ctrlKey || event.metaKey ? null : this.target(at, event);
    if (event.altKey && target) {
      this.editor.run("cycleAt", ...at);
      return this.editor.announceSelection();
    }
    if (target) return this.startMove(begin, target);
    if (tool === "select") return this.startMarquee(begin);
    return this.drawing.startBox(begin);
  }

  /** The handle or vertex under a point, none while a polygon gets its corners. Fingers get a larger reach. */
  gripAt(at, event) {
    const { editor } = this;
    if (this.drawing.points) return null;
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
    if (!this.gesture.started && Math.hypot(px - begin.screen[0], py - begin.screen[1]) < STARTS_AFTER)
      return undefined;
    if (!this.gesture.started) {
      this.gesture.started = true;
      this.longPress.cancel();
      editor.dragging = true;
    }
    const events = this.gesture.everyPoint ? (event.getCoalescedEvents?.() ?? []) : [];
    this.gesture.move(
      this.at(event),
      event,
      (events.length ? events : [event]).map((one) => this.at(one)),
    );
    editor.invalidate();
    return undefined;
  }

  up(event) {
    this.fingers.delete(event.pointerId);
    this.longPress.cancel();
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
    this.editor.gestureMarks = this.drawing.points ? { points: this.drawing.points } : {};
  }

  cancelled(event) {
    this.fingers.delete(event.pointerId);
    this.drop();
  }

  /** Undo what the gesture did so far; corners of a polygon that were set before it stay. */
  drop() {
    this.longPress.cancel();
    this.gesture?.cancel?.();
    this.finish();
    this.editor.invalidate();
  }

  /** Undo what the gesture did so far, and the polygon. Returns whether there was something to cancel. */
  cancel() {
    const had = Boolean(this.gesture || this.drawing.points);
    this.drop();
    this.drawing.points = null;
    this.finish();
    return had;
  }

  /** Back to the state a drag began with. */
  revert(begin) {
    const { editor } = this;
    if (editor.layout !== begin.state.layout) editor.revertTo(begin.history);
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
    if (this.drawing.points) {
      editor.gestureMarks = { points: [...this.drawing.points, at] };
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
    return snapLines(
      others.map((item) => ({ id: item.id, box: bounds(item) })),
      { guides: settings.thirds ? guideLines(settings.guides) : [], regions: settings.regions },
    );
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
    begin.history = editor.history;
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
    const offset = [handle.includes("w") ? box[0] : box[2], handle.includes("n") ? box[1] : box[3]].map(
      (edge, axis) => edge - begin.at[axis],
    );
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

  startMarquee(begin) {
    const { editor } = this;
    const add = begin.event.shiftKey;
    const step = (at) => {
      const box = drawBox(begin.at, at);
      editor.gestureMarks = { marquee: box };
      editor.apply(commands.selectWithin(begin.state, box, { add }), { live: true });
    };
    const click = () => add || editor.run("clear");
    this.gesture = {
      begin,
      move: step,
      end: () => editor.announceSelection(),
      click,
      cancel: () => editor.apply({ state: begin.state }),
    };
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

  // --- Other buttons, wheel, fingers --------------------------------------------------------------------------

  doubleClick(event) {
    event.stopPropagation();
    if (event.target.closest("button, input, textarea")) return;
    if (this.drawing.points) return this.drawing.closePolygon();
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
    if (this.drawing.points) return this.drawing.closePolygon();
    this.openMenu(event);
  }

  openMenu(event) {
    const { editor } = this;
    const target = hits(editor.layout.instances, ...this.at(event))[0];
    if (target && !editor.state.selection.includes(target.id)) editor.run("select", [target.id]);
    editor.menus.openContext(event.clientX, event.clientY);
  }

  rested(place) {
    if (this.gesture?.started) return;
    this.drop();
    if (this.drawing.points) this.drawing.closePolygon();
    else this.openMenu(place);
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
    this.drop();
    this.pinching = this.editor.large;
  }

  pinchMove(pointer, before) {
    if (this.fingers.size !== 2) return;
    const [other] = [...this.fingers].find(([id]) => id !== pointer).slice(1);
    const places = [before, this.fingers.get(pointer), other];
    this.stage.view.pinch(...places.map(([clientX, clientY]) => this.stage.point({ clientX, clientY })));
    this.editor.invalidate();
  }
}
