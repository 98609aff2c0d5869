"""The editor's surroundings: sizes, references, results, previews, boxes from upstream."""

from __future__ import annotations

import json

import pytest
from editor_page import add_receiver, connect, queue
from playwright.sync_api import expect

KNOWN = """() => {
  const { changeTracker } = app.extensionManager.workflow.activeWorkflow;
  return changeTracker.activeState.nodes[0].widgets_values;
}"""


def size_widgets(editor):
    return editor.page.evaluate("() => app.graph.nodes[0].widgets.slice(0, 2).map((widget) => widget.value)")


def test_presets_and_the_nodes_size_go_together(editor):
    editor.draw((0.25, 0.25, 0.5, 0.5))
    box = editor.boxes()[0]
    editor.root.locator(".ic-size").click()
    editor.root.get_by_role("menuitemcheckbox", name="16:9").click()
    editor.settle()
    assert size_widgets(editor) == [1344, 768]
    assert editor.page.evaluate(KNOWN)[:2] == [1344, 768], "one step of the graph's undo has both"
    assert editor.document()["canvas"] == {"width": 1344, "height": 768}
    assert editor.boxes()[0] == box, "regions keep their place in the picture"
    paper = editor.root.locator(".ic-paper").first.bounding_box()
    assert paper["width"] / paper["height"] == pytest.approx(1344 / 768, rel=0.01)
    editor.press("Control+z")
    assert size_widgets(editor) == [1024, 1024]
    editor.page.evaluate(
        "() => { const [w] = app.graph.nodes[0].widgets; w.value = 512; w.callback?.(512); }"
    )
    editor.settle()
    assert editor.document()["canvas"]["width"] == 512


@pytest.mark.one_front_end
def test_regions_can_keep_their_pixels(editor):
    editor.draw((0.25, 0.25, 0.5, 0.5))
    left = editor.boxes()[0][0] * 1024
    editor.root.locator(".ic-size").click()
    editor.root.get_by_role("menuitemcheckbox", name="Keep regions at their pixels").click()
    editor.root.locator(".ic-size").click()
    editor.root.get_by_role("menuitemcheckbox", name="16:9").click()
    editor.settle()
    assert editor.boxes()[0][0] * 1344 == pytest.approx(left, abs=0.5)


def test_the_preview_then_the_result_lie_under_the_regions(editor):
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    add_receiver(editor)
    editor.page.evaluate(
        """() => {
          const receiver = app.graph.nodes.find((node) => node.comfyClass === 'Test_ShowLayout');
          receiver.widgets.find((widget) => widget.name === 'previews').value = 4;
          const root = [...document.querySelectorAll('.ic-editor')].at(-1);
          const shown = root.querySelector('canvas.ic-picture');
          window.pictures = [];
          window.watcher = new MutationObserver(() => {
            const pixel = () => shown.getContext('2d').getImageData(5, 5, 1, 1).data;
            if (shown.width) window.pictures.push([...pixel()].slice(0, 3));
          });
          window.watcher.observe(root, { attributes: true, subtree: true });
        }"""
    )
    queue(editor)
    expect(editor.root).to_have_attribute("data-picture", "")
    editor.page.wait_for_function("() => window.pictures.at(-1)?.[0] > 250", timeout=20_000)  # the result
    editor.page.evaluate("() => window.watcher.disconnect()")
    seen = editor.page.evaluate("() => window.pictures")
    assert any(blue > 200 and red < 50 for red, _, blue in seen), "a preview while it runs"
    assert editor.page.evaluate("() => app.graph.nodes[0].imgs ?? null") is None, "no picture of core's own"


def test_heat_maps_lie_over_the_regions_in_their_colours(editor):
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    editor.add_node(900, 120, 240, 120, "Test_ShowHeat")
    connect(editor, "IC_InstanceLayout", 0, "Test_ShowHeat", "layout")
    queue(editor)
    heat = editor.root.locator("canvas.ic-heat")
    expect(heat).to_be_visible()
    hot, cold = heat.evaluate(
        "(canvas) => [64, 192].map((x) => [...canvas.getContext('2d').getImageData(x, 128, 1, 1).data])"
    )
    assert bytes(hot).hex() == editor.instances()[0]["color"][1:] + "ff"
    assert cold[3] == 0
    assert editor.root.get_attribute("data-picture") is None, "the picture with the heat in it is no result"
    editor.root.get_by_role("toolbar").get_by_role("button", name="Picture under the regions").click()
    editor.root.get_by_label("Attention").fill("0.25")
    expect(heat).to_have_css("opacity", "0.25")
    editor.press("Escape")


@pytest.mark.one_front_end
def test_the_heat_is_that_of_the_selected_regions_or_of_all(editor):
    for box, caption in (((0.1, 0.1, 0.4, 0.4), "a red fox"), ((0.6, 0.6, 0.9, 0.9), "a white owl")):
        editor.draw(box, caption)
    editor.add_node(900, 120, 240, 120, "Test_ShowHeat")
    connect(editor, "IC_InstanceLayout", 0, "Test_ShowHeat", "layout")
    queue(editor)
    heat = editor.root.locator("canvas.ic-heat")
    expect(heat).to_be_visible()
    colors = [bytes.fromhex(one["color"][1:]) for one in editor.instances()]

    def seen():
        editor.settle()
        return bytes(
            heat.evaluate("(canvas) => [...canvas.getContext('2d').getImageData(64, 128, 1, 1).data]")
        )[:3]

    editor.click(0.02, 0.97)
    both = bytes(min(255, one + other) for one, other in zip(*colors, strict=True))
    for key, expected in (("1", colors[0]), ("2", colors[1]), ("Escape", both)):
        editor.press(key)
        assert seen() == expected, key


def test_boxes_from_upstream_come_in_and_edits_win_until_other_boxes_come(editor):
    editor.add_node(20, 120, 240, 120, "Test_Boxes")
    connect(editor, "Test_Boxes", 0, "IC_InstanceLayout", "bounding_boxes")
    add_receiver(editor)
    received = queue(editor)
    seeded = [pytest.approx([100 / 1024, 100 / 1024, 400 / 1024, 300 / 1024], abs=1e-4)]
    assert [one["box"] for one in received["instances"]] == seeded
    expect(editor.root.locator(".ic-item")).to_have_count(1)
    assert editor.boxes() == seeded
    editor.click(0.2, 0.2)
    editor.press("Shift+ArrowDown", "Enter")
    editor.page.keyboard.type("a red fox")
    editor.press("Enter")
    edited = editor.instances()
    assert queue(editor)["instances"] == edited
    editor.page.evaluate(
        """(text) => {
          app.graph.nodes.find((node) => node.comfyClass === 'Test_Boxes').widgets[0].value = text;
        }""",
        json.dumps([[{"x": 500, "y": 500, "width": 200, "height": 200}]]),
    )
    received = queue(editor)
    assert received["instances"][0]["box"][0] == pytest.approx(500 / 1024, abs=1e-4)
    assert received["instances"][0]["caption"] == "a red fox"
    readout = editor.root.locator(".ic-summary").first
    expect(readout).to_have_text("200 × 200")
    assert editor.boxes()[0][0] == pytest.approx(500 / 1024, abs=1e-4)


def test_a_linked_picture_shows_before_and_after_a_run(editor):
    editor.add_node(20, 120, 240, 120, "EmptyImage")
    connect(editor, "EmptyImage", 0, "IC_InstanceLayout", "image")
    add_receiver(editor)
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    queue(editor)
    editor.root.get_by_role("toolbar").get_by_role("button", name="Picture under the regions").click()
    editor.root.get_by_role("menuitemcheckbox", name="Reference", exact=True).click()
    expect(editor.root).to_have_attribute("data-picture", "")
    shown = editor.root.locator("canvas.ic-picture").first.evaluate(
        "(canvas) => [canvas.width, ...canvas.getContext('2d').getImageData(5, 5, 1, 1).data]"
    )
    assert shown == [512, 0, 0, 0, 255]
    editor.add_node(900, 320, 240, 120, "Test_ShowLayout")
    editor.page.evaluate(
        "() => { const [from, to] = ['IC_InstanceLayout', 'Test_ShowLayout'].map((type) =>"
        " app.graph.nodes.findLast((node) => node.comfyClass === type)); from.connect(0, to, 0); }"
    )
    editor.page.wait_for_timeout(300)
    expect(editor.root).to_have_attribute("data-picture", "")
    editor.root.get_by_role("toolbar").get_by_role("button", name="Picture under the regions").click()
    editor.root.get_by_role("slider", name="Picture").fill("0.3")
    expect(editor.root.locator("canvas.ic-picture").first).to_have_css("opacity", "0.3")
    editor.press("Escape")


UPLOAD = """async () => {
  const { api } = await import('/scripts/api.js');
  for (const color of ['#f00', '#00f']) {
    const canvas = Object.assign(document.createElement('canvas'), { width: 32, height: 32 });
    const context = canvas.getContext('2d');
    context.fillStyle = color;
    context.fillRect(0, 0, 32, 32);
    const body = new FormData();
    const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
    body.append('image', blob, `${color.slice(1)}.png`);
    body.append('overwrite', 'true');
    await api.fetchApi('/upload/image', { method: 'POST', body });
  }
}"""
CHOOSE = """(name) => {
  const node = app.graph.nodes.find((one) => one.comfyClass === 'LoadImage');
  const widget = node.widgets.find((one) => one.name === 'image');
  widget.value = name;
  widget.callback?.(name);
  app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState();
}"""
FIRST_PIXEL = """() => {
  const shown = [...document.querySelectorAll('.ic-editor')].at(-1).querySelector('canvas.ic-picture');
  return !shown.hidden && [...shown.getContext('2d').getImageData(5, 5, 1, 1).data].slice(0, 3).join();
}"""


def test_another_picture_chosen_in_a_linked_node_is_shown_without_a_run(editor):
    editor.page.evaluate(UPLOAD)
    editor.add_node(20, 120, 260, 300, "LoadImage")
    editor.page.evaluate(CHOOSE, "f00.png")
    connect(editor, "LoadImage", 0, "IC_InstanceLayout", "image")
    editor.page.wait_for_function(f"() => ({FIRST_PIXEL})() === '255,0,0'", timeout=15_000)
    editor.page.evaluate(CHOOSE, "00f.png")
    editor.page.wait_for_function(f"() => ({FIRST_PIXEL})() === '0,0,255'", timeout=15_000)


@pytest.mark.one_front_end
def test_sides_are_swapped_as_they_are_now(editor):
    editor.root.locator(".ic-size").click()
    editor.root.get_by_label("Width in pixels").last.fill("1280")
    editor.root.get_by_role("menuitem", name="Swap").click()
    editor.settle()
    assert size_widgets(editor) == [1024, 1280]


def test_a_linked_width_rules_and_says_so(editor):
    editor.add_node(20, 120, 240, 120, "PrimitiveInt")
    editor.page.evaluate(
        "() => { app.graph.nodes.find((node) => node.comfyClass === 'PrimitiveInt').widgets[0].value = 640; }"
    )
    connect(editor, "PrimitiveInt", 0, "IC_InstanceLayout", "width")
    add_receiver(editor)
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    queue(editor)
    expect(editor.root.locator(".ic-size")).to_have_text("640 × 1024")
    editor.root.locator(".ic-size").click()
    expect(editor.root.locator(".ic-menu")).to_contain_text("A link gives the size")
    editor.press("Escape")
    expect(editor.root.locator(".ic-menu")).to_have_count(0)
    editor.click(0.9, 0.9)
    editor.press("Control+z", "Control+z")  # the caption, the box
    assert editor.instances() == []
    expect(editor.root.locator(".ic-size")).to_have_text("640 × 1024")
    # Another page knows nothing of the run.
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    editor.page.evaluate(
        """async () => {
          const saved = JSON.stringify(app.graph.serialize());
          app.nodeOutputs = {};
          await app.loadGraphData(JSON.parse(saved));
        }"""
    )
    editor.page.wait_for_timeout(800)
    expect(editor.root.locator(".ic-size")).to_have_text("640 × 1024")
    assert editor.document()["canvas"]["width"] == 640


def drop_picture(editor, width: int, height: int) -> None:
    """Drop a picture on the stage: red in its upper half, blue in the lower one."""
    editor.page.evaluate(
        """async ([width, height]) => {
          const canvas = Object.assign(document.createElement('canvas'), { width, height });
          const context = canvas.getContext('2d');
          context.fillStyle = '#f00';
          context.fillRect(0, 0, width, height / 2);
          context.fillStyle = '#00f';
          context.fillRect(0, height / 2, width, height / 2);
          const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([blob], 'photo.png', { type: 'image/png' }));
          const root = [...document.querySelectorAll('.ic-editor')].at(-1);
          for (const name of ['dragenter', 'drop'])
            root.dispatchEvent(new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        [width, height],
    )
    editor.page.wait_for_function(
        "() => app.canvas.graph.nodes.some((node) => node.properties.instance_composer_picture)"
    )


@pytest.mark.one_front_end
def test_a_picture_to_draw_over_stays_over_the_result_when_the_graph_is_rebuilt(editor):
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    add_receiver(editor)
    queue(editor)
    shown = editor.root.locator("canvas.ic-picture").first
    expect(shown).to_have_attribute("width", "64")
    drop_picture(editor, 300, 300)
    expect(shown).to_have_attribute("width", "300")
    editor.draw((0.6, 0.6, 0.8, 0.8), "a white owl")
    editor.page.evaluate("() => { document.activeElement.blur(); app.graph.nodes[0].isOfBefore = true; }")
    editor.page.keyboard.press("Control+z")
    editor.page.wait_for_function("() => app.graph.nodes.length && !app.graph.nodes[0].isOfBefore")
    editor.page.wait_for_timeout(2500)  # the result is there again by now
    expect(editor.root.locator("canvas.ic-picture").first).to_have_attribute("width", "300")
    queue(editor)
    expect(editor.root.locator("canvas.ic-picture").first).to_have_attribute("width", "64")


def test_a_picture_to_draw_over_keeps_its_shape_and_comes_back_with_the_workflow(editor):
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    drop_picture(editor, 300, 100)
    expect(editor.root).to_have_attribute("data-picture", "")
    paper = editor.root.locator(".ic-paper").first.bounding_box()
    assert paper["width"] == pytest.approx(paper["height"], rel=0.01)
    shown = editor.root.locator("canvas.ic-picture").first
    assert shown.evaluate("(canvas) => [canvas.width, canvas.height]") == [300, 100]
    expect(shown).to_have_css("object-fit", "contain")
    editor.page.wait_for_timeout(300)
    editor.page.evaluate(
        "async () => { await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize()))); }"
    )
    editor.page.wait_for_timeout(800)
    expect(editor.root).to_have_attribute("data-picture", "")
    expect(editor.root.locator("canvas.ic-picture").first).to_have_attribute("width", "300")
    editor.root.get_by_role("toolbar").get_by_role("button", name="Picture under the regions").click()
    editor.root.get_by_role("menuitem", name="Take the opened picture away").click()
    editor.settle()
    assert editor.root.get_attribute("data-picture") is None
    assert (
        editor.page.evaluate("() => Object.keys(app.graph.nodes[0].properties)").count(
            "instance_composer_picture"
        )
        == 0
    )
    # Other layouts and later runs show their pictures as before.
    add_receiver(editor)
    queue(editor)
    expect(editor.root).to_have_attribute("data-picture", "")
