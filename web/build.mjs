/**
 * Bundles the editor into web/bundle, which is what the page loads: a few requests and half the bytes of the
 * sources. `npm run build` writes it; a test holds what is committed against the sources.
 */

import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const MADE_OF = "Made from web/editor and web/lib, which stand beside this folder, by web/build.mjs.";

/** The files of the bundle, written to web/bundle when `write` is set. */
export const bundle = ({ write }) =>
  build({
    entryPoints: [here("editor/comfyui.mjs"), here("editor/editor.css")],
    outdir: here("bundle"),
    outExtension: { ".js": ".mjs" },
    chunkNames: "[name]",
    external: ["../../../scripts/*"], // ComfyUI's own, by the same path from there
    format: "esm",
    target: "es2023",
    bundle: true,
    splitting: true,
    minify: true,
    banner: { js: `// ${MADE_OF}`, css: `/* ${MADE_OF} */` },
    write,
  });

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle({ write: true });
