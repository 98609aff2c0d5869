"""Draws the thumbnails of the templates that the demo model can draw: a run of each template's own graph.

`python scripts/thumbnails.py` starts ComfyUI (COMFYUI_PATH or ~/comfy/ComfyUI), runs each template as it is
saved and writes `example_workflows/NAME.jpg`: the picture with its regions over it. Some that are for SDXL
run with the demo model and what it knows, and the thumbnail says so; the others show their layout. What is
outlined by large models in its template is outlined by the judge of Shapes World here, which is said too.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support" / "host"))

from comfyui_location import HOW_TO_GET_COMFYUI, REPOSITORY, find_comfyui
from comfyui_server import Server, api_prompt, running_server
from tiny_captioners import write_tiny_qwen

from instance_composer.layout import Canvas, Instance, Layout, RunLength
from instance_composer.pictures import draw_layout
from instance_composer.shapes_world.judge import read_things

TEMPLATES = REPOSITORY / "example_workflows"
DEMO_LAYOUTS = REPOSITORY / "demo" / "layouts"
NAMES = (
    "Try it",
    "With and without",
    "Draw regions",
    "Draw regions on a transformer",
    "Judge by a checklist",
    "Try everything",
    "A LoRA for each",
)
# For SDXL, with what they draw here: a layout of the demo's gallery, or a prompt.
ON_DEMO = {
    "Regions and attributes": "2-the-same-words-swapped.json",
    "Bind attributes": "a red circle and a blue square on grey",
    "See where words look": "a green triangle and an orange cross on grey",
}
# A first picture, what is found in it, and a second pass that keeps words on what was found.
REFINED = {"Refine a picture": "a pink checked diamond, a red triangle and a yellow striped cross on mint"}
SAID = "drawn by the demo model, not by SDXL"
SAID_REFINED = f"{SAID}; outlined by its own judge"
# The judge that a template names, of which a tiny one of random weights takes the place.
JUDGE = Path("models") / "vision_language_models" / "Qwen2-VL-2B-Instruct"
LONGEST = 480  # pixels: the gallery shows cards of about 300
LINE = 28  # pixels of the line below
GROUND = (38, 40, 44)
OPACITY = 0.08  # of the regions, so that the picture is seen through them
QUALITY = 82


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="templates to draw (all that the demo model can)")
    names = parser.parse_args().names or (*NAMES, *ON_DEMO, *REFINED)
    comfyui = find_comfyui()
    if comfyui is None:
        parser.error(HOW_TO_GET_COMFYUI)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_tiny_qwen(base / JUDGE)
        with running_server(comfyui, base, {"ComfyUI-Instance-Composer": REPOSITORY}) as server:
            info = server.get("/object_info")
            for name in names:
                workflow = json.loads((TEMPLATES / f"{name}.json").read_text(encoding="utf-8"))
                prompt = api_prompt(workflow, info)
                target = TEMPLATES / f"{name}.jpg"
                if name in ON_DEMO:
                    drawn = said(thumbnail_on_demo(server, prompt, ON_DEMO[name]))
                elif name in REFINED:
                    drawn = said(refined(server, prompt, REFINED[name]), SAID_REFINED)
                else:
                    drawn = thumbnail(server, prompt)
                drawn.save(target, quality=QUALITY, optimize=True)
                print(f"{target.name}: {target.stat().st_size} bytes", flush=True)
    return 0


def thumbnail(server: Server, prompt: dict[str, Any]) -> Image.Image:
    """The picture of a run with its regions; beside the one that the graph draws without them, if it does."""
    entry = run(server, prompt)
    document = prompt[only(prompt, "IC_InstanceLayout")]["inputs"]["document"]
    layout = Layout.from_json(document)
    shown = [draw_layout(layout, background=picture(server, prompt, entry, "SaveImage"), opacity=OPACITY)]
    if any(one["class_type"] == "PreviewImage" for one in prompt.values()):
        shown.insert(0, picture(server, prompt, entry, "PreviewImage"))
    return beside(shown)


def run(server: Server, prompt: dict[str, Any]) -> dict[str, Any]:
    entry = server.run(prompt, seconds=1800)
    if entry["status"]["status_str"] != "success":
        raise RuntimeError(f"the run failed: {entry['status']}")
    return entry


def thumbnail_on_demo(server: Server, prompt: dict[str, Any], wanted: str) -> Image.Image:
    """The picture with its regions, or beside its attention maps."""
    if wanted.endswith(".json"):
        layout = Layout.from_json((DEMO_LAYOUTS / wanted).read_text(encoding="utf-8"))
    else:
        layout = Layout(canvas=Canvas(128, 128), prompt=wanted)
    put_on_demo(prompt, layout)
    entry = run(server, prompt)
    drawn = picture(server, prompt, entry, "SaveImage")
    classes = {one["class_type"] for one in prompt.values()}
    if "IC_InstanceLayout" in classes:
        return beside([draw_layout(layout, background=drawn, opacity=OPACITY)])
    if "IC_ShowAttentionMaps" in classes:
        return beside([drawn, *pictures(server, prompt, entry, "IC_ShowAttentionMaps")])
    return beside([drawn])


def refined(server: Server, prompt: dict[str, Any], wanted: str) -> Image.Image:
    """The first picture with what the judge finds in it, beside the second pass over it."""
    put_on_demo(prompt, Layout(canvas=Canvas(128, 128), prompt=wanted))
    finder = only(prompt, "IC_SegmentEntities")
    source = prompt[finder]["inputs"]["image"]
    del prompt[finder]
    saving = only(prompt, "SaveImage")
    first = with_origins(prompt, saving, source)
    drawn = picture(server, first, run(server, first), "SaveImage")
    found = judged(drawn.resize((128, 128), Image.Resampling.LANCZOS), wanted)
    size = {"width": 128, "height": 128}
    prompt[finder] = {"class_type": "IC_InstanceLayout", "inputs": {**size, "document": found.to_json()}}
    again = picture(server, prompt, run(server, prompt), "SaveImage")
    return beside([draw_layout(found, background=drawn, opacity=OPACITY), again])


def with_origins(prompt: dict[str, Any], node: str, image: list[Any]) -> dict[str, Any]:
    """The part of a prompt that leads to a node, which takes its image from elsewhere."""
    kept = {node: {**prompt[node], "inputs": {**prompt[node]["inputs"], "images": image}}}
    waiting = [node]
    while waiting:
        for value in kept[waiting.pop()]["inputs"].values():
            if isinstance(value, list) and value[0] not in kept:
                kept[value[0]] = prompt[value[0]]
                waiting.append(value[0])
    return kept


def judged(image: Image.Image, prompt: str) -> Layout:
    """What the judge of Shapes World finds in a picture, outlined and named as it reads it."""
    instances = []
    for number, one in enumerate(read_things(np.asarray(image)), start=1):
        shape = RunLength.from_raster(one.mask.astype(np.uint8).tobytes(), *image.size)
        instances.append(Instance(str(number), shape.bounds, f"{one.color} {one.shape}", mask=shape))
    return Layout(canvas=Canvas(*image.size), prompt=prompt, instances=tuple(instances))


def put_on_demo(prompt: dict[str, Any], layout: Layout) -> None:
    """The demo model, a layout and its prompt in the place of a template's own; nodes and links stay."""
    checkpoint = only(prompt, "CheckpointLoaderSimple")  # model, clip, vae come first there as well
    adapters = [key for key, one in prompt.items() if one["class_type"] == "IC_LoadIFAdapter"]
    for adapter in adapters:
        del prompt[adapter]
    prompt[checkpoint] = {"class_type": "IC_LoadDemoCheckpoint", "inputs": {}}
    size = {"width": layout.canvas.width, "height": layout.canvas.height}
    values = {
        "PrimitiveStringMultiline": {"value": layout.prompt},
        "EmptyLatentImage": size,
        "IC_InstanceLayout": {**size, "document": layout.to_json()},
        "KSampler": {"steps": 20, "cfg": 3.0},
    }
    for one in prompt.values():
        inputs = one["inputs"]
        given = values.get(one["class_type"], {})
        inputs |= {name: value for name, value in given.items() if not isinstance(inputs[name], list)}
        inputs |= {
            name: [checkpoint, 3]
            for name, value in inputs.items()
            if isinstance(value, list) and value[0] in adapters
        }
        if one["class_type"] == "CLIPTextEncode" and isinstance(inputs["text"], str):
            inputs["text"] = ""  # what SDXL is told to avoid


def said(image: Image.Image, words: str = SAID) -> Image.Image:
    """The same above a line that says whose picture it is."""
    whole = Image.new("RGB", (image.width, image.height + LINE), GROUND)
    whole.paste(image)
    draw = ImageDraw.Draw(whole)
    font = ImageFont.load_default(size=14)
    draw.text((LONGEST / 2, image.height + LINE / 2), words, font=font, fill="white", anchor="mm")
    return whole


def beside(shown: list[Image.Image]) -> Image.Image:
    """Up to three in a row, four in two."""
    columns = 2 if len(shown) == 4 else len(shown)
    side = LONGEST // columns
    parts = [
        one.resize((side, round(one.height * side / one.width)), Image.Resampling.LANCZOS) for one in shown
    ]
    height = max(part.height for part in parts)
    whole = Image.new("RGB", (LONGEST, height * -(-len(parts) // columns)), GROUND)
    for place, part in enumerate(parts):
        whole.paste(part, (place % columns * side, place // columns * height))
    return whole


def picture(server: Server, prompt: dict[str, Any], entry: dict[str, Any], node: str) -> Image.Image:
    (found,) = pictures(server, prompt, entry, node)
    return found


def pictures(server: Server, prompt: dict[str, Any], entry: dict[str, Any], node: str) -> list[Image.Image]:
    """What the only node of a class shows, enlarged."""
    return [enlarged(server, image) for image in entry["outputs"][only(prompt, node)]["images"]]


def enlarged(server: Server, image: dict[str, str]) -> Image.Image:
    file = server.base / image["type"] / image["subfolder"] / image["filename"]
    found = Image.open(io.BytesIO(file.read_bytes())).convert("RGB")
    # Captions are drawn in pixels of the picture; on 128 of them they would have no room.
    factor = 2 * LONGEST / max(found.size)
    return found.resize((round(found.width * factor), round(found.height * factor)), Image.Resampling.LANCZOS)


def only(prompt: dict[str, Any], node: str) -> str:
    (found,) = (key for key, one in prompt.items() if one["class_type"] == node)
    return found


if __name__ == "__main__":
    sys.exit(main())
