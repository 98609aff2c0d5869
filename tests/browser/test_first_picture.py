"""From an empty graph to the first picture, as a new user goes; each step leaves a screenshot."""

from __future__ import annotations

import json

import pytest
from comfyui_location import REPOSITORY, find_comfyui
from comfyui_server import running_server
from editor_page import EditorPage, new_context
from playwright.sync_api import expect

TEMPLATE = "Place things by region"
PICTURES = REPOSITORY / "output" / "browser"
# The tiny checkpoint of the tests takes the place of SDXL, the tiny adapter that of the published one.
USE_TINY_MODELS = """() => {
  const find = (type) => app.graph.nodes.find((node) => node.comfyClass === type);
  const old = find('CheckpointLoaderSimple');
  const tiny = LiteGraph.createNode('TinySDXL');
  app.graph.add(tiny);
  tiny.pos = [...old.pos];
  const links = [...app.graph.links.values()].filter((link) => link.origin_id === old.id);
  for (const link of links) {
    const target = app.graph.getNodeById(link.target_id);
    tiny.connect(link.origin_slot, target, link.target_slot);
  }
  app.graph.remove(old);
  find('IC_LoadIFAdapter').widgets[0].value = 'tiny.safetensors';
  find('KSampler').widgets.find((widget) => widget.name === 'steps').value = 4;
  for (const widget of find('IC_InstanceLayout').widgets.slice(0, 2)) {
    widget.value = 256;
    widget.callback?.(256);
  }
}"""


@pytest.fixture(scope="module")
def tiny_server(tmp_path_factory):
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file
    from tiny_sdxl import UNET, write_tiny_ifadapter

    base = tmp_path_factory.mktemp("first-picture")
    for folder in ("models/tiny", "models/ifadapter", "user/default"):
        (base / folder).mkdir(parents=True)
    torch.manual_seed(0)
    weights = {name: value.contiguous() for name, value in UNet2DConditionModel(**UNET).state_dict().items()}
    save_file(weights, base / "models/tiny/unet.safetensors", {"config": json.dumps(UNET)})
    write_tiny_ifadapter(base / "models/ifadapter/tiny.safetensors")
    settings = {"Comfy.TutorialCompleted": True, "Comfy.InstalledVersion": "1.49.6", "Comfy.Locale": "en"}
    settings |= {"Comfy.Workflow.Persist": False, "Comfy.Minimap.Visible": False}
    (base / "user/default/comfy.settings.json").write_text(json.dumps(settings))
    loader = REPOSITORY / "tests" / "support" / "host" / "tiny_loader_pack"
    packs = {"ComfyUI-Instance-Composer": REPOSITORY, "tiny-loader": loader}
    with running_server(find_comfyui(), base, packs) as running:
        yield running


class Walk:
    """Counts the presses of the mouse and keeps a picture of every step."""

    def __init__(self, editor: EditorPage, name: str) -> None:
        self.editor, self.name, self.steps, self.presses = editor, name, 0, 0
        PICTURES.mkdir(parents=True, exist_ok=True)

    def step(self, label: str, presses: int = 0) -> None:
        self.steps += 1
        self.presses += presses
        self.editor.page.wait_for_timeout(400)
        file = PICTURES / f"first-picture-{self.name}-{self.steps}-{label}.png"
        self.editor.page.screenshot(path=file)


@pytest.mark.parametrize("renderer", ["classic", "vue"])
def test_the_first_picture(tiny_server, browser, renderer, record_property):
    tiny_server.post("/settings", {"Comfy.VueNodes.Enabled": renderer == "vue"})
    context = new_context(browser, viewport={"width": 1700, "height": 1050})
    editor = EditorPage(context.new_page(), tiny_server.address, renderer == "vue").open()
    page = editor.page
    walk = Walk(editor, renderer)
    walk.step("empty graph")
    page.locator(".templates-tab-button").click()
    page.get_by_text("ComfyUI-Instance-Composer", exact=False).first.click()
    walk.step("templates", presses=2)
    page.get_by_test_id(f"template-workflow-{TEMPLATE}").click()
    page.wait_for_function("() => app.graph.nodes.some((node) => node.comfyClass === 'IC_InstanceLayout')")
    page.wait_for_timeout(1500)
    page.keyboard.press("Escape")  # the offer to find models that are not there
    page.evaluate(USE_TINY_MODELS)
    page.evaluate(
        """() => {
          const node = app.graph.nodes.find((one) => one.comfyClass === 'IC_InstanceLayout');
          app.canvas.ds.scale = 1;
          app.canvas.ds.offset = [120 - node.pos[0], 110 - node.pos[1]];
          app.canvas.setDirty(true, true);
        }"""
    )
    expect(editor.root).to_be_visible(timeout=20_000)
    walk.step("workflow", presses=1)
    editor.click(0.02, 0.02)
    editor.press("Control+a", "Delete")
    walk.step("own layout", presses=1)
    editor.root.get_by_label("Prompt of the whole picture", exact=True).click()
    editor.press("Control+a")
    page.keyboard.type("a snowy forest")
    editor.settle()
    walk.step("own prompt", presses=1)
    editor.draw((0.08, 0.3, 0.48, 0.9), "a red fox sitting in the snow", typed=True)
    walk.step("first instance", presses=1)
    editor.draw((0.55, 0.12, 0.92, 0.6), "a white owl on a branch", typed=True)
    walk.step("second instance", presses=1)
    # Nothing of the template is left for the prompt to draw.
    expect(editor.root.locator(".ic-status [aria-expanded]")).to_contain_text("All good", timeout=30_000)
    page.get_by_test_id("queue-button").first.click()
    expect(editor.root).to_have_attribute("data-picture", "", timeout=120_000)
    page.wait_for_function(
        "() => document.querySelector('.ic-progress').style.transform === 'scaleX(0)'", timeout=120_000
    )
    walk.step("first picture", presses=1)
    record_property("mouse presses", walk.presses)
    assert walk.presses == 8  # as docs/first-picture.md counts them
    assert [one["caption"] for one in editor.instances()] == [
        "a red fox sitting in the snow",
        "a white owl on a branch",
    ]
    assert editor.document()["prompt"] == "a snowy forest"
    assert editor.problems == []
    context.close()
