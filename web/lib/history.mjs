/**
 * Undo and redo as a list of states; a drag or a burst of typing is one step.
 *
 * @template S
 * @typedef {{past: S[], present: S, future: S[], key: string | null, time: number}} History
 */

export const MOST_STEPS = 100;
/** Changes with the same key less than this many milliseconds apart are one step. */
export const BURST = 1_000;

/** @template S @param {S} present @returns {History<S>} */
export const createHistory = (present) => ({ past: [], present, future: [], key: null, time: 0 });

/**
 * A history with a new present. States with the same `key` (for example "drag:7", "caption:2") within a burst
 * replace each other; without a key each one is a step. The same state changes nothing.
 * @template S @param {History<S>} history @param {S} state @param {{key?: string | null, time?: number}}
 *   [burst]
 * @returns {History<S>}
 */
export function commit(history, state, { key = null, time = 0 } = {}) {
  if (state === history.present) return history;
  const joined = key !== null && key === history.key && time - history.time <= BURST;
  const past = joined ? history.past : [...history.past, history.present].slice(-MOST_STEPS);
  return { past, present: state, future: [], key, time };
}

/**
 * Ends a burst: what comes next is a step of its own.
 * @template S
 * @param {History<S>} history
 * @returns {History<S>}
 */
export const settle = (history) => (history.key === null ? history : { ...history, key: null });

/**
 * A present that is no step, such as another selection.
 * @template S
 * @param {History<S>} history
 * @param {S} state
 * @returns {History<S>}
 */
export const replace = (history, state) => ({ ...history, present: state });

/**
 * A history with every state changed in the same way, which is no step either.
 * @template S
 * @param {History<S>} history
 * @param {(state: S) => S} change
 * @returns {History<S>}
 */
export const changed = (history, change) => ({
  ...history,
  past: history.past.map(change),
  present: change(history.present),
  future: history.future.map(change),
});

/** @template S @param {History<S>} history @returns {History<S>} */
export function undo(history) {
  if (history.past.length === 0) return history;
  const { past, present, future } = history;
  return { past: past.slice(0, -1), present: past.at(-1), future: [present, ...future], key: null, time: 0 };
}

/** @template S @param {History<S>} history @returns {History<S>} */
export function redo(history) {
  if (history.future.length === 0) return history;
  const { past, present, future } = history;
  return { past: [...past, present], present: future[0], future: future.slice(1), key: null, time: 0 };
}

/** @param {History<any>} history */
export const canUndo = (history) => history.past.length > 0;

/** @param {History<any>} history */
export const canRedo = (history) => history.future.length > 0;
