// Small helpers to make elements. Captions and every other foreign text go in as text nodes, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Inline style as a property: a page's security policy may forbid the attribute. */
function style(element, text) {
  element.style.cssText = text;
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2).toLowerCase(), value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden")
      element[name] = value;
    else if (name === "style") style(element, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** An HTML element; `on…` properties are listeners, children elements or text. */
export const html = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

/** An SVG element. */
export const svg = (tag, properties, ...children) =>
  fill(document.createElementNS(SVG, tag), properties, children);

/** Set attributes, touching only what differs (60 regions are set at every frame of a drag). */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) {
      if (element.hasAttribute(name)) element.removeAttribute(name);
    } else {
      const text = value === true ? "" : String(value);
      if (name === "style") style(element, text);
      else if (element.getAttribute(name) !== text) element.setAttribute(name, text);
    }
  }
  return element;
}

/** 16 × 16 line drawings. */
export const PATHS = {
  select: "M3.5 2.5l9 4-3.8 1.4L7 12z",
  box: "M2.5 4.5h11v7h-11z",
  polygon: "M8 2.5l5.5 4-2 7h-7l-2-7z",
  brush: "M13.5 2.5l-6.2 6.4M6.6 8.6c-2.4-.3-2.2 2.6-4.1 3.5 1.4 1.4 5.6 1.5 6-1.5z",
  eraser: "M6 13.5h7.5M3 9.5l6-6 4 4-6 6H5.5L3 11z",
  add: "M8 3v10M3 8h10",
  undo: "M6 3.5L2.5 7 6 10.5M3 7h6.5a3.5 3.5 0 010 7H7",
  redo: "M10 3.5L13.5 7 10 10.5M13 7H6.5a3.5 3.5 0 000 7H9",
  templates: "M2.5 3.5h4.5v9H2.5zM9 3.5h4.5v9H9z",
  magnet: "M3.5 3v5a4.5 4.5 0 009 0V3M3.5 5.5h2.5M10 5.5h2.5M6 3v5a2 2 0 004 0V3",
  picture: "M2.5 3.5h11v9h-11zM3 11l3.2-3.5 2.5 2.5 1.8-1.5L13 11M10.5 6.5h.01",
  exchange: "M4.5 2.5h5l3 3v8h-8zM9.5 2.5v3h3M6.5 8.5h4M6.5 11h4",
  expand: "M9.5 2.5h4v4M13 3L9.5 6.5M6.5 13.5h-4v-4M3 13l3.5-3.5",
  panel: "M2.5 3.5h7v9h-7zM11.5 5.5h2v8h-7v-1",
  guides: "M2.5 2.5h11v11h-11zM6.2 2.5v11M9.8 2.5v11M2.5 6.2h11M2.5 9.8h11",
  keep: "M4 2.5h8v11L8 10.5l-4 3z",
  help: "M6 6a2 2 0 114 0c0 1.5-2 1.5-2 3.3M8 12h.01M8 1.8a6.2 6.2 0 110 12.4A6.2 6.2 0 018 1.8z",
  more: "M4 8h.01M8 8h.01M12 8h.01",
  grip: "M6 4h.01M10 4h.01M6 8h.01M10 8h.01M6 12h.01M10 12h.01",
  eye: "M1.5 8C4 3.7 12 3.7 14.5 8 12 12.3 4 12.3 1.5 8zM8 6.2a1.8 1.8 0 110 3.6 1.8 1.8 0 010-3.6z",
  hidden: "M1.5 8C4 3.7 12 3.7 14.5 8 12 12.3 4 12.3 1.5 8zM3 13L13 3",
  lock: "M4 7.5h8v6H4zM5.7 7.5V5a2.3 2.3 0 014.6 0v2.5",
  unlocked: "M4 7.5h8v6H4zM5.7 7.5V5a2.3 2.3 0 014.5-.7",
  trash: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.7 9h5.6l.7-9",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  warning: "M8 2.5l6 11H2zM8 6.5v3.5M8 12h.01",
  error: "M8 1.8a6.2 6.2 0 110 12.4A6.2 6.2 0 018 1.8zM8 4.8v4M8 11h.01",
  fit: "M2.5 5.5v-3h3M10.5 2.5h3v3M13.5 10.5v3h-3M5.5 13.5h-3v-3",
  minus: "M3.5 8h9",
  close: "M4 4l8 8M12 4l-8 8",
  check: "M3 8.5l3.3 3.3L13 4.8",
  front: "M2.5 2.5h7v7h-7zM12 6.5h1.5v7h-7V12",
  back: "M6.5 6.5h7v7h-7zM4 9.5H2.5v-7h7V4",
  download: "M8 2.5v8M4.5 7.5L8 11l3.5-3.5M2.5 13.5h11",
  paste: "M5.5 3.5h-2v10h9v-10h-2M5.5 2.5h5v2.5h-5z",
};

/** A line drawing in the colour of the text around it, not read aloud. */
export const icon = (name) =>
  svg(
    "svg",
    { class: "ic-icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] }),
  );

/** A button with a drawing; its name is read aloud and shown as tooltip. */
export function iconButton(name, label, onclick, properties = {}) {
  const shown = properties.shortcut ? `${label} (${properties.shortcut})` : label;
  const { shortcut, class: more, ...rest } = properties;
  const attributes = {
    type: "button",
    class: `ic-button ${more ?? ""}`,
    "aria-label": label,
    title: shown,
    "data-drawing": name,
    ...rest,
  };
  return html("button", { ...attributes, onclick }, icon(name));
}
