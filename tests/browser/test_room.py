"""Room in the editor: what scrolls scrolls, what a narrow one has no place for is in a menu."""

from __future__ import annotations

import json

import pytest
from comfyui_location import REPOSITORY
from playwright.sync_api import expect

PICTURES = REPOSITORY / "output" / "browser"

# The narrowest node, a telephone's window with the large editor in it.
NARROW = [(250, 480), (330, 480)]


@pytest.fixture(autouse=True)
def impatient(page):
    page.page.set_default_timeout(5000)
    yield
    page.page.set_default_timeout(30_000)


@pytest.fixture
def crowded(editor):
    """More instances than the list has room for, none selected, the focus outside the editor."""
    instances = [
        {"id": str(number), "caption": f"a thing number {number}", "box": [0.1, 0.1, 0.4, 0.4]}
        for number in range(30)
    ]
    document = {"version": 1, "canvas": {"width": 1024, "height": 1024}, "instances": instances}
    editor.set_text(json.dumps(document))
    expect(editor.root.locator(".ic-item")).to_have_count(30)
    return editor


def wheel_over(editor, locator, dy: int) -> None:
    box = locator.bounding_box()
    editor.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    editor.page.mouse.wheel(0, dy)
    editor.page.wait_for_timeout(250)


def graph_view(editor) -> list[float]:
    return editor.page.evaluate("() => [app.canvas.ds.scale, ...app.canvas.ds.offset]")


@pytest.mark.parametrize("focused", [False, True])
def test_the_wheel_over_the_list_scrolls_it_and_leaves_the_graph_alone(crowded, focused):
    scroll = crowded.root.locator(".ic-scroll")
    if focused:
        crowded.root.locator(".ic-pick").nth(2).click()
    else:
        crowded.page.evaluate("() => document.activeElement.blur()")
    before = graph_view(crowded)
    start = scroll.evaluate("(element) => element.scrollTop")
    wheel_over(crowded, scroll, 200)
    assert scroll.evaluate("(element) => element.scrollTop") > start + 50
    assert graph_view(crowded) == before
    wheel_over(crowded, scroll, 9000)
    wheel_over(crowded, scroll, 400)
    assert graph_view(crowded) == before, "the list's end is no door to the graph"


def test_the_wheel_over_the_stage_still_zooms_the_graph(crowded):
    before = graph_view(crowded)
    wheel_over(crowded, crowded.stage, 200)
    assert graph_view(crowded)[0] < before[0]


def test_the_wheel_scrolls_a_sheet_over_the_editor(editor):
    editor.press("?") if editor.stage.locator(".ic-keys").evaluate(
        "(e) => e === document.activeElement"
    ) else None
    editor.button("Keys and gestures").click()
    panel = editor.root.get_by_role("dialog")
    before = graph_view(editor)
    wheel_over(editor, panel, 200)
    assert panel.evaluate("(element) => element.scrollTop") > 10
    assert graph_view(editor) == before


@pytest.mark.one_front_end
@pytest.mark.parametrize("size", NARROW, ids=lambda size: str(size[0]))
def test_what_a_narrow_toolbar_has_no_room_for_is_in_its_menu(editor, size):
    editor.draw((0.2, 0.2, 0.6, 0.6), "a red fox")
    toolbar = editor.root.get_by_role("toolbar")
    everything = toolbar.locator("button").count() - 1
    editor.root.evaluate("(element, width) => { element.style.width = `${width}px`; }", size[0])
    editor.settle()
    editor.page.wait_for_timeout(100)
    assert toolbar.evaluate("(element) => element.scrollWidth <= element.clientWidth")
    expect(editor.button("Large editor")).to_be_visible()
    seen = toolbar.locator("button:visible").count() - 1
    editor.button("More tools").click()
    items = editor.root.locator(".ic-menu [role^='menuitem']")
    assert seen + items.count() == everything
    editor.page.screenshot(path=PICTURES / f"narrow-{size[0]}-{'vue' if editor.vue else 'classic'}.png")
    menus = {"Templates", "Snapping and grid", "Copy, paste, files"} & set(items.all_inner_texts())
    for name in menus:
        items.filter(has_text=name).click()
        expect(editor.root.locator(f".ic-menu[aria-label='{name}']")).to_be_visible()
        editor.press("Escape")
        editor.button("More tools").click()
    assert menus or size[0] > 300
    editor.press("Escape")
    assert toolbar.locator("button[tabindex='0']").count() == 1
    editor.root.evaluate("(element) => { element.style.width = ''; }")
    editor.settle()
    expect(editor.button("More tools")).to_be_hidden()


def test_the_large_editor_can_be_closed_on_a_telephone(editor):
    page = editor.page
    page.set_viewport_size({"width": 390, "height": 844})
    try:
        editor.root.locator(".ic-keys").focus()
        editor.press("f")
        dialog = page.locator("dialog[open]")
        close = dialog.get_by_role("button", name="Back to the node", exact=True)
        box = close.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        close.click()
        expect(dialog).to_have_count(0)
    finally:
        page.set_viewport_size({"width": 1500, "height": 950})


@pytest.mark.one_front_end
def test_scroll_bars_are_as_dark_as_the_editor(editor):
    scheme = "(element) => getComputedStyle(element).colorScheme"
    assert editor.root.evaluate(scheme) == "dark"
    editor.root.evaluate("(element) => { element.dataset.theme = 'light'; }")
    assert editor.root.evaluate(scheme) == "light"


@pytest.mark.one_front_end
def test_captions_of_crowded_regions_do_not_lie_over_one_another(editor):
    """Twelve regions over one another: the numbers are all there, words where there is room."""
    instances = [
        {
            "id": str(at + 1),
            "caption": f"a little wooden house number {at + 1} with a red roof",
            "box": [0.1 + 0.03 * at, 0.1 + 0.01 * at, 0.5 + 0.03 * at, 0.55 + 0.03 * at],
        }
        for at in range(12)
    ]
    editor.set_text(
        json.dumps({"version": 1, "canvas": {"width": 1024, "height": 1024}, "instances": instances})
    )
    rects = """() => [...document.querySelectorAll('.ic-label')].filter((one) => one.offsetParent)
      .flatMap((label) => [...label.children].filter((part) => part.offsetParent).map((part) => {
        const { left, top, right, bottom } = part.getBoundingClientRect();
        return [left, top, right, bottom];
      }))"""

    def overlaps():
        seen = editor.page.evaluate(rects)
        return [
            (one, other)
            for at, one in enumerate(seen)
            for other in seen[at + 1 :]
            if one[0] < other[2] - 1
            and other[0] < one[2] - 1
            and one[1] < other[3] - 1
            and other[1] < one[3] - 1
        ]

    for size in (20, 11):
        editor.button("Picture under the regions").click()
        editor.root.get_by_label("Size", exact=True).evaluate(
            """(input, size) => {
              input.value = size;
              input.dispatchEvent(new Event('input', { bubbles: true }));
            }""",
            size,
        )
        editor.press("Escape")
        editor.page.screenshot(path=PICTURES / f"labels-{size}-{'vue' if editor.vue else 'classic'}.png")
        assert overlaps() == []
        font = editor.root.locator(".ic-label").last.evaluate("(one) => getComputedStyle(one).fontSize")
        assert font == f"{size}px"
    assert editor.root.locator(".ic-label .ic-words:visible").count() > 0
    editor.button("Picture under the regions").click()
    editor.root.get_by_role("menuitemcheckbox", name="Numbers only").click()
    editor.settle()
    expect(editor.root.locator(".ic-label .ic-words:visible")).to_have_count(0)
    assert editor.root.locator(".ic-label .ic-chip:visible").count() == 12
    assert overlaps() == []
    editor.button("Picture under the regions").click()
    editor.root.get_by_role("menuitemcheckbox", name="No labels").click()
    editor.settle()
    expect(editor.root.locator(".ic-label .ic-chip:visible")).to_have_count(0)


@pytest.mark.one_front_end
def test_the_request_for_a_chat_model_is_copied_and_its_answer_pasted(editor):
    editor.root.get_by_label("Prompt of the whole picture", exact=True).fill("a harbour at dawn")
    editor.press("Tab")
    editor.button("Copy, paste, files").click()
    editor.root.get_by_role("menuitem", name="Paste a layout").click()
    sheet = editor.root.get_by_role("dialog")
    sheet.get_by_role("button", name="Copy the request for a chat model").click()
    expect(editor.root.locator(".ic-toast")).to_contain_text("Copied")
    request = editor.page.evaluate("() => navigator.clipboard.readText()")
    assert "a harbour at dawn" in request
    assert "1024 × 1024" in request
    answer = next(line for line in request.splitlines() if line.startswith('{"version"'))
    sheet.get_by_role("textbox").first.fill(f"Sure!\n```json\n{answer}\n```")
    sheet.get_by_role("button", name="Replace").click()
    editor.settle()
    assert len(editor.instances()) >= 2
