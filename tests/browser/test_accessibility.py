"""Names, roles, contrast and order for people who do not see or point; other languages; less motion."""

from __future__ import annotations

import re

import pytest
from comfyui_location import REPOSITORY
from playwright.sync_api import expect

AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
HOW_TO_GET_AXE = "axe-core is not installed. Get it with `npm install` in the root."
RUN = """async (large) => {
  const root = [...document.querySelectorAll('.ic-editor')].at(-1);
  const { violations } = await axe.run(root, { resultTypes: ['violations'] });
  return violations.filter((one) => ['serious', 'critical'].includes(one.impact))
    .map((one) => [one.id, one.nodes.map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`)]);
}"""


@pytest.fixture
def in_colours(editor, request):
    """The editor in one of ComfyUI's palettes, with axe in the page."""
    choose = "(palette) => app.extensionManager.setting.set('Comfy.ColorPalette', palette)"
    editor.page.evaluate(choose, request.param)
    expect(editor.root).to_have_attribute("data-theme", request.param)
    editor.page.add_script_tag(path=AXE)
    yield editor
    editor.page.evaluate(choose, "dark")


@pytest.mark.skipif(not AXE.exists(), reason=HOW_TO_GET_AXE)
@pytest.mark.parametrize("in_colours", ["dark", "light"], indirect=True)
def test_axe_finds_nothing_serious(in_colours):
    editor = in_colours
    assert editor.page.evaluate(RUN) == [], "the empty editor"
    editor.draw((0.1, 0.1, 0.5, 0.5), "a red fox")
    editor.draw((0.6, 0.2, 0.9, 0.5))
    editor.page.wait_for_timeout(300)
    assert editor.page.evaluate(RUN) == [], "with instances"
    editor.root.locator(".ic-status-line button").first.click()
    editor.page.wait_for_timeout(300)
    assert editor.page.evaluate(RUN) == [], "with the problems open"
    editor.root.locator(".ic-status-line button").first.click()
    editor.root.get_by_role("toolbar").get_by_role("button", name="Templates").click()
    assert editor.page.evaluate(RUN) == [], "with a menu open"
    editor.press("Escape")
    editor.button("Keys and gestures").click()
    assert editor.page.evaluate(RUN) == [], "with a sheet open"
    editor.press("Escape")


@pytest.mark.one_front_end
def test_what_happens_is_said_aloud(editor):
    live = editor.root.locator("[aria-live=polite]").last
    editor.draw((0.1, 0.1, 0.5, 0.5), "a red fox")
    editor.press("Escape", "Tab")
    expect(live).to_have_text(
        re.compile(r"Instance 1, a red fox: (9|10) to 50 % across, (9|10) to 50 % down")
    )
    editor.press("Delete")
    expect(live).to_contain_text("deleted")


MENU = """(root) => {
  const controls = [...root.querySelectorAll('.ic-menu button, .ic-menu input')];
  return [controls.indexOf(document.activeElement), controls.map((one) => one.tagName === 'INPUT')];
}"""


@pytest.mark.one_front_end
def test_keys_reach_every_entry_and_field_of_the_menus(editor):
    menu = editor.root.locator(".ic-menu")

    def walk(key, count):
        places = []
        for _ in range(count):
            editor.page.keyboard.press(key)
            places.append(editor.root.evaluate(MENU)[0])
        return places

    for opener in editor.root.get_by_role("toolbar").locator("[aria-haspopup=menu]:visible").all():
        opener.press("Enter")
        expect(menu.locator("button").first).to_be_focused()
        _, fields = editor.root.evaluate(MENU)
        buttons = [place for place, is_field in enumerate(fields) if not is_field]
        assert walk("ArrowDown", len(buttons)) == [*buttons[1:], 0]
        assert walk("ArrowUp", 1) == buttons[-1:]
        if any(fields):
            opener.press("Enter")
            opener.press("Enter")
            assert walk("Tab", len(fields) - 1) == list(range(1, len(fields)))
            assert walk("Shift+Tab", 1) == [len(fields) - 2]
            walk("Tab", 1)
        editor.press("Tab")
        expect(menu).to_have_count(0)
        expect(opener).to_be_focused()
    editor.root.get_by_role("toolbar").get_by_role("button", name="Templates").press("Enter")
    walk("Tab", editor.root.evaluate(MENU)[1].index(True) + 2)
    expect(editor.button("Make")).to_be_focused()
    editor.press("Enter")
    assert len(editor.instances()) == 4


@pytest.mark.one_front_end
def test_everything_has_a_name(editor):
    editor.draw((0.1, 0.1, 0.5, 0.5), "a red fox")
    nameless = editor.root.evaluate(
        """(root) => [...root.querySelectorAll('button, input, textarea, select')]
          .filter((one) => one.offsetParent)
          .filter((one) => !one.getAttribute('aria-label') && !one.labels?.length && !one.textContent.trim())
          .map((one) => one.outerHTML)"""
    )
    assert nameless == []


def test_chinese_is_complete_on_the_screen(other_page, page):
    own = other_page(page.vue, {"Comfy.Locale": "zh"})
    own.open()
    own.add_node()
    expect(own.root.locator(".ic-empty")).to_contain_text("拖出一个方框")
    own.draw((0.1, 0.1, 0.5, 0.5))
    own.page.wait_for_timeout(300)
    expect(own.root.locator(".ic-side")).to_contain_text("1 个实例")
    texts = own.root.evaluate("(root) => root.innerText")
    assert "editor." not in texts
    assert "problem." not in texts
    assert own.problems == []


def test_nothing_moves_for_those_who_prefer_it_so(editor):
    editor.page.emulate_media(reduced_motion="reduce")
    duration = editor.root.locator(".ic-progress").evaluate(
        "(element) => getComputedStyle(element).transitionDuration"
    )
    editor.page.emulate_media(reduced_motion=None)
    assert duration == "0s"
