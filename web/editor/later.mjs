// What waits until it is asked for, as one file of the bundle: several would take apart what they share with the rest.
export { chooseLayout } from "./chooser.mjs";
export { keep, listKept, readKept, removeKept } from "./comfyui_kept.mjs";
export { renamed, strangers } from "./comfyui_naming.mjs";
export { drawAgain } from "./comfyui_repair.mjs";
export { ImportExport } from "./import_export.mjs";
export { openInstallation } from "./installation.mjs";
