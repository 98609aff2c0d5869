/** Lines of composition over the stage, by name: where they cross it, as fractions of its width and height. */
export const GUIDES = {
  none: [],
  thirds: [1 / 3, 2 / 3],
  centre: [1 / 2],
  golden: [1 - (Math.sqrt(5) - 1) / 2, (Math.sqrt(5) - 1) / 2],
};

/** The lines of a name that was kept; those of a name that is not known are none. */
export const guideLines = (name) => (Object.hasOwn(GUIDES, name) ? GUIDES[name] : []);

/** The name after one, round and round. */
export function nextGuides(name) {
  const names = Object.keys(GUIDES);
  return names[(names.indexOf(name) + 1) % names.length];
}
