/** Instances by what other nodes call them, as layout/choosing.py reads it: an id, else a number from 1. */

/**
 * Place of the instance that a name means; -1 for none.
 * @param {string} name
 * @param {{id: string}[]} all
 */
export function findInstance(name, all) {
  const at = all.findIndex(({ id }) => id === name);
  return at < 0 && /^\d+$/.test(name) && Number(name) <= all.length ? Number(name) - 1 : at;
}

/**
 * What to write for an instance into a list: its id, which outlives a change of order; its number where a list would
 * read the id otherwise, null where that is the id of another.
 * @param {{id: string}} instance
 * @param {{id: string}[]} all
 */
export function nameInList({ id }, all) {
  if (!/[,\p{Cc}]|^\s|\s$/u.test(id)) return id;
  const at = findInstance(id, all);
  const number = String(at + 1);
  return findInstance(number, all) === at ? number : null;
}

/**
 * The parts of a list of instances, such as "fox@3, 2", with the place of each in `all`: -1 for one that is not there.
 * @param {string} text
 * @param {{id: string}[]} all
 */
export function listed(text, all) {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map((part) => {
      const whole = findInstance(part, all);
      const name = whole < 0 ? part.replace(/\s*@[^@]*$/, "") : part;
      return { part, name, at: findInstance(name, all) };
    });
}
