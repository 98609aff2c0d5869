// A layout drawn small: its regions with their numbers, to recognise it by.
import { bounds } from "../lib/regions.mjs";
import { instanceColor, textOn } from "./colors.mjs";
import { set, svg } from "./dom.mjs";

/** A new drawing of a layout. */
export function mini(layout) {
  const element = svg("svg", { class: "ic-mini", "aria-hidden": "true" });
  drawMini(element, layout);
  return element;
}

/** Draw a layout into an element; null hides it. */
export function drawMini(element, layout) {
  element.replaceChildren();
  element.style.display = layout ? "" : "none";
  if (!layout) return;
  const { width, height } = layout.canvas;
  set(element, {
    viewBox: `0 0 ${width} ${height}`,
    style: `aspect-ratio:${width}/${height};max-height:120px`,
  });
  layout.instances.forEach((instance, index) => {
    const [x0, y0, x1, y1] = bounds(instance);
    const color = instanceColor(instance, index);
    const size = Math.min(width, height) / 9;
    element.append(
      svg("rect", {
        x: x0 * width,
        y: y0 * height,
        width: (x1 - x0) * width,
        height: (y1 - y0) * height,
        fill: color,
        "fill-opacity": 0.25,
        stroke: color,
        "stroke-width": 1.5,
        "vector-effect": "non-scaling-stroke",
      }),
      svg("rect", { x: x0 * width, y: y0 * height, width: size, height: size, fill: color }),
      svg(
        "text",
        {
          x: x0 * width + size / 2,
          y: y0 * height + size * 0.78,
          "text-anchor": "middle",
          fill: textOn(color),
          style: `font:600 ${size * 0.8}px system-ui`,
        },
        instance.id,
      ),
    );
  });
}
