"""Draws the thumbnails of the templates that the demo model can draw: a run of each template's own graph.

`python scripts/thumbnails.py` starts ComfyUI (COMFYUI_PATH or ~/comfy/ComfyUI), runs each template as it is
saved and writes `example_workflows/NAME.jpg`: the picture with its regions over it.
Those for SDXL keep theirs.
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

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support" / "host"))

from comfyui_location import HOW_TO_GET_COMFYUI, REPOSITORY, find_comfyui
from comfyui_server import Server, api_prompt, running_server
from tiny_captioners import write_tiny_qwen

from instance_composer.layout import Layout
from instance_composer.pictures import draw_layout

TEMPLATES = REPOSITORY / "example_workflows"
NAMES = ("Try it", "With and without", "Draw regions", "Judge by a checklist", "Try everything")
# The judge that a template names, of which a tiny one of random weights takes the place.
JUDGE = Path("models") / "vision_language_models" / "Qwen2-VL-2B-Instruct"
LONGEST = 480  # pixels: the gallery shows cards of about 300
OPACITY = 0.08  # of the regions, so that the picture is seen through them
QUALITY = 82


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="templates to draw (all that the demo model can)")
    names = parser.parse_args().names or NAMES
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


def only(prompt: dict[str, Any], node: str) -> str:
    (found,) = (key for key, one in prompt.items() if one["class_type"] == node)
    return found


if __name__ == "__main__":
    sys.exit(main())
