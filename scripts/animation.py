"""Films a first picture: three boxes drawn and captioned on *Try it*, the run, the picture under them.

`python scripts/animation.py` starts ComfyUI with the demo model and a Chromium and writes `docs/draw.webp`;
it needs what `tests/browser` needs. What the machine takes its time for is not seen in the film.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support" / "host"))

from comfyui_location import HOW_TO_GET_COMFYUI, REPOSITORY, find_comfyui
from comfyui_server import running_server
from editor_page import RUN, EditorPage, new_context

TARGET = REPOSITORY / "docs" / "draw.webp"
DRAWN = (
    ((0.08, 0.12, 0.5, 0.56), "a large red striped diamond"),
    ((0.58, 0.3, 0.94, 0.66), "a blue checked cross"),
    ((0.26, 0.64, 0.56, 0.94), "a yellow star"),
)
MOST_BYTES = 400_000
STEPS = 5  # pictures of one drag
LETTERS = 7  # typed between two pictures
WIDTH = 460  # pixels of the film
QUALITY = 60
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.49.6",
    "Comfy.Workflow.Persist": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.Locale": "en",
}
PLACE = """() => {
  const node = app.graph.nodes.find((one) => one.comfyClass === 'IC_InstanceLayout');
  app.canvas.ds.scale = 1;
  app.canvas.ds.offset = [120 - node.pos[0], 90 - node.pos[1]];
  app.canvas.setDirty(true, true);
}"""
POINTER = """() => {
  const dot = document.createElement('div');
  dot.style.cssText = 'position:fixed;z-index:9999;width:14px;height:14px;margin:-7px;border-radius:50%;' +
    'background:#fff8;border:2px solid #000;pointer-events:none';
  document.body.append(dot);
  window.addEventListener('pointermove', (event) => {
    dot.style.left = `${event.clientX}px`;
    dot.style.top = `${event.clientY}px`;
  }, true);
}"""
# Whether the run is over, a quarter of a second later at the latest.
OVER = """() => {
  const later = new Promise((done) => setTimeout(done, 250, false));
  return Promise.race([window.over.then(() => true), later]);
}"""


class Film:
    """Pictures of the editor with the milliseconds that each is shown; the same twice is shown longer."""

    def __init__(self, editor: EditorPage) -> None:
        self.editor, self.frames, self.times = editor, [], []

    def shoot(self, milliseconds: int, *, waits: bool = True) -> None:
        box = self.editor.root.bounding_box()
        assert box
        shot = Image.open(io.BytesIO(self.editor.page.screenshot(clip=box))).convert("RGB")
        size = (WIDTH, round(shot.height * WIDTH / shot.width))
        frame = shot.resize(size, Image.Resampling.LANCZOS)
        if self.frames and frame.tobytes() == self.frames[-1].tobytes():
            self.times[-1] += milliseconds if waits else 0
        else:
            self.frames.append(frame)
            self.times.append(milliseconds)

    def save(self, target: Path) -> None:
        first, *rest = self.frames
        first.save(
            target, save_all=True, append_images=rest, duration=self.times, loop=0, quality=QUALITY, method=6
        )


def film(editor: EditorPage) -> Film:
    """Draw the boxes, run, and look at the picture, on a page that is ready."""
    page = editor.page
    workflow = (REPOSITORY / "example_workflows" / "Try it.json").read_text(encoding="utf-8")
    page.evaluate("(graph) => app.loadGraphData(graph, true, true)", json.loads(workflow))
    page.evaluate(PLACE)
    editor.root.wait_for()
    page.wait_for_timeout(1500)
    page.evaluate(POINTER)
    editor.click(0.02, 0.02)
    editor.press("Control+a", "Delete")
    prompt = editor.root.get_by_label("Prompt of the whole picture", exact=True)
    prompt.fill("on grey")
    shots = Film(editor)
    shots.shoot(900)
    for (x0, y0, x1, y1), caption in DRAWN:
        page.mouse.move(*editor.point(x0, y0))
        page.mouse.down()
        for step in range(1, STEPS + 1):
            share = step / STEPS
            page.mouse.move(*editor.point(x0 + (x1 - x0) * share, y0 + (y1 - y0) * share))
            editor.settle()
            shots.shoot(90)
        page.mouse.up()
        editor.settle()
        for start in range(0, len(caption), LETTERS):
            page.keyboard.type(caption[start : start + LETTERS])
            editor.settle()
            shots.shoot(150)
        page.keyboard.press("Enter")
        editor.settle()
        shots.shoot(450)
    editor.click(0.02, 0.02)
    page.evaluate(f"() => {{ window.over = ({RUN})(); }}")
    for _ in range(400):
        shots.shoot(120, waits=False)
        if page.evaluate(OVER):
            break
    page.wait_for_timeout(1500)
    shots.shoot(1800)
    page.keyboard.down("h")  # hides the regions while it is held
    page.wait_for_timeout(300)
    shots.shoot(1800)
    page.keyboard.up("h")
    page.wait_for_timeout(300)
    shots.shoot(1200)
    return shots


def main() -> int:
    """1 where the film is larger than a README should load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET, help="where the film goes (docs/draw.webp)")
    arguments = parser.parse_args()
    comfyui, chromium = find_comfyui(), shutil.which("chromium")
    if comfyui is None or chromium is None:
        parser.error(HOW_TO_GET_COMFYUI if comfyui is None else "no chromium was found")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        base = Path(folder)
        (base / "user" / "default").mkdir(parents=True)
        (base / "user" / "default" / "comfy.settings.json").write_text(json.dumps(SETTINGS))
        with running_server(comfyui, base, {"ComfyUI-Instance-Composer": REPOSITORY}) as server:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = new_context(browser, viewport={"width": 800, "height": 1100}).new_page()
            film(EditorPage(page, server.address, False).open()).save(arguments.out)
    size = arguments.out.stat().st_size
    print(f"{arguments.out}: {size} bytes")
    return 0 if size <= MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
