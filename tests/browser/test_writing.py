"""Captions, the list, problems, templates, and layouts coming in and going out."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib

import pytest
from comfyui_location import REPOSITORY
from playwright.sync_api import expect

FORMATS = (
    "Layout document",
    "COCO annotations",
    "Omost canvas",
    "Ideogram elements",
    "FLUX 3 prompt",
    "IFAdapter dataset layout",
    "ComfyUI bounding boxes",
    "Language model JSON",
    "Plain lines",
)
PICTURES = REPOSITORY / "output" / "browser"
COUNTED = 122  # four for each of thirty words, and start and end
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>{{7*7}}\u202e\u0007'


@pytest.fixture
def drawn(editor):
    editor.draw((0.1, 0.1, 0.45, 0.5), "a red fox")
    editor.draw((0.55, 0.1, 0.9, 0.5), "a white owl")
    return editor


def paste(editor, text):
    editor.page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
    editor.click(0.02, 0.97)
    editor.press("Control+v")


@pytest.mark.one_front_end
def test_captions_and_negatives_are_written_in_the_list(drawn):
    drawn.root.locator(".ic-pick").first.click()
    drawn.root.get_by_label("Caption", exact=True).last.fill("a snowy owl")
    drawn.button("+ Negative").click()
    drawn.root.get_by_label("Negative", exact=True).fill("cartoon")
    drawn.settle()
    owl = drawn.instances()[1]
    assert (owl["caption"], owl["negative"]) == ("a snowy owl", "cartoon")
    drawn.root.get_by_label("Prompt of the whole picture", exact=True).fill("a forest")
    drawn.settle()
    assert drawn.document()["prompt"] == "a forest"


@pytest.mark.one_front_end
def test_strength_part_of_the_run_and_colour(drawn):
    drawn.root.locator(".ic-pick").last.click()
    drawn.root.get_by_role("spinbutton", name="Strength").fill("1.5")
    drawn.press("Tab")
    drawn.root.get_by_label("From which part of the run").evaluate(
        "(input) => { input.value = 0.2; input.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    drawn.root.get_by_label("Until which part of the run").evaluate(
        "(input) => { input.value = 0.1; input.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    drawn.root.get_by_label("Colour").evaluate(
        "(input) => { input.value = '#123456'; input.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    drawn.settle()
    fox = drawn.instances()[0]
    assert (fox["strength"], fox["start"], fox["color"]) == (1.5, 0.2, "#123456")
    assert fox["end"] == pytest.approx(0.21), "end stops at start"
    drawn.root.get_by_role("spinbutton", name="Strength").fill("99")
    drawn.press("Tab")
    assert drawn.instances()[0]["strength"] == 1.5
    expect(drawn.root.locator(".ic-toast")).to_contain_text("0 to 5")


@pytest.mark.one_front_end
def test_the_list_changes_the_stacking_order_by_dragging_and_by_keys(drawn):
    drawn.draw((0.1, 0.6, 0.4, 0.9), "a lamp")
    drawn.press("Escape")
    grips = drawn.root.locator(".ic-grip")
    start, end = grips.first.bounding_box(), grips.last.bounding_box()
    drawn.page.mouse.move(start["x"] + 6, start["y"] + 10)
    drawn.page.mouse.down()
    drawn.page.mouse.move(end["x"] + 6, end["y"] + 18, steps=6)
    drawn.page.mouse.up()
    drawn.settle()
    assert [one["caption"] for one in drawn.instances()] == ["a lamp", "a red fox", "a white owl"]
    expect(drawn.root.locator(".ic-pick").first).to_contain_text("a white owl")
    drawn.button("Move instance 3 in the stack: drag, or arrow keys").focus()
    drawn.press("ArrowUp")
    assert [one["id"] for one in drawn.instances()] == ["1", "3", "2"]


@pytest.mark.one_front_end
def test_a_long_list_scrolls_while_a_line_is_dragged_to_its_edge(editor):
    boxes = [[0.04 * n, 0.1, 0.04 * n + 0.2, 0.5] for n in range(20)]
    instances = [{"id": str(n), "box": box, "caption": f"thing {n}"} for n, box in enumerate(boxes)]
    canvas = {"width": 1024, "height": 1024}
    editor.set_text(json.dumps({"version": 1, "canvas": canvas, "instances": instances}))
    scroll = editor.root.locator(".ic-scroll")
    expect(scroll.locator(".ic-item")).to_have_count(20)
    grip, room = editor.root.locator(".ic-grip").first.bounding_box(), scroll.bounding_box()
    editor.page.mouse.move(grip["x"] + 6, grip["y"] + 10)
    editor.page.mouse.down()
    editor.page.mouse.move(grip["x"] + 6, room["y"] + room["height"] - 4, steps=4)
    editor.page.wait_for_function(
        "(element) => element.scrollTop + element.clientHeight >= element.scrollHeight - 24",
        arg=scroll.element_handle(),
    )
    editor.settle()
    editor.page.mouse.up()
    editor.settle()
    # The front one, shown first, is behind all others now.
    assert [one["id"] for one in editor.instances()] == ["19", *(str(n) for n in range(19))]


@pytest.mark.one_front_end
def test_eye_lock_and_name_in_the_list(drawn):
    drawn.root.locator(".ic-item").last.hover()
    drawn.button("Leave out instance 1").click()
    drawn.button("Lock instance 1").click()
    drawn.settle()
    fox = drawn.instances()[0]
    assert (fox["enabled"], fox["locked"]) == (False, True)
    drawn.root.locator(".ic-item").first.locator(".ic-chip").dblclick()
    drawn.page.keyboard.type("owl")
    drawn.press("Enter")
    assert drawn.instances()[1]["id"] == "owl"


@pytest.mark.one_front_end
def test_hostile_captions_stay_text(editor):
    document = {"version": 1, "canvas": {"width": 1024, "height": 1024}}
    document["instances"] = [
        {"id": HOSTILE, "box": [0.1, 0.1, 0.9, 0.9], "caption": HOSTILE, "negative": HOSTILE}
    ]
    editor.set_text(json.dumps(document))
    editor.click(0.5, 0.5)
    editor.page.wait_for_timeout(400)
    expect(editor.root.locator(".ic-label .ic-words")).to_have_text(HOSTILE)
    assert editor.root.locator("img, script").count() == 0
    assert editor.page.evaluate("() => window.hacked") is None


@pytest.mark.one_front_end
def test_hostile_colours_stay_colours(editor):
    color = "red;position:fixed;inset:0;background:url(http://elsewhere.test/x.png)"
    instance = {"id": "1", "box": [0.1, 0.1, 0.9, 0.9], "caption": "a red fox", "color": color}
    canvas = {"width": 1024, "height": 1024}
    asked = []
    editor.page.on("request", lambda request: asked.append(request.url))
    editor.set_text(json.dumps({"version": 1, "canvas": canvas, "instances": [instance]}))
    editor.page.wait_for_timeout(300)
    expect(editor.root.locator(".ic-item")).to_have_css("position", "relative")
    assert not [url for url in asked if "elsewhere" in url]
    assert editor.instances()[0]["color"] == color, "what the document says stays until it is mended"


# Safari has already ended the composition when it tells of the key that did so.
COMPOSING = """(field, key) => {
  for (const whose of [{ isComposing: true }, { isComposing: false, keyCode: 229 }])
    field.dispatchEvent(new KeyboardEvent('keydown', { key, ...whose, bubbles: true, cancelable: true }));
}"""


def test_keys_of_an_input_method_are_its_own(drawn):
    """Enter takes a word and Escape leaves its choice: neither ends the field that is written in."""
    drawn.press("1", "Enter")
    inline = drawn.root.locator(".ic-inline textarea")
    inline.fill("一只狐狸")
    for key in ("Escape", "Enter"):
        inline.evaluate(COMPOSING, key)
    expect(inline).to_be_focused()
    drawn.press("Enter")
    assert drawn.instances()[0]["caption"] == "一只狐狸"
    caption = drawn.root.get_by_label("Caption", exact=True).last
    caption.focus()
    caption.evaluate(COMPOSING, "Enter")
    expect(caption).to_be_focused()
    drawn.press("Enter")
    drawn.press("F2")
    name = drawn.root.get_by_label("Name", exact=True)
    name.fill("huli")
    for key in ("Escape", "Enter"):
        name.evaluate(COMPOSING, key)
    expect(name).to_be_focused()
    name.fill("狐狸")
    drawn.press("Enter")
    assert drawn.instances()[0]["id"] == "狐狸"
    drawn.press("?")
    sheet = drawn.root.get_by_role("dialog")
    sheet.evaluate(COMPOSING, "Escape")
    expect(sheet).to_be_visible()
    drawn.press("Escape")
    expect(sheet).to_have_count(0)


@pytest.mark.one_front_end
def test_a_part_of_the_run_is_set_for_several_without_the_other_end(drawn):
    document = drawn.document()
    document["instances"][1]["end"] = 0.5
    drawn.set_text(json.dumps(document))
    drawn.click(0.02, 0.97)
    drawn.press("Control+a")
    drawn.root.get_by_label("From which part of the run").fill("0.25")
    drawn.settle()
    assert [(one["start"], one.get("end", 1)) for one in drawn.instances()] == [(0.25, 1), (0.25, 0.5)]


@pytest.mark.one_front_end
def test_a_wrong_number_is_marked_until_another_instance_is_shown(drawn):
    drawn.press("1")
    strength = drawn.root.get_by_role("spinbutton", name="Strength")
    strength.fill("9")
    drawn.press("Enter")
    expect(strength).to_have_attribute("aria-invalid", "true")
    drawn.press("Escape", "2")
    expect(strength).to_have_value("1")
    expect(strength).not_to_have_attribute("aria-invalid", "true")


def _list_problems(toggle):
    """The list stays open from editor to editor where it was."""
    if toggle.get_attribute("aria-expanded") == "false":
        toggle.click()


@pytest.mark.one_front_end
def test_problems_are_listed_with_a_way_out(editor):
    editor.draw((0.1, 0.1, 0.4, 0.4))
    editor.page.wait_for_timeout(300)
    toggle = editor.root.locator(".ic-status-line button").first
    expect(toggle).to_contain_text("note")
    _list_problems(toggle)
    problem = editor.root.locator(".ic-problem").filter(has=editor.page.locator(".ic-fix")).first
    expect(problem).to_contain_text("caption")
    problem.locator(".ic-fix").click()
    expect(editor.root.locator("textarea:focus, input:focus")).to_have_count(1)
    editor.page.keyboard.type("a red fox")
    editor.press("Enter")
    expect(toggle).to_contain_text("All good")
    assert editor.instances()[0]["caption"] == "a red fox"
    editor.root.get_by_label("Prompt of the whole picture", exact=True).fill("a red fox and a blue barn")
    loose = editor.root.locator(".ic-problem").filter(has_text="blue barn")
    loose.get_by_role("button", name="Add a region for it").click()
    expect(loose).to_be_hidden()
    assert [one["caption"] for one in editor.instances()] == ["a red fox", "blue barn"]


@pytest.mark.one_front_end
def test_a_finding_keeps_its_buttons_through_a_check_and_gives_the_focus_on(editor):
    editor.draw((0.1, 0.1, 0.4, 0.4), "a red fox")
    prompt = editor.root.get_by_label("Prompt of the whole picture", exact=True)
    prompt.fill("a red fox and a blue barn and a green boat")
    _list_problems(editor.root.locator(".ic-status-line button").first)
    fixes = editor.root.get_by_role("button", name="Add a region for it")
    expect(fixes).to_have_count(2)
    prompt.press("End")
    prompt.type(" ")
    # The press takes the focus off the text, which is told to the graph, which has it all checked.
    place = fixes.first.bounding_box()
    editor.page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    editor.page.mouse.down()
    editor.page.wait_for_timeout(400)
    editor.page.mouse.up()
    expect(fixes).to_have_count(1)
    fixes.focus()
    editor.press("Enter")
    expect(fixes).to_have_count(0)
    assert [one["caption"] for one in editor.instances()] == ["a red fox", "blue barn", "green boat"]
    assert editor.root.evaluate("(root) => root.contains(document.activeElement)")


@pytest.mark.one_front_end
def test_tokens_are_counted_by_comfyuis_own_tokenizer(editor):
    """A guess finds two tokens in such a word; brackets and the weight count nothing."""
    editor.draw((0.1, 0.1, 0.4, 0.4), "(" + "xylophonist " * 30 + ":1.3)")
    exact = f"has {COUNTED} tokens"
    # The first note stands in the status line, or in the list if that is open.
    expect(editor.root).to_contain_text(exact)
    _list_problems(editor.root.locator(".ic-status-line button").first)
    expect(editor.root.locator(".ic-problem")).to_contain_text(exact)
    expect(editor.root.locator(".ic-hint[data-over]")).to_have_text(f"{COUNTED} of 77 tokens")
    editor.page.route("**/instance_composer/tokens", lambda route: route.abort())
    editor.root.get_by_label("Caption", exact=True).last.fill("xylophonist " * 60)
    expect(editor.root.locator(".ic-problem")).to_contain_text("has about ")
    editor.page.unroute("**/instance_composer/tokens")
    editor.problems[:] = [one for one in editor.problems if "ERR_FAILED" not in one]


@pytest.mark.one_front_end
def test_more_than_ten_instances_are_pointed_out(editor):
    editor.button("Templates").last.click()
    editor.root.get_by_label("Rows").fill("3")
    editor.root.get_by_label("Columns").fill("4")
    editor.button("Make").click()
    editor.page.wait_for_timeout(300)
    assert len(editor.instances()) == 12
    expect(editor.root.locator(".ic-status-line button").first).to_contain_text("notes")


@pytest.mark.one_front_end
def test_the_empty_stage_offers_an_example_templates_and_pasting(editor):
    expect(editor.root.locator(".ic-empty")).to_contain_text("Drag a box")
    editor.button("Try an example").click()
    editor.settle()
    assert len(editor.instances()) == 2
    expect(editor.root.locator(".ic-empty")).to_be_hidden()
    editor.press("Control+z")
    editor.button("Templates").last.click()
    editor.root.get_by_role("menuitem", name="Row of three").click()
    editor.settle()
    assert len(editor.instances()) == 3


def test_pasted_lines_are_recognised_shown_and_taken_over(drawn):
    paste(drawn, "0.1 0.2 0.5 0.9: a red book\n0.5 0.2 0.9 0.9: a yellow vase")
    sheet = drawn.root.get_by_role("dialog", name="Paste a layout")
    expect(sheet).to_contain_text("2 instances")
    expect(sheet.locator(".ic-mini rect")).to_have_count(4)
    drawn.button("Add to it").click()
    assert [one["caption"] for one in drawn.instances()][2:] == ["a red book", "a yellow vase"]
    drawn.press("Control+z")
    paste(drawn, "0.1 0.2 0.5 0.9: a red book")
    drawn.button("Replace the layout").click()
    assert [one["caption"] for one in drawn.instances()] == ["a red book"]


@pytest.mark.one_front_end
def test_an_error_in_pasted_text_points_at_the_character(editor):
    text = '{"version": 1, "canvas": {"width": 64, "height": 64}, "instances": [{"id": 1}'
    paste(editor, text)
    sheet = editor.root.get_by_role("dialog", name="Paste a layout")
    expect(sheet).to_contain_text(f"Line 1, column {len(text) + 1}")
    shown = sheet.locator("pre").text_content()
    line, caret = shown.split("\n")
    assert caret.endswith("^")
    assert line.rstrip().endswith('{"id": 1}')
    assert len(caret) - 1 == len(line)
    editor.press("Escape")


@pytest.fixture
def route(drawn):
    """`route(handler)` hands every question about layouts to a handler instead of the server."""
    pattern = "**/instance_composer/layouts"
    yield lambda handler: drawn.page.route(pattern, handler)
    drawn.page.unroute(pattern)


@pytest.mark.one_front_end
def test_a_late_answer_is_dropped_and_the_buttons_wait(drawn, route):
    held = []
    route(lambda one: held.append(one) if "slow" in one.request.post_data else one.continue_())
    paste(drawn, "0 0 0.5 0.5: slow")
    sheet = drawn.root.get_by_role("dialog", name="Paste a layout")
    expect(sheet.get_by_role("button", name="Add to it")).to_be_disabled()
    while not held:
        drawn.page.wait_for_timeout(20)
    sheet.get_by_role("textbox").fill("0 0 0.5 0.5: a\n0.5 0.5 1 1: b")
    expect(sheet).to_contain_text("2 instances")
    held.pop().continue_()
    drawn.page.wait_for_timeout(300)
    expect(sheet).to_contain_text("2 instances")
    sheet.get_by_role("textbox").fill("0 0 0.5 0.5: slow again")
    expect(sheet.get_by_role("button", name="Replace the layout")).to_be_disabled()
    while not held:
        drawn.page.wait_for_timeout(20)
    held.pop().continue_()
    expect(sheet).to_contain_text("1 instance on")
    expect(sheet.get_by_role("button", name="Replace the layout")).to_be_enabled()
    drawn.press("Escape")


@pytest.mark.one_front_end
def test_the_server_is_asked_once_for_words_typed_without_a_pause(drawn, route):
    asked = []
    route(lambda one: (asked.append(one.request.post_data_json["text"]), one.continue_()))
    drawn.button("Copy, paste, files").click()
    drawn.root.get_by_role("menuitem", name="Paste a layout").click()
    text = "0.1 0.2 0.5 0.9: a red book"
    drawn.page.keyboard.type(text)
    sheet = drawn.root.get_by_role("dialog", name="Paste a layout")
    expect(sheet).to_contain_text("1 instance on")
    assert asked[-1] == text
    assert len(asked) < len(text) / 4, "a slow machine may pause while it types, but not at every letter"
    drawn.press("Escape")


@pytest.mark.one_front_end
def test_without_the_server_our_own_layouts_still_come_and_go(drawn, route):
    document = drawn.text()
    route(lambda one: one.abort())
    paste(drawn, "0.1 0.2 0.5 0.9: a red book")
    sheet = drawn.root.get_by_role("dialog", name="Paste a layout")
    expect(sheet).to_contain_text("The server does not answer")
    expect(sheet.get_by_role("button", name="Add to it")).to_be_disabled()
    sheet.get_by_role("textbox").fill(document)
    expect(sheet).to_contain_text("Layout document: 2 instances")
    sheet.get_by_role("button", name="Add to it").click()
    assert len(drawn.instances()) == 4
    drawn.button("Copy, paste, files").click()
    drawn.root.get_by_role("menuitem", name="COCO annotations").click()
    expect(drawn.root.locator(".ic-toast")).to_contain_text("The server does not answer")
    drawn.button("Copy, paste, files").click()
    drawn.root.get_by_role("menuitem", name="Layout document").click()
    expect(drawn.root.locator(".ic-toast")).to_contain_text("Copied")
    assert all("ERR_FAILED" in problem for problem in drawn.problems), drawn.problems
    drawn.problems.clear()


def keep_picture(editor, name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    editor.page.wait_for_timeout(200)
    renderer = "vue" if editor.vue else "classic"
    editor.page.screenshot(path=PICTURES / f"paste-{name}-{renderer}.png")


@pytest.mark.one_front_end
def test_how_a_text_was_read_is_shown_before_it_is_taken(editor):
    paste(
        editor,
        '[{"box_2d": [100, 52, 910, 430], "label": "a cat"},'
        ' {"box_2d": [350, 560, 930, 980], "label": "a dog"},]',
    )
    sheet = editor.root.get_by_role("dialog", name="Paste a layout")
    expect(sheet).to_contain_text("Language model JSON: 2 instances")
    expect(sheet).to_contain_text("Read as: grid of 1000, yxyx")
    expect(sheet.locator(".ic-warnings li")).to_have_text(re.compile("not quite JSON"))
    expect(sheet.locator(".ic-mini rect")).to_have_count(4)
    keep_picture(editor, "certain")
    # A reading that is certain by custom can still be another.
    sheet.get_by_label("Order of the four numbers").select_option("xyxy")
    expect(sheet).to_contain_text("Read as: grid of 1000, xyxy")
    editor.press("Escape")


@pytest.mark.one_front_end
def test_what_is_open_is_asked_for_and_answered_in_the_sheet(editor):
    paste(
        editor,
        '[{"bbox": [52, 180, 430, 610], "label": "a cat"}, {"bbox": [560, 150, 380, 700], "label": "b"}]',
    )
    sheet = editor.root.get_by_role("dialog", name="Paste a layout")
    expect(sheet).to_contain_text(
        "1024 × 1024 and can be any of these: pixels / grid of 1000. Choose the unit."
    )
    expect(sheet.get_by_role("button", name="Replace the layout")).to_be_disabled()
    unit = sheet.get_by_label("Unit of the numbers")
    assert unit.locator("option").all_text_contents()[1:] == [
        "fractions",
        "percent",
        "pixels",
        "grid of 1000",
    ]
    keep_picture(editor, "asked")
    unit.select_option("grid1000")
    expect(sheet).to_contain_text("Read as: grid of 1000, xywh")
    order = sheet.get_by_label("Order of the four numbers")
    assert order.locator("option").all_text_contents()[1:] == ["xyxy", "xywh", "yxyx", "cxcywh"]
    order.select_option("cxcywh")
    expect(sheet).to_contain_text("Read as: grid of 1000, cxcywh")
    sheet.get_by_role("textbox", name="Paste a layout").fill("100 100 400 400: a fox")
    unit.select_option("")
    expect(sheet).to_contain_text("Read as: pixels, xyxy")
    expect(sheet.locator(".ic-warnings li")).to_have_text(
        re.compile("taken for pixels of 1024 × 1024. They can be another unit too: grid of 1000")
    )
    unit.select_option("grid1000")
    expect(sheet.locator(".ic-warnings li")).to_have_count(0)
    sheet.get_by_role("button", name="Replace the layout").click()
    assert editor.boxes() == [[0.1, 0.1, 0.4, 0.4]]


@pytest.mark.one_front_end
def test_one_of_several_pictures_is_chosen_in_the_sheet(editor):
    images = [{"id": number, "width": 64, "height": 64, "file_name": f"{number}.jpg"} for number in (7, 8)]
    things = [{"id": 1, "image_id": 8, "category_id": 1, "bbox": [16, 16, 32, 32]}]
    data = {"images": images, "annotations": things, "categories": [{"id": 1, "name": "a fox"}]}
    paste(editor, json.dumps(data))
    sheet = editor.root.get_by_role("dialog", name="Paste a layout")
    expect(sheet).to_contain_text("The file has 2 images. Choose one: 7, 8.")
    sheet.get_by_label("Which picture: its id or file name").fill("8.jpg")
    expect(sheet).to_contain_text("COCO annotations: 1 instance on 64 × 64")
    editor.press("Escape")


@pytest.mark.one_front_end
@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            413,
            '{"error": "The text is larger than 40000000 bytes."}',
            "The server refuses: The text is larger than",
        ),
        (
            500,
            '{"error": "The layout could not be read."}',
            "The server refuses: The layout could not be read.",
        ),
        (403, "<html></html>", "The server refuses: HTTP 403"),
        (404, "", "The server does not answer."),
    ],
)
def test_the_servers_refusal_is_said_in_its_own_words(drawn, route, status, body, words):
    route(lambda one: one.fulfill(status=status, body=body))
    paste(drawn, "0.1 0.2 0.5 0.9: a red book")
    sheet = drawn.root.get_by_role("dialog", name="Paste a layout")
    expect(sheet).to_contain_text(words)
    drawn.press("Escape")
    # What a browser says by itself about such an answer.
    drawn.problems[:] = [problem for problem in drawn.problems if "Failed to load resource" not in problem]


@pytest.mark.one_front_end
def test_text_of_no_format_is_refused(editor):
    paste(editor, '{"model": "a", "weights": [1, 2, 3]}')
    sheet = editor.root.get_by_role("dialog", name="Paste a layout")
    expect(sheet).to_contain_text("This JSON is none of the known formats.")
    expect(sheet.get_by_role("button", name="Add to it")).to_be_disabled()
    keep_picture(editor, "refused")
    editor.press("Escape")


@pytest.mark.one_front_end
def test_a_copy_says_what_its_format_does_not_keep(drawn):
    drawn.button("Copy, paste, files").click()
    drawn.root.get_by_role("menuitem", name="Omost canvas").click()
    expect(drawn.root.locator(".ic-toast")).to_contain_text(
        "Copied. Omost canvas does not keep the canvas size"
    )


@pytest.mark.one_front_end
def test_a_copy_that_the_browser_forbids_is_shown_to_be_copied_by_hand(drawn):
    drawn.page.evaluate("() => { navigator.clipboard.write = () => Promise.reject(new Error('forbidden')); }")
    drawn.button("Copy, paste, files").click()
    drawn.root.get_by_role("menuitem", name="COCO annotations").click()
    shown = drawn.root.get_by_role("dialog", name="Copy this text").get_by_role("textbox")
    expect(shown).to_have_value(re.compile('"annotations": .*a red fox|a red fox.*"annotations": '))
    drawn.press("Escape")
    drawn.page.evaluate("() => { delete navigator.clipboard.write; }")


@pytest.mark.one_front_end
def test_an_error_that_the_server_finds_points_into_the_text(editor):
    paste(editor, '[{"caption": "\U0001f98a", "box": [0, 0, "x", 1]}]')
    sheet = editor.root.get_by_role("dialog", name="Paste a layout")
    expect(sheet).to_contain_text('[1].box[3] must be a number, not "x".')
    line, caret = sheet.locator("pre").text_content().split("\n")
    assert line.encode("utf-16-le")[2 * (len(caret) - 1) :].decode("utf-16-le").startswith('"x"')
    editor.press("Escape")


def copied(editor):
    """The text that the clipboard gets: the server may still be writing it."""
    for _ in range(200):
        if text := editor.page.evaluate("() => navigator.clipboard.readText()"):
            return text
        editor.page.wait_for_timeout(50)
    raise AssertionError("nothing was copied")


@pytest.mark.one_front_end
def test_a_copy_in_any_format_comes_back_the_same(drawn):
    before = drawn.instances()
    for title in FORMATS:
        drawn.page.evaluate("() => navigator.clipboard.writeText('')")
        drawn.button("Copy, paste, files").click()
        drawn.root.get_by_role("menuitem", name=title).click()
        text = copied(drawn)
        expect(drawn.root.locator(".ic-toast")).to_contain_text("Copied")
        paste(drawn, text)
        if title != "Layout document":  # ours goes in at once
            drawn.button("Add to it").click()
        drawn.settle()
        back = drawn.instances()[2:]
        assert [one["caption"] for one in back] == [one["caption"] for one in before], title
        for one, other in zip(back, before, strict=True):
            assert one["box"] == pytest.approx(other["box"], abs=0.012), title
        drawn.press("Control+z")
        assert drawn.instances() == before, title


def png(texts):
    """A picture of one pixel with texts inside, as ComfyUI saves them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    body = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    for key, value in texts.items():
        body += chunk(b"tEXt", key.encode() + b"\0" + value.encode("latin-1"))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")


def drop(editor, data, name):
    editor.stage.evaluate(
        """(stage, [data, name]) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], name, { type: 'image/png' }));
          for (const type of ['dragenter', 'dragover', 'drop']) {
            const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
            stage.dispatchEvent(new DragEvent(type, options));
          }
        }""",
        [base64.b64encode(data).decode(), name],
    )


def test_a_dropped_picture_gives_back_the_layout_it_was_made_with(drawn):
    text = drawn.text()
    prompt = {
        "4": {"class_type": "IC_InstanceLayout", "inputs": {"width": 1024, "height": 1024, "document": text}}
    }
    drawn.press("Control+a", "Delete")
    drop(drawn, png({"prompt": json.dumps(prompt)}), "made.png")
    drawn.button("Replace the layout").click()
    drawn.settle()
    assert [one["caption"] for one in drawn.instances()] == ["a red fox", "a white owl"]
    assert drawn.page.evaluate("() => app.graph.nodes.length") == 1, "the graph must not take the file too"


@pytest.mark.one_front_end
def test_of_several_layouts_in_a_picture_one_is_chosen(drawn):
    text = drawn.text()
    other = text.replace("a red fox", "a brown bear")
    nodes = [
        {"type": "IC_InstanceLayout", "title": title, "widgets_values": [1024, 1024, words]}
        for title, words in (("Forest", text), ("Cave", other))
    ]
    drop(drawn, png({"workflow": json.dumps({"nodes": nodes})}), "made.png")
    drawn.page.get_by_role("dialog").get_by_role("button", name="Cave").click()
    drawn.button("Replace the layout").click()
    drawn.settle()
    assert [one["caption"] for one in drawn.instances()] == ["a brown bear", "a white owl"]


def test_a_whole_layout_pasted_on_the_stage_brings_its_prompt(editor):
    canvas = {"width": 1024, "height": 1024}
    instance = {"id": "1", "box": [0.1, 0.1, 0.4, 0.4], "caption": "a red fox"}
    layout = {"version": 1, "canvas": canvas, "prompt": "a red fox in the snow", "instances": [instance]}
    paste(editor, json.dumps(layout))
    assert editor.document()["prompt"] == "a red fox in the snow"
    assert len(editor.instances()) == 1


def test_another_dropped_picture_becomes_the_ground_to_draw_on(drawn):
    drop(drawn, png({}), "photo.png")
    expect(drawn.root).to_have_attribute("data-picture", "")


def test_the_layout_is_saved_as_a_picture(drawn):
    drawn.button("Copy, paste, files").click()
    with drawn.page.expect_download() as download:
        drawn.root.get_by_role("menuitem", name="Save as picture").click()
    assert download.value.suggested_filename == "layout.png"
    assert download.value.path().read_bytes().startswith(b"\x89PNG")
