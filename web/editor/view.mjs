// The canvas's place on the stage: fractions of the canvas <-> pixels of the stage.

const MARGIN = 14;
const MOST_ZOOM = 16;

export class View {
  constructor() {
    this.stage = [1, 1];
    this.canvas = { width: 1024, height: 1024 };
    this.reset();
  }

  /** Fit the canvas into the stage. */
  reset() {
    this.zoom = 1;
    this.pan = [0, 0];
  }

  get fitted() {
    return this.zoom === 1 && this.pan[0] === 0 && this.pan[1] === 0;
  }

  /** Pixels of the stage per pixel of the canvas. */
  get scale() {
    const room = this.stage.map((side) => Math.max(side - 2 * MARGIN, 16));
    return Math.min(room[0] / this.canvas.width, room[1] / this.canvas.height) * this.zoom;
  }

  /** Width and height of the canvas on the stage. */
  get size() {
    return [this.canvas.width * this.scale, this.canvas.height * this.scale];
  }

  /** The canvas's left top corner on the stage. */
  get origin() {
    return this.size.map((side, axis) => (this.stage[axis] - side) / 2 + this.pan[axis]);
  }

  toStage([x, y]) {
    const [{ 0: w, 1: h }, [left, top]] = [this.size, this.origin];
    return [left + x * w, top + y * h];
  }

  toCanvas([px, py]) {
    const [[w, h], [left, top]] = [this.size, this.origin];
    return [(px - left) / w, (py - top) / h];
  }

  /** A distance in pixels of the stage as fractions of the canvas. */
  reach(pixels) {
    return this.size.map((side) => pixels / side);
  }

  /** Zoom by a factor; the point of the canvas under `at` (pixels of the stage) stays there. */
  zoomBy(factor, at = this.stage.map((side) => side / 2)) {
    const before = this.toCanvas(at);
    const zoom = Math.min(Math.max(this.zoom * factor, 0.5), MOST_ZOOM);
    // On its way to 1 it stops there; on its way from there the steps of a slow pinch count.
    const off = Math.abs(zoom - 1);
    this.zoom = off < 0.02 && off < Math.abs(this.zoom - 1) ? 1 : zoom;
    const after = this.toStage(before);
    this.panBy(at[0] - after[0], at[1] - after[1]);
  }

  /** A finger moves from one point of the stage to another while a second one rests. */
  pinch(before, now, rest) {
    const spread = (point) => Math.hypot(point[0] - rest[0], point[1] - rest[1]) || 1;
    this.zoomBy(
      spread(now) / spread(before),
      before.map((side, axis) => (side + rest[axis]) / 2),
    );
    this.panBy(...now.map((side, axis) => (side - before[axis]) / 2));
  }

  /** Move the canvas; a part of it always stays on the stage. */
  panBy(dx, dy) {
    const limits = this.size.map((side, axis) => Math.max((side + this.stage[axis]) / 2 - 40, 0));
    this.pan = [dx, dy].map((by, axis) =>
      Math.min(Math.max(this.pan[axis] + by, -limits[axis]), limits[axis]),
    );
  }
}
