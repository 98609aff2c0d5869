"""Sizes and times that must stay small: the entry, the editor, a drag of many regions."""

from __future__ import annotations

import gzip
import json

import pytest
from comfyui_location import REPOSITORY

WEB = REPOSITORY / "web"
ENTRY = "instance_composer.js"
OURS = "/extensions/ComfyUI-Instance-Composer/"
MANY = 60
FRAMES = 60
TASKS = ("ThreadControllerImpl::RunTask", "ThreadPool_RunTask")
THREADS = {
    "page": "CrRendererMain",
    "raster": "ThreadPoolForegroundWorker",
    "layers": "Compositor",
    "compositing": "VizCompositorThread",
}
DRAG = """async () => {
  const stage = [...document.querySelectorAll('.ic-stage')].at(-1);
  const { left, top, width, height } = stage.getBoundingClientRect();
  const held = { bubbles: true, pointerId: 1, button: 0, buttons: 1 };
  const send = (type, x, y) => stage.dispatchEvent(
    new PointerEvent(type, { ...held, clientX: left + x * width, clientY: top + y * height }));
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  let redrawn = 0;
  const watcher = new MutationObserver((changes) => (redrawn += changes.length));
  watcher.observe(stage.querySelector('.ic-region').parentNode, { attributeFilter: ['d'], subtree: true });
  send('pointerdown', 0.5, 0.5);
  const frames = [];
  let work = 0;
  let last = await frame();
  for (let step = 0; step < 60; step += 1) {
    const before = performance.now();
    send('pointermove', 0.5 + 0.04 * Math.sin(step / 6), 0.5 + 0.04 * Math.cos(step / 6));
    work += performance.now() - before;
    const now = await frame();
    frames.push(now - last);
    last = now;
  }
  redrawn += watcher.takeRecords().length;
  watcher.disconnect();
  send('pointerup', 0.5, 0.5);
  frames.sort((one, other) => one - other);
  return { median: frames[30], slow: frames[56], work: work / 60, redrawn };
}"""


@pytest.mark.one_front_end
def test_the_page_loads_little(other_page, page, record_property):
    """Counted as gzip sends each file, which ComfyUI does with --enable-compress-response-body alone."""
    assert [file.name for file in WEB.rglob("*.js")] == [ENTRY], "ComfyUI imports every .js at start"
    own = other_page(page.vue)
    loaded = {}
    own.page.on("response", lambda answer: OURS in answer.url and loaded.setdefault(answer.url, answer))
    own.open()

    def sizes():
        return {url.split("/")[-1]: len(gzip.compress(one.body(), 9)) for url, one in loaded.items()}

    assert list(sizes()) == [ENTRY], "the editor waits for the first node"
    assert sizes()[ENTRY] < 5_000
    own.add_node()
    first = sizes()
    own.button("Copy, paste, files").click()
    own.root.get_by_role("menuitem", name="COCO annotations").wait_for()
    everything = sizes()
    print(everything)
    record_property("bytes at first", sum(first.values()))
    assert "later.mjs" in everything
    assert "later.mjs" not in first, "what is asked for later waits until then"
    assert sum(first.values()) - first[ENTRY] < 60_000
    assert sum(everything.values()) - first[ENTRY] < 70_000


def thread_times(browser, page, act):
    """The result of `act`, and milliseconds of processor time by thread: unlike frames, they do not depend on
    what else the machine does."""
    session = browser.new_browser_cdp_session()
    events, complete = [], []
    session.on("Tracing.dataCollected", lambda data: events.extend(data["value"]))
    session.on("Tracing.tracingComplete", lambda _: complete.append(True))
    config = {"includedCategories": ["toplevel"], "excludedCategories": ["*"]}
    session.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": config})
    result = act()
    session.send("Tracing.end")
    while not complete:
        page.wait_for_timeout(20)
    names = {(one["pid"], one["tid"]): one["args"]["name"] for one in events if one["name"] == "thread_name"}
    times = {}
    for one in events:
        if one["name"] in TASKS:
            name = names[one["pid"], one["tid"]]
            times[name] = times.get(name, 0) + one.get("tdur", 0) / 1000
    return result, times


def test_sixty_regions_are_dragged_smoothly(editor, browser, record_property):
    instances = [
        {"id": str(number), "caption": f"thing {number}", "box": [x, y, x + 0.07, y + 0.12]}
        for number in range(1, MANY + 1)
        for x, y in [(0.06 + (number - 1) % 10 * 0.088, 0.08 + (number - 1) // 10 * 0.14)]
    ]
    document = {"version": 1, "canvas": {"width": 1024, "height": 1024}, "instances": instances}
    editor.set_text(json.dumps(document))
    editor.click(0.01, 0.01)
    editor.press("Control+a")
    figures, times = thread_times(browser, editor.page, lambda: editor.page.evaluate(DRAG))
    figures |= {name: times[thread] / FRAMES for name, thread in THREADS.items()}
    for name, value in figures.items():
        record_property(name, round(value, 2))
    print(figures)
    assert figures["redrawn"] == 0, "outlines are moved, not drawn anew"
    # 50 frames a second leave 20 ms to each of the threads, which work at the same time; other work on the
    # machine takes the caches away and costs up to half more.
    assert max(figures[name] for name in THREADS) < 30
    # A layer inside the node would have Nodes 2.0 blur the shadow of the node at every frame: 18 ms.
    assert figures["compositing"] < 8
