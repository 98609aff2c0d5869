// What outlives an editor when the graph is rebuilt around it, by the undo of the graph or a change of tabs.
import { serialise } from "../lib/document.mjs";

const MOST_KEPT = 50;

/** Memories by key; the oldest go, since nobody tells which of them nothing comes back for. */
export class Memories extends Map {
  set(key, memory) {
    this.delete(key);
    super.set(key, memory);
    if (this.size > MOST_KEPT) this.delete(this.keys().next().value);
    return this;
  }
}

/** What the next editor of the same node goes on from. */
export const remember = ({ history, written, stage, tool, pictures }) => ({
  history,
  written,
  zoom: stage.view.zoom,
  pan: stage.view.pan,
  tool,
  opened: pictures.opened,
});

/** Go on where an editor of the same node stopped, if the document is one of its steps. */
export function recall(editor, memory) {
  Object.assign(editor.stage.view, { zoom: memory.zoom, pan: memory.pan });
  editor.tool = memory.tool;
  editor.pictures.opened = memory.opened;
  const { history } = memory;
  const steps = [...history.past, history.present, ...history.future];
  const at = editor.broken.text === null ? nearestStep(memory, steps, editor.host.text) : -1;
  if (at < 0) return editor.invalidate();
  editor.history = {
    ...history,
    past: steps.slice(0, at),
    present: steps[at],
    future: steps.slice(at + 1),
    key: null,
  };
  editor.writtenLayout = editor.layout;
  editor.hostSizeChanged();
  editor.invalidate();
}

/** Where among the steps a text is, from the present outwards: most often it is there or beside it, and texts are long. */
function nearestStep({ history, written }, steps, text) {
  const present = history.past.length;
  const textOf = (at) => (at === present && written !== null ? written : serialise(steps[at].layout));
  for (let away = 0; away < steps.length; away += 1) {
    const at = [present - away, present + away].find((place) => steps[place] && textOf(place) === text);
    if (at !== undefined) return at;
  }
  return -1;
}
