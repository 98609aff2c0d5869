"""Layouts that a person keeps, lines of composition, and the panel beside the graph."""

from __future__ import annotations

import json

import pytest
from comfyui_location import REPOSITORY
from editor_page import add_receiver, run_graph
from playwright.sync_api import expect

PICTURES = REPOSITORY / "output" / "browser"
NAME = '<img src=x onerror="window.hit=1">/../Füchse 狐'
FOLDER = ("user", "default", "instance_composer", "layouts")


def keep_picture(editor, name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    editor.page.screenshot(path=PICTURES / f"{name}-{'vue' if editor.vue else 'classic'}.png")


@pytest.fixture
def drawn(editor):
    editor.draw((0.125, 0.25, 0.5, 0.75), "a red fox")
    editor.draw((0.5625, 0.125, 0.9375, 0.5625), "a white owl")
    return editor


def open_sheet(editor):
    editor.button("Templates").click()
    editor.root.get_by_role("menuitem", name="Own layouts…").click()
    sheet = editor.root.get_by_role("dialog", name="Own layouts")
    expect(sheet.locator("p[role=status]")).not_to_be_empty(timeout=20_000)
    return sheet


def keep(sheet, name):
    sheet.get_by_label("Name of this layout").fill(name)
    sheet.get_by_role("button", name="Keep", exact=True).click()


@pytest.mark.one_front_end
def test_a_layout_is_kept_found_taken_over_and_removed(drawn, server):
    folder = server.base.joinpath(*FOLDER)
    for old in folder.glob("*"):
        old.unlink()
    first = drawn.document()
    sheet = open_sheet(drawn)
    keep(sheet, NAME)
    expect(sheet.locator(".ic-card-name")).to_have_text([NAME], timeout=20_000)
    keep(sheet, "Owls")
    expect(sheet.locator(".ic-card")).to_have_count(2, timeout=20_000)
    (kept,) = [file for file in folder.iterdir() if "chse" in file.name]
    assert json.loads(kept.read_text(encoding="utf-8"))["instances"] == first["instances"]
    sheet.get_by_role("button", name="Close").click()
    drawn.press("Control+a", "Delete")
    drawn.draw((0.1, 0.1, 0.3, 0.3), "a lamp")
    # Another page of the same person has it too: nothing is in the browser.
    sheet = open_sheet(drawn)
    expect(sheet.locator(".ic-card .ic-mini rect")).to_have_count(8, timeout=20_000)
    drawn.page.wait_for_timeout(200)
    keep_picture(drawn, "own-layouts")
    # A name that is taken is asked about, and only the answer changes the file.
    keep(sheet, "Owls")
    expect(sheet.get_by_role("alert")).to_contain_text("There is a layout called Owls already")
    assert len(json.loads((folder / "Owls.json").read_text())["instances"]) == 2
    sheet.get_by_role("button", name="Replace it").click()
    expect(sheet.get_by_role("alert")).to_be_hidden(timeout=20_000)
    assert [one["caption"] for one in json.loads((folder / "Owls.json").read_text())["instances"]] == [
        "a lamp"
    ]
    expect(sheet.locator(".ic-card .ic-mini rect")).to_have_count(6, timeout=20_000)
    sheet.get_by_role("searchbox").fill("WHITE owl")
    expect(sheet.locator(".ic-card").filter(visible=True)).to_have_count(1)
    sheet.get_by_role("button", name=f"Take over {NAME}", exact=True).click()
    assert drawn.instances() == first["instances"]
    sheet = open_sheet(drawn)
    sheet.get_by_role("button", name="Remove Owls").click()
    sheet.get_by_role("button", name="Remove", exact=True).click()
    expect(sheet.locator(".ic-card")).to_have_count(1, timeout=20_000)
    assert [file.name for file in folder.iterdir()] == [kept.name]
    assert drawn.page.evaluate("() => window.hit") is None


@pytest.mark.one_front_end
def test_guides_of_composition_lie_over_the_stage_and_are_snapped_to(drawn):
    lines = drawn.root.locator(".ic-guides")
    paths = [lines.get_attribute("d")]
    drawn.click(0.02, 0.02)
    for _ in range(3):
        drawn.press("t")
        paths.append(lines.get_attribute("d"))
    # Thirds, centre cross, golden ratio, nothing.
    assert [path.count("M") for path in paths] == [4, 2, 4, 0]
    drawn.root.locator("[data-drawing=magnet]").click()
    drawn.root.get_by_role("menuitemcheckbox", name="Golden ratio").click()
    drawn.draw((0.39, 0.8, 0.5, 0.95))
    keep_picture(drawn, "guides")
    assert drawn.boxes()[-1][0] == pytest.approx(0.382, abs=0.001)


def test_the_panel_edits_a_layout_inside_a_subgraph_while_the_graph_is_used(drawn):
    page = drawn.page
    add_receiver(drawn)
    page.evaluate(
        """() => {
          app.canvas.selectItems(app.graph.nodes);
          app.graph.convertToSubgraph(app.canvas.selectedItems);
        }"""
    )
    page.wait_for_timeout(500)
    page.evaluate("() => app.extensionManager.command.execute('InstanceComposer.EditLayout')")
    panel = page.locator(".ic-floating")
    expect(panel).to_be_visible(timeout=20_000)
    expect(panel.locator(".ic-bar-title")).to_contain_text("› Instance Layout")
    page.wait_for_timeout(400)
    drawn.draw((0.05, 0.8, 0.3, 0.95), "a lamp")
    keep_picture(drawn, "panel")
    # The graph is usable beside it: it runs, and it is moved without the panel.
    assert run_graph(drawn) is None
    shown = page.evaluate(
        "() => Object.values(app.nodeOutputs).map((one) => one.text).flat().filter(Boolean)"
    )
    assert [one["caption"] for one in json.loads(shown[0])["instances"]] == [
        "a red fox",
        "a white owl",
        "a lamp",
    ]
    before = panel.bounding_box()
    bar = panel.locator(".ic-bar-title").bounding_box()
    page.mouse.move(bar["x"] + 20, bar["y"] + 10)
    page.mouse.down()
    page.mouse.move(bar["x"] - 180, bar["y"] + 40, steps=4)
    page.mouse.up()
    after = panel.bounding_box()
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((-200, 30), abs=3)
    # Undo of the graph rebuilds its nodes; the panel is still the one of the living editor.
    lamp = panel.locator(".ic-label .ic-words").filter(has_text="a lamp")
    expect(lamp).to_have_count(1)
    # A node that grew by the picture of the run may be a step of its own.
    for _ in range(2):
        if lamp.count():
            page.evaluate("() => document.activeElement.blur()")
            page.keyboard.press("Control+z")
            page.wait_for_timeout(1500)
    expect(lamp).to_have_count(0)
    expect(panel).to_have_count(1)
    expect(panel.locator(".ic-editor")).to_be_visible()
    page.evaluate("() => { window.asked = 0; window.queue = app.queuePrompt; }")
    page.evaluate("() => { app.queuePrompt = () => (window.asked += 1); }")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => window.asked === 1")
    drawn.click(0.95, 0.03)
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => window.asked === 2")
    page.evaluate("() => { app.queuePrompt = window.queue; }")
    panel.locator(".ic-bar").get_by_role("button", name="Back to the node").click()
    expect(panel).to_have_count(0)


def test_from_the_large_view_the_panel_opens_and_stays(drawn):
    drawn.button("Large editor").click()
    drawn.page.locator("dialog[open]").get_by_role("button", name="Panel beside the graph").click()
    drawn.page.wait_for_timeout(500)
    panel = drawn.page.locator(".ic-floating")
    expect(panel.locator(".ic-editor")).to_be_visible()
    panel.get_by_role("button", name="Large editor").click()
    drawn.page.wait_for_timeout(500)
    expect(drawn.page.locator("dialog[open] .ic-editor")).to_be_visible()


def test_several_layouts_are_chosen_from(drawn):
    page = drawn.page
    drawn.add_node(900, 90)
    page.evaluate("() => app.extensionManager.command.execute('InstanceComposer.EditLayout')")
    dialog = page.locator("dialog.ic-chooser")
    expect(dialog.locator(".ic-card")).to_have_count(2, timeout=20_000)
    keep_picture(drawn, "chooser")
    dialog.locator(".ic-card").filter(has_text="2 instances").click()
    panel = page.locator(".ic-floating")
    expect(panel.locator(".ic-item")).to_have_count(2, timeout=20_000)
