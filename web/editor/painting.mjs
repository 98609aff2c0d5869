// Painting of shapes with brush and eraser: pixels of a raster, which become the mask of an instance.
import { boxPolygon, fromRaster, isEmpty, paint, raster, workingSize } from "../lib/mask.mjs";
import { instanceColor } from "./colors.mjs";

/** A press with brush or eraser: paints the selected region, or a new one. */
export function startPainting(pointer, begin) {
  const { editor, stage } = pointer;
  const erases = editor.tool === "eraser";
  const instances = editor.selected;
  if (instances.length > 1) return editor.say(editor.t("editor.paint_one"), true);
  if (erases && !instances.length) return editor.say(editor.t("editor.erase_needs_region"), true);
  const only = instances[0] ?? null;
  if (only?.locked) return editor.say(editor.t("editor.locked", { id: only.id }), true);
  const { canvas } = editor.layout;
  const size = workingSize(canvas);
  const shape = only && (only.mask ?? (erases ? boxPolygon(only.box) : null));
  const pixels = shape ? raster(shape, size.width, size.height) : new Uint8Array(size.width * size.height);
  const color = only ? instanceColor(only, editor.layout.instances.indexOf(only)) : "#6cb4ff";
  const show = paintOver(stage.paint, size, color);
  let last = begin.at;
  const draw = (points) => {
    const radius =
      editor.settings.brush *
      (begin.event.pointerType === "pen" && begin.event.pressure ? 0.4 + begin.event.pressure : 1);
    paint(pixels, size, canvas, [last, ...points], radius, erases ? 0 : 1);
    last = points.at(-1);
    show(pixels);
  };
  const step = (at, event, all) => {
    begin.event = event;
    draw(all);
    editor.gestureMarks = { brush: { at, radius: editor.settings.brush / canvas.width } };
  };
  const end = () => {
    stage.paint.hidden = true;
    const mask = fromRaster(pixels, size.width, size.height);
    if (isEmpty(mask)) return editor.say(editor.t("editor.nothing_left"), true);
    if (only) return editor.run("setMask", only.id, mask);
    return editor.add([0, 0, 1, 1], { mask });
  };
  const click = (at) => {
    draw([at]);
    end();
  };
  draw([begin.at]);
  pointer.gesture = {
    begin,
    everyPoint: true,
    move: step,
    end,
    click,
    cancel: () => (stage.paint.hidden = true),
  };
  return undefined;
}

/** Shows a raster on the canvas over the picture while it is painted. */
function paintOver(canvas, { width: w, height: h }, color) {
  canvas.hidden = false;
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d");
  const image = context.createImageData(w, h);
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const [painted] = new Uint32Array(Uint8Array.of(...parts, 150).buffer);
  const seen = new Uint32Array(image.data.buffer); // a pixel at once: this runs with every move
  return (pixels) => {
    for (let at = 0; at < pixels.length; at += 1) seen[at] = pixels[at] ? painted : 0;
    context.putImageData(image, 0, 0);
  };
}
