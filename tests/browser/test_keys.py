"""Everything by keyboard, and ComfyUI's own shortcuts left alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

PIXEL = 1 / 1024


def place(editor):
    return [round(value / PIXEL) for value in editor.boxes()[0]]


@pytest.fixture
def drawn(editor):
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    return editor


def test_arrows_move_by_a_pixel_by_ten_and_resize_as_one_step_each_run(drawn):
    left, top, right, bottom = place(drawn)
    drawn.press("ArrowRight", "Shift+ArrowRight", "ArrowUp")
    assert place(drawn) == [left + 11, top - 1, right + 11, bottom - 1]
    drawn.press("Alt+ArrowDown", "Alt+Shift+ArrowLeft")
    assert place(drawn) == [left + 11, top - 1, right + 1, bottom]
    drawn.page.keyboard.down("ArrowDown")
    for _ in range(4):
        drawn.page.keyboard.down("ArrowDown")
    drawn.page.keyboard.up("ArrowDown")
    drawn.settle()
    assert place(drawn)[1] == top + 4
    drawn.press("Control+z")
    assert place(drawn)[1] == top - 1


@pytest.mark.one_front_end
def test_the_place_is_typed_and_resized_whatever_tool_is_in_hand(drawn):
    left, top, right, bottom = place(drawn)
    for tool, at in (("b", 100), ("p", 120), ("v", 140)):
        drawn.press(tool)
        drawn.root.get_by_label("Left edge in pixels").fill(str(at))
        drawn.press("Enter", "Escape")
        assert place(drawn)[0] == at, tool
    drawn.press("e", "Alt+ArrowRight")
    assert place(drawn) == [140, top, 141 + right - left, bottom]
    drawn.press("r")


@pytest.mark.one_front_end
def test_a_place_beyond_the_canvas_is_refused_with_what_there_is_room_for(drawn):
    left, top, right, bottom = place(drawn)
    live = drawn.root.locator("[aria-live=polite]").last
    for label, value, room in (
        ("Left edge in pixels", 1024 - (right - left) + 1, f"0 to {1024 - (right - left)}"),
        ("Top edge in pixels", -1, f"0 to {1024 - (bottom - top)}"),
        ("Width in pixels", 1024 - left + 1, f"1 to {1024 - left}"),
    ):
        drawn.root.get_by_label(label).fill(str(value))
        drawn.press("Enter")
        expect(live).to_contain_text(room)
        expect(drawn.root.get_by_label(label)).to_have_attribute("aria-invalid", "true")
        assert place(drawn) == [left, top, right, bottom], label
    drawn.root.get_by_label("Left edge in pixels").fill(str(1024 - (right - left)))
    drawn.press("Enter")
    assert place(drawn) == [1024 - (right - left), top, 1024, bottom]


@pytest.mark.one_front_end
def test_a_menu_left_by_escape_gives_the_keys_back_where_they_were(drawn):
    before = place(drawn)
    drawn.press("ArrowRight")
    templates = drawn.root.get_by_role("button", name="Templates", exact=True)
    templates.click()
    drawn.press("Escape", "Control+z")
    assert place(drawn) == before, "the mouse opened it: the editor has the keys"
    templates.focus()
    drawn.press("Enter", "Escape")
    expect(templates).to_be_focused()


@pytest.mark.one_front_end
def test_a_refusal_is_not_followed_by_what_did_not_happen(drawn):
    live = drawn.root.locator("[aria-live=polite]").last
    drawn.press("Control+l", "Delete")
    expect(live).to_contain_text("locked")
    drawn.press("Escape", "Control+d")
    expect(live).to_contain_text("Select")
    assert len(drawn.instances()) == 1


@pytest.mark.one_front_end
def test_what_is_said_of_the_run_can_be_marked_with_the_mouse(drawn):
    pressed = """(root, [part, isSevere]) => {
      root.querySelector('.ic-status-line').toggleAttribute('data-severe', isSevere);
      const event = new MouseEvent('mousedown', { bubbles: true, cancelable: true });
      root.querySelector(part).dispatchEvent(event);
      return event.defaultPrevented;
    }"""
    for part, is_severe, is_kept in (
        (".ic-joined", False, False),
        (".ic-status-text", True, False),
        (".ic-status-text", False, True),
        (".ic-head", False, True),
    ):
        assert drawn.root.evaluate(pressed, [part, is_severe]) is is_kept, part


def test_a_layout_without_a_pointer(editor):
    editor.stage.locator(".ic-keys").focus()
    editor.press("n")
    editor.page.keyboard.type("a white owl")
    editor.press("Enter", "Control+d", "Tab", "Shift+Tab", "]", "2", "F2")
    editor.page.keyboard.type("copy")
    editor.press("Enter")
    assert [one["id"] for one in editor.instances()] == ["1", "copy"]
    assert [one["caption"] for one in editor.instances()] == ["a white owl", "a white owl"]
    editor.press("[")
    assert [one["id"] for one in editor.instances()] == ["copy", "1"]
    editor.press("Control+l", "Control+Shift+h")
    assert editor.instances()[0]["locked"] is True
    assert editor.instances()[0]["enabled"] is False
    editor.press("Control+a", "Delete")
    assert [one["id"] for one in editor.instances()] == ["copy"]


def test_undo_and_redo_are_the_editors_own(drawn):
    drawn.draw((0.6, 0.6, 0.9, 0.9))
    drawn.press("Delete")
    assert len(drawn.instances()) == 1
    drawn.press("Control+z")
    assert len(drawn.instances()) == 2
    drawn.press("Control+y")
    assert len(drawn.instances()) == 1
    for _ in range(8):
        drawn.press("Control+z")
    drawn.page.wait_for_timeout(150)
    assert drawn.instances() == []
    assert drawn.page.evaluate("() => app.graph.nodes.length") == 1, "the graph's own undo must not have run"
    drawn.press("Control+Shift+z", "Control+Shift+z")
    assert drawn.instances()[0]["caption"] == "a red fox"


def test_shortcuts_of_the_graph_do_not_run_while_drawing(drawn):
    """Undo, copy and paste of nodes, bypass, mute, collapse, panels: all need the focus to be elsewhere."""
    state = (
        "() => [app.graph.nodes.length, app.graph.nodes[0].mode, app.graph.nodes[0].flags.collapsed ?? false]"
    )
    before = drawn.page.evaluate(state)
    drawn.press("Control+c", "Control+v")
    assert len(drawn.instances()) == 2
    drawn.press("Control+b", "Control+m", "Alt+c", "w", "q", "Control+g", "Backspace")
    drawn.page.wait_for_timeout(200)
    assert drawn.page.evaluate(state) == before
    assert drawn.page.evaluate("() => app.extensionManager.sidebarTab.activeSidebarTabId ?? null") is None
    assert len(drawn.instances()) == 1


def test_shortcuts_of_the_graph_do_not_run_while_typing(drawn):
    drawn.press("Enter")
    drawn.page.keyboard.type("a fox w q r v b")
    drawn.press("Control+b", "Control+m", "Control+z")
    assert drawn.page.evaluate("() => [app.graph.nodes.length, app.graph.nodes[0].mode]") == [1, 0]
    drawn.press("Escape")
    assert drawn.instances()[0]["caption"] == "a red fox"


def test_queueing_and_saving_still_reach_comfyui(drawn):
    drawn.page.evaluate(
        """() => {
          window.seen = [];
          window.addEventListener('keydown', (event) => window.seen.push(event.key));
        }"""
    )
    drawn.press("ArrowRight")
    assert "ArrowRight" not in drawn.page.evaluate("() => window.seen")
    drawn.page.evaluate("() => { window.queue = app.queuePrompt; app.queuePrompt = () => true; }")
    drawn.press("Control+Enter")
    drawn.page.evaluate("() => { app.queuePrompt = window.queue; }")
    assert "Enter" in drawn.page.evaluate("() => window.seen")


def test_queueing_and_saving_go_on_in_the_large_editor(drawn):
    drawn.page.evaluate(
        """() => {
          window.queue = app.queuePrompt;
          window.queued = 0;
          app.queuePrompt = () => (window.queued += 1);
          window.addEventListener('keydown', (event) => {
            if (event.ctrlKey && event.key !== 'Control')
              setTimeout(() => (window.prevented = [event.key, event.defaultPrevented]));
          }, true);
        }"""
    )
    large = drawn.page.locator("dialog[open].ic-dialog")
    drawn.press("f")
    expect(large).to_be_visible()
    drawn.draw((0.6, 0.6, 0.9, 0.9))
    drawn.press("Enter")
    drawn.page.keyboard.type("a lamp")
    drawn.press("Control+Enter")
    drawn.page.wait_for_function("() => window.queued === 1")
    drawn.page.evaluate("() => { app.queuePrompt = window.queue; }")
    assert drawn.instances()[-1]["caption"] == "a lamp"
    expect(large).to_be_visible()
    # The workflow has no name yet: ComfyUI's question for one would lie below.
    drawn.press("Control+s")
    drawn.page.wait_for_function("() => window.prevented?.[0] === 's'")
    assert drawn.page.evaluate("() => window.prevented") == ["s", True]
    expect(large).to_have_count(0)
    name = drawn.page.get_by_role("dialog").locator("input")
    expect(name).to_be_visible()
    drawn.page.keyboard.press("Escape")
    expect(name).to_have_count(0)


def test_escape_then_tab_leaves_the_stage(drawn):
    drawn.press("Escape", "Escape", "Tab")
    assert not drawn.page.evaluate("() => document.activeElement.classList.contains('ic-keys')")


@pytest.mark.one_front_end
def test_the_toolbar_is_one_stop_with_arrows_between_its_buttons(drawn):
    drawn.button("Draw boxes").focus()
    drawn.press("ArrowRight", "ArrowRight")
    expect(drawn.button("Draw a polygon")).to_be_focused()
    assert drawn.root.get_by_role("toolbar").locator("button[tabindex='0']").count() == 1


def test_the_large_editor_opens_undoes_and_closes(drawn):
    drawn.press("f")
    dialog = drawn.page.locator("dialog[open]")
    expect(dialog).to_be_visible()
    drawn.draw((0.6, 0.6, 0.9, 0.9), "a lamp")
    assert len(drawn.instances()) == 2
    drawn.press("Control+z", "Control+z")
    assert len(drawn.instances()) == 1
    drawn.page.mouse.move(*drawn.point(0.5, 0.5))
    drawn.page.mouse.wheel(0, -400)
    drawn.settle()
    assert drawn.root.locator(".ic-paper").first.bounding_box()["width"] > dialog.bounding_box()["height"]
    before = drawn.point(0, 0)
    drawn.drag((0.5, 0.5), (0.55, 0.45), keys=("Space",))
    after = drawn.point(0, 0)
    assert after[0] > before[0] + 10, "dragging with the space bar held moves the canvas"
    assert after[1] < before[1] - 10
    assert len(drawn.instances()) == 1
    drawn.press("0", "Escape", "Escape", "Escape")
    expect(dialog).to_have_count(0)
    expect(drawn.stage).to_be_visible()
    drawn.press("ArrowRight")
    assert drawn.page.evaluate("() => app.graph.nodes.length") == 1
