/**
 * Starting points: arrangements of boxes, an example, and the sizes SDXL was trained on.
 * @typedef {import("./document.mjs").Box} Box
 */

/** Names for `templateBoxes` with the keys of their titles. */
export const TEMPLATES = Object.freeze([
  { name: "side_by_side", key: "template.side_by_side" },
  { name: "row", key: "template.row" },
  { name: "foreground_background", key: "template.foreground_background" },
  { name: "centre", key: "template.centre" },
  { name: "corners", key: "template.corners" },
  { name: "grid", key: "template.grid" },
]);

const FIXED = {
  side_by_side: [
    [0.05, 0.2, 0.475, 0.9],
    [0.525, 0.2, 0.95, 0.9],
  ],
  row: [
    [0.03, 0.25, 0.33, 0.85],
    [0.35, 0.25, 0.65, 0.85],
    [0.67, 0.25, 0.97, 0.85],
  ],
  foreground_background: [
    [0.1, 0.1, 0.9, 0.6],
    [0.3, 0.4, 0.7, 0.95],
  ],
  centre: [[0.25, 0.2, 0.75, 0.9]],
  corners: [
    [0.05, 0.05, 0.45, 0.45],
    [0.55, 0.05, 0.95, 0.45],
    [0.05, 0.55, 0.45, 0.95],
    [0.55, 0.55, 0.95, 0.95],
  ],
};

/**
 * The boxes of a template, the back one first; rows and columns (1 to 10) are for "grid".
 * @param {string} name
 * @returns {Box[]}
 */
export function templateBoxes(name, { rows = 2, columns = 2 } = {}) {
  if (name !== "grid") return FIXED[name];
  const gap = 0.02;
  const edges = (count, index) => [(index + gap * 2) / count, (index + 1 - gap * 2) / count];
  const [down, across] = [rows, columns].map((count) => Math.min(10, Math.max(1, Math.round(count))));
  return Array.from({ length: down * across }, (_, index) => {
    const [x0, x1] = edges(across, index % across);
    const [y0, y1] = edges(down, Math.floor(index / across));
    return [x0, y0, x1, y1];
  });
}

/** A layout to try, as text: models read English best, so it is not translated. */
export const EXAMPLE = `{"version": 1, "canvas": {"width": 1024, "height": 1024}, "prompt": "a red fox and a white owl in a snowy forest, golden hour", "instances": [
  {"id": "1", "box": [0.06, 0.42, 0.5, 0.95], "caption": "a red fox sitting in the snow, fluffy tail"},
  {"id": "2", "box": [0.55, 0.12, 0.92, 0.62], "caption": "a white owl on a branch, yellow eyes"}
]}
`;

/** Sizes of SDXL's training buckets that artists use (Podell et al. 2023, appendix I), from wide to tall. */
export const ASPECTS = Object.freeze(
  [
    [1536, 640, "21:9"],
    [1344, 768, "16:9"],
    [1216, 832, "3:2"],
    [1152, 896, "4:3"],
    [1024, 1024, "1:1"],
    [896, 1152, "3:4"],
    [832, 1216, "2:3"],
    [768, 1344, "9:16"],
    [640, 1536, "9:21"],
  ].map(([width, height, ratio]) => Object.freeze({ width, height, ratio })),
);

/** The preset nearest in shape to a canvas. @returns {{width: number, height: number, ratio: string}} */
export function nearestAspect(width, height) {
  const off = (preset) => Math.abs(Math.log((preset.width * height) / (preset.height * width)));
  return ASPECTS.reduce((best, preset) => (off(preset) < off(best) ? preset : best));
}
