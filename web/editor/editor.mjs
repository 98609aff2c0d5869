// The editor: holds the history of states, runs commands on it, keeps the host's text and the parts in step.
// The text of the host is the document; everything shown is derived from it.
import * as commands from "../lib/commands.mjs";
import { fix } from "../lib/fixes.mjs";
import { parse, serialise } from "../lib/document.mjs";
import { tidyBox, union } from "../lib/geometry.mjs";
import * as past from "../lib/history.mjs";
import { tError } from "../lib/i18n.mjs";
import { editorProblems } from "../lib/problems.mjs";
import { bounds } from "../lib/regions.mjs";
import { freshColor } from "./colors.mjs";
import { buildParts } from "./parts.mjs";
import { Naming } from "./naming.mjs";
import { loadSettings, saveSetting } from "./settings.mjs";
import { Tokens } from "./tokens.mjs";

const PROBLEMS_AFTER = 150;
const TYPING_ENDS_AFTER = 600;
const TO_COPY = ".ic-joined, [data-severe] .ic-status-text"; // the style sheet lets these texts be marked
let count = 0;

export class Editor {
  /** `host` is what comfyui.mjs gives: text, size, commit and so on; `t` says a message in the user's language. */
  constructor(host, t) {
    this.host = host;
    this.commands = commands;
    this.t = t;
    this.number = count++;
    this.settings = loadSettings();
    this.tool = "box";
    this.large = false;
    this.dragging = false;
    this.hover = null;
    this.gestureMarks = {};
    this.problems = [];
    this.problemIds = new Set();
    this.tokens = new Tokens(host.countTokens, () => this.destroyed || this.check());
    this.naming = new Naming(host.readPrompt, () => this.destroyed || this.check());
    this.history = past.createHistory(commands.createState(parse("")));
    this.written = null;
    this.commitTimer = null;
    buildParts(this);
    this.read(host.text);
  }

  uid(name) {
    return `ic-${name}-${this.number}`;
  }

  /** A press with the mouse gives the keys to the stage: on a button they would reach the graph's shortcuts. */
  keepKeys(event) {
    if (event.target.closest(`input, textarea, select, .ic-menu, .ic-sheet, ${TO_COPY}`)) return;
    event.preventDefault();
    this.keys.focus({ preventScroll: true });
  }

  destroy() {
    clearTimeout(this.problemTimer);
    clearTimeout(this.commitTimer);
    cancelAnimationFrame(this.frame);
    this.frame = null;
    this.destroyed = true;
    this.stage.destroy();
    this.toolbar.destroy();
    this.pictures.destroy();
    this.root.remove();
  }

  // --- State ---------------------------------------------------------------------------------------------

  get state() {
    return this.history.present;
  }

  get layout() {
    return this.state.layout;
  }

  /** The selected instances, in stacking order. */
  get selected() {
    return this.layout.instances.filter((instance) => this.state.selection.includes(instance.id));
  }

  /** The points of the one selected polygon that may be edited. */
  get editablePolygon() {
    const [only, ...others] = this.selected;
    return only && others.length === 0 && !only.locked && this.tool !== "brush" && this.tool !== "eraser"
      ? (only.mask?.polygon ?? null)
      : null;
  }

  /** The box around all that is selected and not locked. */
  get freeBox() {
    return union(this.selected.filter((instance) => !instance.locked).map(bounds));
  }

  /** The box that the handles are on. */
  get handleBox() {
    const draws = this.tool === "brush" || this.tool === "eraser" || this.tool === "polygon";
    return draws && !this.editablePolygon ? null : this.freeBox;
  }

  /** Run a command of lib/commands on the state: `run("move", dx, dy)`. */
  run(name, ...args) {
    return this.apply(commands[name](this.state, ...args));
  }

  /**
   * Take over what a command returned. `key` joins a burst (a drag, typing) into one step; `live` leaves the
   * host alone until the burst ends with `settle`, however long it pauses; `sized` gives the host the size of the
   * canvas, in the same step of the graph's undo.
   */
  apply(result, { key = null, live = false, sized = false } = {}) {
    if (result.refused && !live) this.say(this.t(result.refused.code, result.refused.params), true);
    const { state } = result;
    if (state === this.state && sized) this.linkSize();
    if (state === this.state) return result;
    const changed = state.layout !== this.layout;
    this.history = changed
      ? past.commit(this.history, state, { key, time: live ? this.history.time : performance.now() })
      : past.replace(this.history, state);
    if (sized) this.linkSize();
    if (changed && !live) this.write(key !== null);
    this.invalidate();
    return result;
  }

  /** End of a drag or of typing: the next change is a step of its own. */
  settle() {
    this.history = past.settle(this.history);
    this.write();
  }

  /** Take back a drag under way: the history is that of its beginning, with what can be redone. */
  revertTo(history) {
    this.history = past.settle(history);
    this.invalidate();
  }

  undo() {
    this.travel(past.undo, "editor.undone");
  }

  redo() {
    this.travel(past.redo, "editor.redone");
  }

  travel(step, message) {
    const before = this.layout;
    this.history = step(this.history);
    if (this.layout === before) return;
    this.say(this.t(message));
    this.linkSize();
    this.write();
    this.invalidate();
  }

  /** Hand the document to the host; while typing, the graph's undo hears of it when the typing pauses. */
  write(later = false) {
    if (this.destroyed) return; // a field that is taken off the page loses the focus
    if (this.broken.text === null && this.layout !== this.writtenLayout) this.setText();
    clearTimeout(this.commitTimer);
    this.commitTimer = null;
    if (later) this.commitTimer = setTimeout(() => this.flush(), TYPING_ENDS_AFTER);
    else this.host.commit();
  }

  setText() {
    this.writtenLayout = this.layout;
    this.written = serialise(this.layout);
    this.host.setText(this.written);
  }

  /** What was typed until now is told to the host, without waiting for a pause. */
  flush() {
    if (this.commitTimer === null) return;
    clearTimeout(this.commitTimer);
    this.commitTimer = null;
    this.host.commit();
  }

  /** Take over the host's text, as one step; text that is no document is kept and shown. */
  read(text) {
    if (text === this.written) return;
    this.written = text;
    this.pointer.drop(); // what is dragged is another layout's now
    let layout;
    try {
      layout = parse(text);
    } catch (error) {
      this.broken.show(text, error);
      return this.invalidate();
    }
    this.broken.hide();
    this.adopt(layout);
  }

  adopt(layout) {
    const { width, height } = this.hostSize(layout.canvas);
    const sized = commands.setCanvas(commands.createState(layout), width, height).state;
    const kept = this.state.selection.filter((id) =>
      sized.layout.instances.some((instance) => instance.id === id),
    );
    const state = commands.select(sized, kept).state;
    const first = this.history.past.length === 0 && this.layout.instances.length === 0;
    this.history = first ? past.createHistory(state) : past.commit(this.history, state);
    this.writtenLayout = this.layout;
    this.invalidate();
  }

  /** Regions from upstream came in with a run: one step, so that undo brings back what was there. */
  seed(text) {
    if (text === this.written || this.broken.text !== null) return;
    try {
      parse(text);
    } catch (error) {
      // More than is read: what is drawn stays.
      return this.say(this.t("editor.not_seeded", { reason: tError(this.t, error) }), true);
    }
    this.read(text);
    this.host.setText(text);
    this.host.commit();
    this.say(this.t("editor.seeded"), true);
  }

  // --- Size ----------------------------------------------------------------------------------------------

  /** The host's width and height; a side that it does not know yet is that of a canvas. */
  hostSize(canvas) {
    const { width, height } = this.host.size;
    return { width: width ?? canvas.width, height: height ?? canvas.height };
  }

  /** The host's width or height changed: the canvas follows, in all steps that had its size, for it is none of them. */
  hostSizeChanged() {
    const { canvas } = this.layout;
    const { width, height } = this.hostSize(canvas);
    if (canvas.width === width && canvas.height === height) return this.invalidate();
    this.pointer.drop(); // a drag goes on from the size it began with
    const isWritten = this.layout === this.writtenLayout;
    const had = ({ layout }) =>
      layout.canvas.width === canvas.width && layout.canvas.height === canvas.height;
    this.history = past.changed(this.history, (state) =>
      had(state) ? commands.setCanvas(state, width, height).state : state,
    );
    if (this.layout.instances.length && this.broken.text === null) this.setText();
    else if (isWritten) this.writtenLayout = this.layout;
    this.stage.refresh();
  }

  /** Set the size of the picture; `keepPixels` leaves the regions where they are in pixels. */
  setSize(width, height, keepPixels = false) {
    this.apply(commands.setCanvas(this.state, width, height, { keepPixels }), { sized: true });
  }

  /** The host's width and height follow the canvas; where links give them, it follows those. */
  linkSize() {
    const { width, height } = this.layout.canvas;
    if (this.host.size.driven) this.hostSizeChanged();
    else if (this.host.size.width !== width || this.host.size.height !== height)
      this.host.setSize(width, height);
  }

  /** Take over a whole layout with its size, unless a link gives the size. */
  replace(layout) {
    const size = this.host.size.driven ? this.hostSize(this.layout.canvas) : {};
    const canvas = { ...layout.canvas, ...size };
    this.apply({ state: commands.createState({ ...layout, canvas }) }, { sized: true });
    this.fit();
    this.say(this.t("editor.replaced", { count: layout.instances.length }));
  }

  // --- Actions shared by buttons, menus and keys ----------------------------------------------------------

  setTool(tool) {
    this.tool = tool;
    this.gestureMarks = {};
    this.pointer.cancel();
    this.invalidate();
  }

  /** A new instance, selected. */
  add(box, fields = {}) {
    return this.apply(
      commands.add(this.state, tidyBox(box), { color: freshColor(this.layout.instances), ...fields }),
    );
  }

  /** A new instance in the middle, for those without a pointer. */
  addInMiddle() {
    const shift = (this.layout.instances.length % 6) * 0.03;
    this.add([0.3 + shift, 0.3 + shift, 0.6 + shift, 0.6 + shift]);
    const [only] = this.selected;
    this.say(this.t("editor.created", { id: only.id }));
    this.focusCaption();
  }

  /** The caption of the first selected instance, ready to type, where it can be seen. */
  focusCaption() {
    const [only] = this.selected;
    if (!only) return;
    this.renderNow();
    this.list.focusCaption(only.id);
  }

  duplicate() {
    if (!this.run("duplicate").refused) this.announceSelection("editor.duplicated");
  }

  remove() {
    const before = this.layout.instances.length;
    const { refused } = this.run("remove");
    if (!refused) this.say(this.t("editor.removed", { count: before - this.layout.instances.length }));
  }

  setSetting(name, value) {
    this.settings = { ...this.settings, [name]: value };
    saveSetting(name, value);
    this.stage.refresh();
  }

  zoom(factor, at) {
    this.stage.view.zoomBy(factor, at);
    this.invalidate();
  }

  fit() {
    this.stage.view.reset();
    this.invalidate();
  }

  fix(problem) {
    const result = this.apply(fix(this.state, problem));
    if (result.focus?.id === null) this.list.whole.prompt.focus();
    else if (result.focus) {
      this.apply(commands.select(this.state, [result.focus.id]));
      this.renderNow();
      this.list.focusField(result.focus.id, result.focus.field);
    }
  }

  /** Said aloud by screen readers; `shown` ones appear on the stage for a moment too. */
  say(text, shown = false) {
    this.live.textContent = text;
    if (shown) this.menus.toast(text);
  }

  sayError(error) {
    this.say(tError(this.t, error), true);
  }

  announceSelection(code = "editor.selected") {
    const { length: count, 0: first } = this.selected;
    const [left, top, right, bottom] = first ? bounds(first).map((side) => Math.round(side * 100)) : [];
    const caption = first?.caption || this.t("editor.no_caption");
    this.say(this.t(code, { count, id: first?.id, caption, left, top, right, bottom }));
  }

  // --- Showing --------------------------------------------------------------------------------------------

  invalidate() {
    if (!this.frame && !this.destroyed) this.frame = requestAnimationFrame(() => this.renderNow());
  }

  renderNow() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    this.stage.render();
    this.list.hold(this.dragging);
    if (this.dragging) return;
    if (this.layout !== this.checkedLayout) this.checkSoon();
    this.root.toggleAttribute("data-empty", this.layout.instances.length === 0);
    this.pictures.renderHeat();
    this.toolbar.render();
    this.list.render();
    this.status.render();
    this.empty.render();
  }

  checkSoon() {
    this.checkedLayout = this.layout;
    clearTimeout(this.problemTimer);
    this.problemTimer = setTimeout(() => this.check(), PROBLEMS_AFTER);
  }

  check() {
    // An empty stage says itself what to do.
    const { instances } = this.layout;
    this.tokens.look(instances.map((instance) => instance.caption));
    if (instances.length) this.naming.look(this.layout);
    const joined = this.host.joins === false ? this.naming.of(this.layout) : null;
    const told = { tokens: this.tokens.known, joined, regionsAlone: this.host.regionsAlone };
    const problems = instances.length ? editorProblems(this.layout, told) : [];
    this.problems = [...this.host.notes(instances), ...problems];
    this.problemIds = new Set(
      this.problems.filter((problem) => problem.severity !== "info").map((problem) => problem.instance),
    );
    this.invalidate();
  }
}
