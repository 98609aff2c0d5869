"""The ranking page in a real browser: keys, mouse, a phone, two languages, and a program that is killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from gallery_runs import ranking_run

from instance_composer.rankings.answers import all_answers

CHANGED = "(was) => document.getElementById('progress').textContent !== was"


@pytest.fixture
def run(tmp_path):
    ranking_run(tmp_path, prompts=2, size=128)
    return tmp_path


@contextmanager
def ranking(run, open_page):
    """`instance-composer rank` in a process of its own; gives the process and the address it prints.

    Pages are left before it ends: one that still waits for pictures would complain.
    """
    words = [sys.executable, "-m", "instance_composer.cli", "rank", str(run)]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Tests that run in the background ignore Ctrl-C, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        open_page.leave()
        process.kill()
        process.communicate()


@pytest.fixture
def open_page(browser):
    """A page in a window of its own; fails when the console complains."""
    opened, problems = [], []

    def open_page(address: str, **options):
        context = browser.new_context(
            **{"locale": "en-US", "viewport": {"width": 1280, "height": 800}, **options}
        )
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        return page

    def leave() -> None:
        while opened:
            opened.pop().close()

    open_page.problems, open_page.leave = problems, leave
    yield open_page
    leave()
    assert problems == []


def sign_in(page, name: str = "Ana") -> None:
    page.fill("#name", name)
    page.press("#name", "Enter")
    page.wait_for_selector("#ranking:not([hidden]) .card")


def order(page) -> list[list[int]]:
    """The places on the page, as numbers of pictures from 1."""
    return page.evaluate(
        "() => [...document.querySelectorAll('.place')].map((place) => "
        "[...place.querySelectorAll('.card')].map((card) => Number(card.dataset.number) + 1))"
    )


def question(page) -> str:
    return page.text_content("#aspect")


def saved(run, name: str = "Ana"):
    return [list(map(len, one.places)) for one in all_answers(run).get(name, {}).values()]


def shot(page, name: str) -> None:
    from pathlib import Path

    folder = Path(__file__).resolve().parents[2] / "output" / "browser"
    folder.mkdir(parents=True, exist_ok=True)
    page.wait_for_function("() => [...document.images].every((one) => one.complete)")
    page.screenshot(path=folder / f"ranking-{name}.png")


def test_everything_can_be_done_with_keys(run, open_page):
    with ranking(run, open_page) as (_, address):
        page = open_page(address)
        sign_in(page)
        assert page.text_content("#progress") == "0 of 4 answered"
        assert page.is_disabled("#save")
        shot(page, "begin")
        for key in ("2", "=", "3", "1"):
            page.keyboard.press(key)
        assert order(page) == [[2, 3], [1]]
        page.keyboard.press("Backspace")
        assert order(page) == [[2, 3]]
        page.keyboard.press("1")
        shot(page, "placed")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('1 of')")
        assert order(page) == []
        page.keyboard.press("0")
        page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('2 of')")
        assert question(page) == "Places: 0 of 2"
        assert saved(run) == [[2, 1], []]
        page.keyboard.press("u")
        page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('1 of')")
        page.keyboard.press("u")
        page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('0 of')")
        assert order(page) == [[2, 3], [1]]
        assert saved(run) == []
        for _ in range(4):
            before = page.text_content("#progress")
            page.keyboard.press("0")
            page.wait_for_function(CHANGED, arg=before)
        assert page.is_visible("#done")
        assert page.is_hidden("#ranking")


def drag(page, source: str, target: str) -> None:
    start, end = (page.locator(one).bounding_box() for one in (source, target))
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2, steps=6)
    page.mouse.up()


def card(number: int) -> str:
    return f'.card[data-number="{number - 1}"]'


def test_pictures_are_clicked_and_dragged_into_order(run, open_page):
    with ranking(run, open_page) as (_, address):
        page = open_page(address)
        sign_in(page)
        drag(page, card(3), "#order")
        drag(page, card(1), "#order")
        assert order(page) == [[3], [1]]
        drag(page, card(1), ".gap >> nth=0")
        assert order(page) == [[1], [3]]
        drag(page, card(2), ".gap >> nth=1")
        assert order(page) == [[1], [2], [3]]
        drag(page, card(3), f".place:has({card(1)})")
        assert order(page) == [[1, 3], [2]]
        drag(page, card(1), ".gap >> nth=2")
        assert order(page) == [[3], [2], [1]]
        drag(page, card(2), "#rest")
        assert order(page) == [[3], [1]]
        page.click(card(2))
        page.click(card(3))
        page.click("#tie")
        page.click(card(3))
        assert order(page) == [[1], [2, 3]]
        page.click("#save")
        page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('1 of')")
        assert saved(run) == [[1, 2]]


def test_a_phone_ranks_by_touch_in_chinese(run, open_page):
    with ranking(run, open_page) as (_, address):
        page = open_page(
            address, viewport={"width": 390, "height": 844}, locale="zh-CN", has_touch=True, is_mobile=True
        )
        page.wait_for_selector("h1:text-is('哪张图更符合描述？')")
        sign_in(page, "李雷")
        wide = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]
        page.tap(card(2))
        page.tap(card(1))
        shot(page, "phone")
        assert order(page) == [[2], [1]]
        hold(page, card(3), ".gap >> nth=0")
        assert order(page) == [[3], [2], [1]]
        page.tap("#save")
        page.wait_for_function("() => document.getElementById('progress').textContent.includes('1/4')")
        assert saved(run, "李雷") == [[1, 1, 1]]
        page.tap("#language")
        assert page.text_content("h1") == "Which picture shows it better?"


def test_enter_saves_what_was_placed_with_the_mouse(run, open_page):
    with ranking(run, open_page) as (_, address):
        page = open_page(address)
        sign_in(page)
        for number in (1, 2, 3):
            page.click(f"#rest .card[data-number='{number - 1}']")
        assert order(page) == [[1], [2], [3]]
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('1 of')")
        assert saved(run) == [[1, 1, 1]]


def test_a_name_that_cannot_be_is_told_and_another_can_be_given(run, open_page):
    with ranking(run, open_page) as (_, address):
        page = open_page(address)
        page.fill("#name", "a\u200bb")
        page.press("#name", "Enter")
        page.wait_for_selector("#fault:not([hidden])")
        assert "1 to 60 characters" in page.text_content("#fault")
        open_page.problems.clear()
        sign_in(page)
        assert page.is_hidden("#fault")


def hold(page, source: str, target: str) -> None:
    """A finger that rests on a picture, takes it along, and lets go."""
    page.locator(source).scroll_into_view_if_needed()
    start, end = (page.locator(one).bounding_box() for one in (source, target))
    client = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y} for x, y in points]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    x, y = start["x"] + start["width"] / 2, start["y"] + 40
    touch("touchStart", (x, y))
    page.wait_for_selector("#ghost")
    to = end["x"] + end["width"] / 2, end["y"] + end["height"] / 2
    for share in (0.25, 0.5, 0.75, 1.0):
        touch("touchMove", (x + (to[0] - x) * share, y + (to[1] - y) * share))
    touch("touchEnd")


def test_a_program_killed_in_the_middle_loses_no_answer(run, open_page):
    with ranking(run, open_page) as (process, address):
        page = open_page(address)
        sign_in(page)
        for key in ("1", "2", "3", "Enter"):
            page.keyboard.press(key)
        page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('1 of')")
        for key in ("3", "2", "1"):
            page.keyboard.press(key)
        process.send_signal(signal.SIGKILL)
        process.wait()
        page.keyboard.press("Enter")
        page.wait_for_selector("#fault:not([hidden])")
        assert "could not be saved" in page.text_content("#fault")
        # What was on the page is still there.
        assert order(page) == [[3], [2], [1]]
        open_page.problems.clear()
    assert saved(run) == [[1, 1, 1]]
    with ranking(run, open_page) as (process, address):
        page = open_page(address)
        sign_in(page)
        assert page.text_content("#progress") == "1 of 4 answered"
        page.close()  # else it may wait for pictures of a program that has ended
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        assert "Ana: 1 rankings, 0 times could not tell" in out


def test_two_people_rank_at_once_and_their_agreement_is_told(run, open_page):
    with ranking(run, open_page) as (process, address):
        pages = [open_page(address), open_page(address)]
        for page, name in zip(pages, ("Ana", "Bo"), strict=True):
            sign_in(page, name)
        for _ in range(2):
            for page in pages:
                before = page.text_content("#progress")
                for key in ("1", "2", "3", "Enter"):
                    page.keyboard.press(key)
                page.wait_for_function(CHANGED, arg=before)
        for page in pages:
            page.close()  # else it may ask for pictures of a program that has ended
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert saved(run, "Ana") == saved(run, "Bo") == [[1, 1, 1], [1, 1, 1]]
    assert re.search(r"attribute: Kendall's W 0\.\d+|attribute: Kendall's W 1\.000", out)
    done = subprocess.run(
        [sys.executable, "-m", "instance_composer.cli", "rank", str(run), "--export", str(run / "out.jsonl")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("2 rankings in")
    lines = [json.loads(line) for line in (run / "out.jsonl").read_text().splitlines()]
    assert all((run / file).is_file() for line in lines for file in line["images"])
