// Colours of instances: the same automatic ones as the pictures drawn in Python.
import { COLOR } from "../lib/document.mjs";

// Distinct for the common colour blindnesses: Okabe and Ito (2008) without black, then three of Tol's "muted".
export const PALETTE = [
  "#e69f00",
  "#56b4e9",
  "#009e73",
  "#f0e442",
  "#0072b2",
  "#d55e00",
  "#cc79a7",
  "#882255",
  "#44aa99",
  "#999933",
];

/**
 * The colour of an instance: its own, or the one of its place in the stack. A text that is no colour would be taken for
 * whatever else a style sheet may hold, addresses of other servers included.
 */
export const instanceColor = ({ color }, index) =>
  COLOR.test(color ?? "") ? color : PALETTE[index % PALETTE.length];

/** The automatic colour used least so far. */
export function freshColor(instances) {
  const used = instances.map(instanceColor);
  const counts = PALETTE.map((color) => used.filter((other) => other === color).length);
  return PALETTE[counts.indexOf(Math.min(...counts))];
}

/** Relative luminance of "#rrggbb" (WCAG 2). */
export function luminance(color) {
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255);
  const linear = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

/** Black or white, whichever reads better on a colour. */
export const textOn = (color) => (luminance(color) > 0.179 ? "#000" : "#fff");
