// Drawing of shapes: a box by dragging, a polygon corner by corner or freehand, and its corners afterwards.
import * as commands from "../lib/commands.mjs";
import { drawBox, height, union, width } from "../lib/geometry.mjs";
import { isEmpty, simplify } from "../lib/mask.mjs";

const SAME_CORNER = 3; // pixels: the presses of a double click set one corner

export class ShapeDrawing {
  /** Gestures of a pointer; `points` are those of the polygon that is being drawn, null without one. */
  constructor(pointer) {
    Object.assign(this, { pointer, editor: pointer.editor, points: null });
  }

  /** Dragging on free space draws a box. */
  startBox(begin) {
    const { editor, pointer } = this;
    const { canvas } = editor.layout;
    const lines = pointer.lines([]);
    const pin = (point, event) => {
      const { delta, guides } = pointer.snapped([...point, ...point], lines, event, "se");
      return { point: [0, 1].map((axis) => Math.min(Math.max(point[axis] + delta[axis], 0), 1)), guides };
    };
    let box = null;
    const step = (at, event) => {
      const from = pin(begin.at, event);
      const to = pin(at, event);
      box = drawBox(from.point, to.point, {
        ratio: event.shiftKey ? canvas.height / canvas.width : undefined,
        fromCentre: event.altKey,
      });
      editor.gestureMarks = { draft: box, guides: to.guides, readout: box };
    };
    const end = () => {
      const [w, h] = pointer.stage.view.size;
      if (!box || width(box) * w < 6 || height(box) * h < 6) return;
      editor.add(box);
      editor.say(editor.t("editor.created", { id: editor.selected[0]?.id ?? "" }));
      if (begin.event.pointerType !== "touch") editor.inline.open(editor.selected[0]);
    };
    const click = () => editor.run("clear");
    pointer.gesture = { begin, move: step, end, click };
  }

  /** A click with the polygon tool: a further corner, or the end when it meets the first one. */
  addPoint(at) {
    const point = at.map((value) => Math.min(Math.max(value, 0), 1));
    const first = this.points?.[0];
    const reach = this.pointer.stage.view.reach(9);
    if (
      first &&
      this.points.length > 2 &&
      first.every((value, axis) => Math.abs(value - point[axis]) <= reach[axis])
    )
      return this.closePolygon();
    this.points = [...(this.points ?? []), point];
    this.editor.gestureMarks = { points: this.points };
    this.startFreehand(point);
    return this.editor.invalidate();
  }

  /** Dragging with the polygon tool draws freehand. */
  startFreehand(point) {
    const before = this.points;
    const step = (at, event, all) => {
      this.points = [
        ...this.points,
        ...all.map((one) => one.map((value) => Math.min(Math.max(value, 0), 1))),
      ];
      this.editor.gestureMarks = { points: this.points };
    };
    const end = () => {
      const [dx, dy] = this.pointer.stage.view.reach(1.5);
      this.points = [
        ...before.slice(0, -1),
        ...simplify([point, ...this.points.slice(before.length)], Math.max(dx, dy)),
      ];
      const last = this.points.at(-1);
      const near = this.pointer.stage.view.reach(24);
      const closes =
        this.points.length > 3 &&
        last.every((value, axis) => Math.abs(value - this.points[0][axis]) <= near[axis]);
      if (closes) this.closePolygon();
      else this.editor.gestureMarks = { points: this.points };
    };
    const cancel = () => (this.points = before.length > 1 ? before.slice(0, -1) : null);
    const begin = { screen: this.pointer.stage.view.toStage(point), at: point };
    this.pointer.gesture = { begin, everyPoint: true, move: step, end, cancel };
  }

  closePolygon() {
    const { editor, pointer } = this;
    const points = this.corners();
    this.points = null;
    pointer.finish();
    if (points.length < 3) return editor.invalidate();
    const mask = { polygon: points };
    if (isEmpty(mask)) return editor.say(editor.t("refused.mask_empty"), true);
    const result = editor.add(union(points.map(([x, y]) => [x, y, x, y])), { mask });
    if (!result.refused) editor.inline.open(editor.selected[0]);
    return undefined;
  }

  /** The points so far, one for those that lie together at the end. */
  corners() {
    const reach = this.pointer.stage.view.reach(SAME_CORNER);
    const points = [...(this.points ?? [])];
    const isTwice = ([one, other]) =>
      one.every((value, axis) => Math.abs(value - other[axis]) <= reach[axis]);
    while (points.length > 1 && isTwice(points.slice(-2))) points.pop();
    return points;
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
    const { editor, pointer } = this;
    const [only] = editor.selected;
    const original = only.mask.polygon;
    if (begin.event.altKey && !inserted) {
      if (original.length > 3)
        editor.run("setMask", only.id, { polygon: original.filter((_, at) => at !== vertex) });
      return;
    }
    const step = (at, event) => {
      const { delta } = pointer.snapped([...at, ...at], pointer.lines([only.id]), event, "se");
      const point = [0, 1].map((axis) => Math.min(Math.max(at[axis] + delta[axis], 0), 1));
      const polygon = inserted ? original.toSpliced(vertex, 0, point) : original.with(vertex, point);
      editor.apply(commands.setMask(begin.state, only.id, { polygon }), { key: begin.key, live: true });
    };
    pointer.gesture = { begin, move: step, end: () => editor.settle(), cancel: () => pointer.revert(begin) };
  }
}

/** The vertex near a point, or the middle of an edge where one can be inserted. */
export function vertexAt(points, at, reach) {
  const near = ([x, y]) => Math.abs(x - at[0]) <= reach[0] && Math.abs(y - at[1]) <= reach[1];
  const vertex = points.findIndex(near);
  if (vertex >= 0) return { vertex, inserted: false };
  const edge = points.findIndex((point, index) => {
    const next = points[(index + 1) % points.length];
    return near([(point[0] + next[0]) / 2, (point[1] + next[1]) / 2]);
  });
  return edge >= 0 ? { vertex: edge + 1, inserted: true } : null;
}
