"""Draws the thumbnails of the templates that the demo model can draw: a run of each template's own graph.

`python scripts/thumbnails.py` starts ComfyUI (COMFYUI_PATH or ~/comfy/ComfyUI), runs each template as it is
saved and writes `example_workflows/NAME.jpg`: the picture with its regions over it. Those for SDXL run with
the demo model in its place, its shapes in their regions; what it cannot stand in for keeps its thumbnail.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support" / "host"))

from comfyui_location import HOW_TO_GET_COMFYUI, REPOSITORY, find_comfyui
from comfyui_server import Server, api_prompt, running_server

from instance_composer.layout import Layout
from instance_composer.pictures import draw_layout

TEMPLATES = REPOSITORY / "example_workflows"
WITH_THE_DEMO_MODEL = ("Try it", "With and without", "Draw regions", "Try everything")
IN_ITS_PLACE = ("Place things by region",)
SHAPES = (
    "a purple striped square",
    "a red circle",
    "a yellow star",
    "a green dotted heart",
    "a blue triangle",
)
LONGEST = 480  # pixels: the gallery shows cards of about 300
OPACITY = 0.16  # of the regions, so that the picture is seen through them
QUALITY = 82


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="templates to draw (all that the demo model can)")
    names = parser.parse_args().names or [*WITH_THE_DEMO_MODEL, *IN_ITS_PLACE]
    comfyui = find_comfyui()
    if comfyui is None:
        parser.error(HOW_TO_GET_COMFYUI)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        with running_server(comfyui, base, {"ComfyUI-Instance-Composer": REPOSITORY}) as server:
            info = server.get("/object_info")
            for name in names:
                workflow = json.loads((TEMPLATES / f"{name}.json").read_text(encoding="utf-8"))
                prompt = api_prompt(workflow, info)
                if name in IN_ITS_PLACE:
                    in_shapes(prompt)
                target = TEMPLATES / f"{name}.jpg"
                thumbnail(server, prompt).save(target, quality=QUALITY, optimize=True)
                print(f"{target.name}: {target.stat().st_size} bytes", flush=True)
    return 0


def thumbnail(server: Server, prompt: dict[str, Any]) -> Image.Image:
    """The picture of a run with its regions; beside the one that the graph draws without them, if it does."""
    entry = server.run(prompt, seconds=1800)
    if entry["status"]["status_str"] != "success":
        raise RuntimeError(f"the run failed: {entry['status']}")
    document = prompt[only(prompt, "IC_InstanceLayout")]["inputs"]["document"]
    layout = Layout.from_json(document)
    shown = [draw_layout(layout, background=picture(server, prompt, entry, "SaveImage"), opacity=OPACITY)]
    if any(one["class_type"] == "PreviewImage" for one in prompt.values()):
        shown.insert(0, picture(server, prompt, entry, "PreviewImage"))
    side = LONGEST // len(shown)
    parts = [
        one.resize((side, round(one.height * side / one.width)), Image.Resampling.LANCZOS) for one in shown
    ]
    whole = Image.new("RGB", (LONGEST, max(part.height for part in parts)), (38, 40, 44))
    for place, part in enumerate(parts):
        whole.paste(part, (place * side, 0))
    return whole


def picture(server: Server, prompt: dict[str, Any], entry: dict[str, Any], node: str) -> Image.Image:
    (image,) = entry["outputs"][only(prompt, node)]["images"]
    file = server.base / image["type"] / image["subfolder"] / image["filename"]
    found = Image.open(io.BytesIO(file.read_bytes())).convert("RGB")
    # Captions are drawn in pixels of the picture; on 128 of them they would have no room.
    factor = 2 * LONGEST / max(found.size)
    return found.resize((round(found.width * factor), round(found.height * factor)), Image.Resampling.LANCZOS)


def in_shapes(prompt: dict[str, Any]) -> None:
    """The demo model in SDXL's place, at its size, with its shapes in the regions of the template."""
    checkpoint, loader = only(prompt, "CheckpointLoaderSimple"), only(prompt, "IC_LoadIFAdapter")
    prompt[checkpoint] = {"class_type": "IC_LoadDemoCheckpoint", "inputs": {}}
    del prompt[loader]
    prompt[only(prompt, "IC_ApplyIFAdapter")]["inputs"]["ifadapter"] = [checkpoint, 3]
    layout = prompt[only(prompt, "IC_InstanceLayout")]["inputs"]
    document = json.loads(layout["document"])
    for instance, caption in zip(document["instances"], SHAPES, strict=False):
        instance["caption"] = caption
    document["prompt"] = f"{', '.join(one['caption'] for one in document['instances'])} on white"
    canvas = document["canvas"]
    scale = 160 / max(canvas["width"], canvas["height"])
    canvas |= {side: round(canvas[side] * scale / 8) * 8 for side in ("width", "height")}
    layout |= {"width": canvas["width"], "height": canvas["height"], "document": json.dumps(document)}
    prompt[only(prompt, "KSampler")]["inputs"] |= {"steps": 20, "cfg": 3.0, "seed": 42}


def only(prompt: dict[str, Any], node: str) -> str:
    (found,) = (key for key, one in prompt.items() if one["class_type"] == node)
    return found


if __name__ == "__main__":
    sys.exit(main())
