"""The editor in Debian's Chromium on ComfyUI's own server: both renderers, each front end that is there.

One server and one page serve a whole front end and renderer; every test gets an empty graph with one layout
node. Pictures of what failed, and those that tests take, go to `output/browser/` (not in the repository).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from comfyui_location import HOW_TO_GET_COMFYUI, REPOSITORY, find_comfyui
from skipped_module import skipped

try:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=15_000)  # other tests run beside these: five seconds were too few at times
except ImportError:
    sync_playwright = None

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
HOW_TO_GET_CHROMIUM = "no chromium was found. Get it with `apt-get install chromium fonts-noto-cjk`."
HOW_TO_GET_PLAYWRIGHT = (
    "Playwright is not installed. Get it with `pip install playwright`; no browser of its own is needed."
)
NEWEST = REPOSITORY / ".venv-frontend" / "comfyui_frontend_package" / "static"
FRONTENDS = {"pinned": None, **({"newest": NEWEST} if NEWEST.is_dir() else {})}
PICTURES = REPOSITORY / "output" / "browser"
ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # else a dialog covers the page
    "Comfy.InstalledVersion": "1.49.6",
    "Comfy.Workflow.Persist": False,
    "Comfy.Minimap.Visible": False,
}
# What one test leaves behind is not to stand in the way of the next: the panel takes a quarter of the page.
FRESH = {"Comfy.Locale": "en", "Comfy.ColorPalette": "dark", "Comfy.RightSidePanel.IsOpen": False}

if find_comfyui() is None:
    MISSING = HOW_TO_GET_COMFYUI
elif sync_playwright is None:
    MISSING = HOW_TO_GET_PLAYWRIGHT
else:
    MISSING = None if CHROMIUM else HOW_TO_GET_CHROMIUM


def pytest_pycollect_makemodule(module_path, parent):
    return skipped(module_path, parent, MISSING)


def pytest_collection_modifyitems(config, items):
    """Each front end and each renderer once; all combinations with EDITOR_COMBINATIONS=all.

    What stays inside the editor (its list, sheets and menus) is the same in both, and is looked at in one.
    """
    if os.environ.get("EDITOR_COMBINATIONS") == "all" or len(FRONTENDS) == 1:
        return
    usual = {("pinned", "classic"), ("newest", "vue")}
    kept, left_out = [], []
    for item in items:
        given = getattr(item, "callspec", None) and item.callspec.params
        pair = (given.get("server"), given.get("page")) if given else (None, None)
        wanted = pair in usual - ({("newest", "vue")} if item.get_closest_marker("one_front_end") else set())
        (kept if None in pair or wanted else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


if MISSING is None:
    from comfyui_server import running_server
    from editor_page import EditorPage, new_context


@pytest.fixture(scope="session", params=FRONTENDS)
def server(request, tmp_path_factory):
    base = tmp_path_factory.mktemp(f"comfyui-{request.param}")
    settings = base / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({**SETTINGS, **FRESH}))
    packs = {"ComfyUI-Instance-Composer": REPOSITORY, "test-nodes": Path(__file__).parent / "test_nodes"}
    root = FRONTENDS[request.param]
    options = ["--front-end-root", str(root)] if root else []
    with running_server(find_comfyui(), base, packs, options=options) as running:
        yield running


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="session", params=["classic", "vue"])
def page(request, server, browser):
    """One page for all tests of a renderer."""
    server.post("/settings", {**FRESH, "Comfy.VueNodes.Enabled": request.param == "vue"})
    context = new_context(browser, permissions=["clipboard-read", "clipboard-write"])
    made = EditorPage(context.new_page(), server.address, request.param == "vue")
    made.open()
    yield made
    context.close()


@pytest.fixture
def editor(page, request):
    """A layout node alone on the graph; fails when the console or the network complains about us."""
    page.problems.clear()
    page.clear()
    page.add_node()
    yield page
    _keep_picture(page, request)
    page.page.evaluate("() => document.querySelectorAll('dialog[open]').forEach((dialog) => dialog.close())")
    assert page.problems == []


@pytest.fixture
def other_page(server, browser, request):
    """A function that opens a page of its own, with settings and browser options of its own."""
    contexts = []

    def open_page(
        vue: bool = False, settings: dict | None = None, init: str | None = None, **options
    ) -> EditorPage:
        server.post("/settings", {**FRESH, "Comfy.VueNodes.Enabled": vue, **(settings or {})})
        context = new_context(browser, **options)
        contexts.append(context)
        if init:
            context.add_init_script(init)
        return EditorPage(context.new_page(), server.address, vue)

    yield open_page
    for context in contexts:
        context.close()
    server.post("/settings", FRESH)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.failed = report.failed
    return report


def _keep_picture(page, request) -> None:
    if getattr(request.node, "failed", False):
        PICTURES.mkdir(parents=True, exist_ok=True)
        name = request.node.name.replace("/", "-")
        page.page.screenshot(path=PICTURES / f"failed-{name}.png")
