// What was drawn or typed in the moment before a reload: a front end keeps a workflow only a while after each change.
import { app } from "../../../scripts/app.js";

const KEY = "InstanceComposer.unsaved";
const KEPT_WITHIN = 3000; // milliseconds in which every front end has written what was changed
const RELOADED_WITHIN = 30_000; // later a workflow of the same name is one that the person opened

const pending = read();

/** Texts by the key of their editor, left by this page before it was loaded again; each is given once. */
export function takeUnsaved(key) {
  const text = performance.now() < RELOADED_WITHIN && keepsWorkflows() ? (pending[key] ?? null) : null;
  delete pending[key];
  return text;
}

/** Keep what editors changed just now; for the same tab alone. @param {Iterable<{key, model, editor}>} mounts */
export function keepUnsaved(mounts) {
  const fresh = ({ editor }) => performance.now() - editor.writtenAt < KEPT_WITHIN;
  const texts = Object.fromEntries([...mounts].filter(fresh).map((one) => [one.key, one.model.text]));
  try {
    if (Object.keys(texts).length) sessionStorage.setItem(KEY, JSON.stringify(texts));
  } catch {
    // Forbidden or full storage: then what the front end kept has to do.
  }
}

function read() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "{}") ?? {};
    sessionStorage.removeItem(KEY);
    const [navigation] = performance.getEntriesByType("navigation");
    return navigation?.type === "reload" ? kept : {};
  } catch {
    return {};
  }
}

/** Whether the front end brings a workflow back at all. */
const keepsWorkflows = () => app.extensionManager.setting.get("Comfy.Workflow.Persist") !== false;
