"""Mouse, pen and fingers on the stage, at several zooms of the graph."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

NEAR = 0.012  # a pixel or two of a small stage


def near(boxes):
    return [pytest.approx(box, abs=NEAR) for box in boxes]


@pytest.fixture
def free(editor):
    """The editor with snapping off, so that boxes land where the pointer goes."""
    editor.click(0.02, 0.02)
    if editor.button("Snapping and grid").get_attribute("aria-pressed") == "true":
        editor.press("s")
    return editor


@pytest.mark.parametrize("zoom", [0.5, 1, 1.7])
def test_a_box_lands_where_it_is_drawn_whatever_the_zoom_of_the_graph(free, zoom):
    free.page.evaluate(
        """(zoom) => {
          app.canvas.ds.scale = zoom;
          app.canvas.ds.offset = zoom > 1 ? [-220, -190] : [100, 60];
          app.canvas.setDirty(true, true);
        }""",
        zoom,
    )
    free.page.wait_for_timeout(300)
    free.draw((0.1, 0.2, 0.5, 0.6), "a red fox", typed=True)
    assert free.boxes() == near([[0.1, 0.2, 0.5, 0.6]])
    free.drag((0.3, 0.4), (0.5, 0.5))
    assert free.boxes() == near([[0.3, 0.3, 0.7, 0.7]])
    free.drag((0.7, 0.7), (0.9, 0.8))
    assert free.boxes() == near([[0.3, 0.3, 0.9, 0.8]])
    assert free.instances()[0]["caption"] == "a red fox"


def test_presses_that_hardly_move_make_nothing_and_clear_the_selection(editor):
    editor.draw((0.1, 0.1, 0.4, 0.4))
    expect(editor.root.locator(".ic-handle")).to_have_count(8)
    editor.drag((0.7, 0.7), (0.704, 0.704))
    editor.click(0.8, 0.8)
    assert len(editor.instances()) == 1
    expect(editor.root.locator(".ic-handle")).to_have_count(0)


def test_keys_held_change_what_a_drag_draws(free):
    free.drag((0.1, 0.1), (0.4, 0.3), keys=("Shift",))
    free.press("Escape")
    square = free.boxes()[0]
    assert square[2] - square[0] == pytest.approx(square[3] - square[1], abs=0.001)
    free.drag((0.2, 0.2), (0.35, 0.3), keys=("Control",))  # over the first one
    free.press("Escape")
    free.drag((0.7, 0.7), (0.8, 0.8), keys=("Alt",))
    assert free.boxes()[1:] == near([[0.2, 0.2, 0.35, 0.3], [0.6, 0.6, 0.8, 0.8]])


@pytest.mark.one_front_end
def test_edges_snap_to_grid_thirds_and_other_regions_and_show_it(editor):
    editor.draw((0.1, 0.1, 0.34, 0.3))
    assert editor.boxes()[0][2] == pytest.approx(1 / 3, abs=1e-4)
    editor.draw((0.5, 0.305, 0.7, 0.6))
    first, second = editor.boxes()
    assert second[1] == pytest.approx(first[3], abs=1e-4)
    grid = second[0] * 1024 / 16
    assert grid == pytest.approx(round(grid), abs=1e-2)
    mouse = editor.page.mouse
    mouse.move(*editor.point(0.6, 0.5))
    mouse.down()
    mouse.move(*editor.point(0.6, 0.502), steps=3)
    mouse.move(*editor.point(0.6, 0.45), steps=3)
    mouse.move(*editor.point(0.6, 0.5), steps=3)
    editor.settle()
    assert editor.root.locator(".ic-guide").count() > 0
    mouse.up()


@pytest.mark.one_front_end
def test_clicks_choose_among_overlapping_regions(editor):
    editor.draw((0.1, 0.1, 0.7, 0.7))
    editor.drag((0.3, 0.3), (0.9, 0.9), keys=("Control",))
    editor.press("Escape", "Escape")
    pressed = editor.root.locator(".ic-pick[aria-pressed=true]")
    editor.click(0.5, 0.5)
    expect(pressed).to_contain_text("2")
    editor.page.keyboard.down("Alt")
    editor.click(0.5, 0.5)
    expect(pressed).to_contain_text("1")
    editor.click(0.5, 0.5)
    editor.page.keyboard.up("Alt")
    expect(pressed).to_contain_text("2")


def test_a_marquee_selects_and_a_group_moves_and_resizes_together(free):
    free.draw((0.1, 0.1, 0.3, 0.3))
    free.draw((0.5, 0.1, 0.7, 0.3))
    free.draw((0.1, 0.7, 0.3, 0.9))
    free.press("v")
    free.drag((0.05, 0.05), (0.75, 0.35))
    expect(free.root.locator(".ic-pick[aria-pressed=true]")).to_have_count(2)
    free.drag((0.2, 0.2), (0.3, 0.3))
    assert free.boxes() == near([[0.2, 0.2, 0.4, 0.4], [0.6, 0.2, 0.8, 0.4], [0.1, 0.7, 0.3, 0.9]])
    free.drag((0.8, 0.4), (0.5, 0.3))
    assert free.boxes()[:2] == near([[0.2, 0.2, 0.3, 0.3], [0.4, 0.2, 0.5, 0.3]])
    free.press("r")


@pytest.mark.one_front_end
def test_locked_regions_stay_and_let_the_pointer_through(editor):
    editor.draw((0.1, 0.1, 0.5, 0.5))
    editor.press("Control+l")
    editor.click(0.8, 0.8)
    editor.draw((0.2, 0.2, 0.4, 0.4))
    assert len(editor.instances()) == 2
    assert editor.instances()[0]["locked"] is True
    editor.root.locator(".ic-pick").last.click()
    editor.press("ArrowRight", "Delete")
    assert editor.boxes()[0][0] == pytest.approx(0.1, abs=NEAR)
    assert len(editor.instances()) == 2


@pytest.mark.one_front_end
def test_polygons_are_clicked_their_corners_dragged_inserted_and_removed(free):
    free.press("p")
    for corner in ((0.2, 0.2), (0.6, 0.2), (0.6, 0.6)):
        free.click(*corner)
    free.press("Enter")
    free.page.keyboard.type("a kite")
    free.press("Enter")
    (kite,) = free.instances()
    assert kite["mask"]["polygon"] == near([[0.2, 0.2], [0.6, 0.2], [0.6, 0.6]])
    assert kite["caption"] == "a kite"
    free.press("r")
    free.drag((0.6, 0.6), (0.7, 0.8))
    free.drag((0.4, 0.2), (0.4, 0.1))
    corners = free.instances()[0]["mask"]["polygon"]
    assert corners == near([[0.2, 0.2], [0.4, 0.1], [0.6, 0.2], [0.7, 0.8]])
    free.page.keyboard.down("Alt")
    free.click(0.4, 0.1)
    free.page.keyboard.up("Alt")
    assert len(free.instances()[0]["mask"]["polygon"]) == 3


@pytest.mark.one_front_end
def test_the_brush_paints_a_shape_and_the_eraser_takes_from_it(free):
    free.press("b")
    free.drag((0.3, 0.5), (0.7, 0.5))
    (painted,) = free.instances()
    assert painted["box"][0] < 0.3 < 0.7 < painted["box"][2]
    free.press("e")
    free.drag((0.5, 0.3), (0.5, 0.7))
    (erased,) = free.instances()
    covered = [sum(one["mask"]["rle"]["counts"][1::2]) for one in (painted, erased)]
    assert 0 < covered[1] < covered[0]
    free.press("Control+z", "Control+z")
    assert free.instances() == []
    free.press("r")


def test_escape_takes_back_a_drag_under_way(free):
    free.draw((0.1, 0.1, 0.4, 0.4))
    before = free.text()
    mouse = free.page.mouse
    mouse.move(*free.point(0.2, 0.2))
    mouse.down()
    mouse.move(*free.point(0.6, 0.6), steps=4)
    free.press("Escape")
    mouse.up()
    free.settle()
    assert free.text() == before
    free.drag((0.2, 0.2), (0.3, 0.3))
    free.press("Control+z")
    assert free.text() == before


def test_a_drag_that_pauses_is_one_step_and_keys_wait_for_its_end(free):
    free.draw((0.1, 0.1, 0.4, 0.4), "a red fox")
    before = free.text()
    mouse = free.page.mouse
    mouse.move(*free.point(0.2, 0.2))
    mouse.down()
    mouse.move(*free.point(0.3, 0.3), steps=4)
    free.page.wait_for_timeout(1200)  # longer than what ends a burst of typing
    mouse.move(*free.point(0.4, 0.4), steps=4)
    free.press("Delete", "Control+z", "ArrowRight", "Control+x")
    mouse.move(*free.point(0.5, 0.5), steps=4)
    mouse.up()
    free.settle()
    assert free.boxes() == near([[0.4, 0.4, 0.7, 0.7]])
    free.press("Control+z")
    assert free.text() == before


PRESS = """(stage, [type, pointerType, pointerId, button, x, y]) => {
  const options = { pointerType, pointerId, button, clientX: x, clientY: y, isPrimary: true, bubbles: true };
  stage.dispatchEvent(new PointerEvent(type, { ...options, cancelable: true }));
}"""


def send(editor, kind, pointer, number, button, place):
    editor.stage.evaluate(PRESS, [f"pointer{kind}", pointer, number, button, *editor.point(*place)])


def test_a_pen_draws_though_a_menu_took_the_release_of_the_mouse(free):
    """Where menus open with the press, the release of the right button is theirs."""
    send(free, "down", "mouse", 1, 2, (0.8, 0.8))
    for kind, place in (("down", (0.1, 0.1)), ("move", (0.2, 0.2)), ("move", (0.4, 0.4)), ("up", (0.4, 0.4))):
        send(free, kind, "pen", 7, 0, place)
    free.press("Escape")
    assert free.boxes() == near([[0.1, 0.1, 0.4, 0.4]])


def test_the_presses_of_a_double_click_set_one_corner(free):
    free.press("p")
    for corner in ((0.2, 0.2), (0.6, 0.2)):
        free.click(*corner)
    free.click(0.6, 0.6, click_count=2)
    free.press("Escape")
    assert free.instances()[0]["mask"]["polygon"] == near([[0.2, 0.2], [0.6, 0.2], [0.6, 0.6]])
    free.click(0.1, 0.9)
    free.click(0.8, 0.9, click_count=2)
    assert len(free.instances()) == 1, "a line is no shape"
    for corner in ((0.1, 0.8), (0.2, 0.8), (0.3, 0.8)):
        free.click(*corner)
    free.press("Enter")
    assert len(free.instances()) == 1
    expect(free.root.locator(".ic-toast")).to_contain_text("cover nothing")
    free.press("r")


def test_a_second_finger_leaves_the_corners_that_were_set(free):
    free.press("p")
    for corner in ((0.2, 0.2), (0.6, 0.2), (0.6, 0.6)):
        free.click(*corner)
    for kind in ("down", "up"):
        for number, place in ((11, (0.3, 0.8)), (12, (0.5, 0.9))):
            send(free, kind, "touch", number, 0, place)
    free.press("Enter", "Escape")
    assert free.instances()[0]["mask"]["polygon"] == near([[0.2, 0.2], [0.6, 0.2], [0.6, 0.6]])
    free.press("r")


@pytest.mark.one_front_end
def test_the_outline_of_several_parts_is_that_of_the_largest(free):
    rows = [0] * 100 * 100
    for column in range(40, 90):
        for row in range(20, 80):
            rows[column * 100 + row] = 1
    for step in range(5, 10):  # many corners, little area
        rows[step * 100 + step] = rows[(step + 1) * 100 + step] = 1
    counts, value = [0], 0
    for pixel in rows:
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    mask = {"rle": {"size": [100, 100], "counts": counts}}
    instance = {"id": "1", "box": [0.05, 0.05, 0.9, 0.8], "caption": "a red fox", "mask": mask}
    canvas = {"width": 1024, "height": 1024}
    free.set_text(json.dumps({"version": 1, "canvas": canvas, "instances": [instance]}))
    free.click(0.6, 0.5, button="right")
    free.root.get_by_role("menuitem", name="Edit the outline").click()
    free.settle()
    assert free.boxes() == near([[0.4, 0.2, 0.9, 0.8]])


def test_a_finger_draws_a_second_one_cancels_and_one_that_rests_opens_the_menu(other_page, page):
    touch = other_page(page.vue, has_touch=True)
    touch.open()
    touch.add_node()
    # Each press gives this text area the focus: no keyboard is to come up on the screen.
    expect(touch.stage.locator(".ic-keys")).to_have_attribute("inputmode", "none")
    session = touch.page.context.new_cdp_session(touch.page)

    def send(kind, *points):
        places = [
            {"x": x, "y": y, "id": number}
            for number, (x, y) in enumerate(touch.point(*one) for one in points)
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def stroke(*points):
        send("touchStart", points[0])
        for point in points[1:]:
            send("touchMove", point)
        send("touchEnd")
        touch.settle()

    stroke((0.1, 0.1), (0.3, 0.3), (0.5, 0.5))
    assert len(touch.instances()) == 1
    stroke((0.3, 0.3), (0.4, 0.4), (0.6, 0.6))
    assert touch.boxes()[0][0] == pytest.approx(0.4, abs=0.03)
    send("touchStart", (0.1, 0.8))
    send("touchMove", (0.2, 0.9))
    send("touchStart", (0.2, 0.9), (0.8, 0.2))
    send("touchMove", (0.3, 0.95), (0.8, 0.2))
    send("touchEnd")
    touch.settle()
    assert len(touch.instances()) == 1
    menu = touch.page.get_by_role("menu")
    expect(menu).to_have_count(0)
    send("touchStart", (0.5, 0.5))
    expect(menu).to_be_visible()
    send("touchEnd")
    assert len(touch.instances()) == 1
    assert touch.problems == []
