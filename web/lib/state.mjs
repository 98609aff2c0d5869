/**
 * The state that commands change: a layout and which of its instances are selected. Nobody changes it in place.
 *
 * @typedef {import("./document.mjs").Layout} Layout
 * @typedef {import("./document.mjs").Instance} Instance
 * @typedef {{layout: Layout, selection: string[]}} State `selection`: ids, in the order they were selected
 * @typedef {{state: State, refused: {code: string, params: object} | null}} Result the same `state` object
 *   when nothing changed
 */

import { createLayout } from "./document.mjs";

/** @param {Layout} [layout] @param {string[]} [selection] @returns {State} */
export const createState = (layout = createLayout(), selection = []) => ({ layout, selection });

/** What a command gives back. @returns {Result} */
export const result = (state, code = null, params = {}) => ({ state, refused: code && { code, params } });

/**
 * @param {State} state
 * @param {(item: Instance, index: number) => Instance} update
 * @returns {State} the same one when no instance changes
 */
export function mapInstances(state, update) {
  const instances = state.layout.instances.map(update);
  const same = instances.every((item, index) => item === state.layout.instances[index]);
  return same ? state : withInstances(state, instances);
}

/** @param {State} state @param {Instance[]} instances @param {string[]} [selection] @returns {State} */
export function withInstances(state, instances, selection = state.selection) {
  return { layout: { ...state.layout, instances }, selection };
}

function chosen(state, ids) {
  const items = state.layout.instances.filter((item) => ids.includes(item.id));
  return { free: items.filter((item) => !item.locked), locked: items.filter((item) => item.locked) };
}

/** Change the instances that are not locked, as a group; names those that are. */
export function changeFree(state, ids, change) {
  const { free, locked } = chosen(state, ids);
  if (free.length + locked.length === 0) return result(state, "refused.nothing_selected");
  const changed = free.length ? change(free) : state;
  if (locked.length === 0) return result(changed);
  return result(changed, "refused.locked", {
    count: locked.length,
    names: locked.map((item) => item.id).join(", "),
  });
}

/**
 * Instances replaced by others, each for itself: a layout from elsewhere may have an id twice.
 * @param {State} state @param {Map<Instance, Instance>} changed
 */
export const exchange = (state, changed) => mapInstances(state, (item) => changed.get(item) ?? item);
