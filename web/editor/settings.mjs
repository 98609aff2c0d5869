// A person's settings of the editor: kept in the browser, not in the workflow.

const KEY = "InstanceComposer.editor";
const DEFAULTS = {
  snap: true,
  grid: 16,
  guides: "thirds",
  thirds: true, // snap to the guides, whichever they are
  regions: true,
  brush: 48,
  opacity: 0.7,
  picture: "auto",
  heat: 0.6,
  keepPixels: false,
  problemsOpen: false,
  labels: "captions",
  labelSize: 11,
};

/** The settings, each one at its default unless something of the same type was kept. */
export function loadSettings() {
  const kept = keptSettings();
  const usable = ([name, value]) => [name, typeof kept[name] === typeof value ? kept[name] : value];
  return Object.fromEntries(Object.entries(DEFAULTS).map(usable));
}

function keptSettings() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
  } catch {
    return {}; // damaged or forbidden storage: the defaults do
  }
}

/** Keep one setting; the others stay as another editor may have set them meanwhile. */
export function saveSetting(name, value) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...keptSettings(), [name]: value }));
  } catch {
    // Forbidden or full storage: it lasts until the page is closed.
  }
}

const PANEL = "InstanceComposer.panel";

/** Where the panel was when it was last closed: {left, top, width, height} in pixels, or nothing. */
export function loadPanelPlace() {
  try {
    const kept = JSON.parse(localStorage.getItem(PANEL) ?? "{}") ?? {};
    return Object.fromEntries(Object.entries(kept).filter(([, value]) => Number.isFinite(value)));
  } catch {
    return {};
  }
}

export function savePanelPlace(place) {
  try {
    localStorage.setItem(PANEL, JSON.stringify(place));
  } catch {
    // As for the settings.
  }
}
