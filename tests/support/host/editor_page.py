"""The layout editor in a browser page: what a person does with it, in fractions of the canvas."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

READY = """() => Boolean(window.app?.extensionManager && window.app.canvas
  && !document.querySelector('#splash-loader')
  && LiteGraph.registered_node_types['IC_InstanceLayout'])"""
# A node made by a script is not in the baseline of undo until the state is captured.
ADD = """([type, x, y, width, height]) => {
  const node = LiteGraph.createNode(type);
  app.graph.add(node);
  node.pos = [x, y];
  if (width) node.setSize([width, height]);
  app.canvas.setDirty(true, true);
  app.extensionManager.workflow.activeWorkflow?.changeTracker?.captureCanvasState();
  return node.id;
}"""
# Six frames are a tenth of a second on an idle machine; what never stands still is left as it is after two.
STANDING = """() => new Promise((done) => {
  const places = () => JSON.stringify([
    app.canvas.graph.nodes.map((node) => [...node.pos, ...node.size]),
    [...document.querySelectorAll('.ic-editor, [data-node-id]')].map((one) => one.getBoundingClientRect()),
  ]);
  const end = performance.now() + 2000;
  let [before, same] = [null, 0];
  const look = () => {
    const now = places();
    same = now === before ? same + 1 : 0;
    before = now;
    if (same === 6 || performance.now() > end) done();
    else requestAnimationFrame(look);
  };
  look();
})"""
OURS = ("instance_composer", "InstanceComposer", "Instance Composer")


class EditorPage:
    """One page on a server. `problems` collects what the console and the network say about our files."""

    def __init__(self, page: Page, address: str, vue: bool) -> None:
        self.page, self.address, self.vue = page, address, vue
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"{error.message}\n{error.stack}"))
        page.on("console", self._console)
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        place = message.location.get("url", "")
        ours = any(name in message.text or name in place for name in OURS)
        if message.type in ("error", "warning") and ours:
            self.problems.append(f"{message.type}: {message.text} ({place})")

    def _request(self, request: Any) -> None:
        if not request.url.startswith(
            (self.address, "data:", "blob:", "ws:")
        ) and "/extensions/" in request.headers.get("referer", ""):
            self.problems.append(f"request to another host: {request.url}")

    def open(self) -> EditorPage:
        self.page.goto(self.address, wait_until="domcontentloaded")
        self.ready()
        self.clear()
        return self

    def ready(self) -> None:
        self.page.wait_for_function(READY, timeout=120_000, polling=200)

    def clear(self) -> None:
        self.page.evaluate(
            """() => {
              document.querySelectorAll('dialog.ic-dialog').forEach((dialog) => dialog.close());
              document.querySelectorAll('.ic-floating .ic-bar button').forEach((button) => button.click());
              app.graph.clear();
              // Front ends keep widget values by node id beyond that.
              window.lastTestNode = (window.lastTestNode ?? 0) + 100;
              app.graph.last_node_id = window.lastTestNode;
              app.graph.id = crypto.randomUUID(); // as every workflow has one
              app.nodeOutputs = {};
              app.canvas.ds.scale = 1;
              app.canvas.ds.offset = [0, 0];
              localStorage.removeItem('InstanceComposer.editor');
            }"""
        )

    def add_node(
        self,
        x: int = 320,
        y: int = 90,
        width: int = 480,
        height: int = 840,
        node_type: str = "IC_InstanceLayout",
    ) -> int:
        number = self.page.evaluate(ADD, [node_type, x, y, width, height])
        if node_type == "IC_InstanceLayout":
            expect(self.root).to_be_visible(timeout=20_000)
        self.stand()
        return number

    def stand(self) -> None:
        """Wait until ComfyUI has laid out every node and editor: none has moved for some frames."""
        self.page.evaluate(STANDING)

    @property
    def root(self) -> Locator:
        return self.page.locator(".ic-editor").last

    @property
    def stage(self) -> Locator:
        return self.root.locator(".ic-stage")

    def point(self, x: float, y: float) -> tuple[float, float]:
        """The place on the screen of a fraction of the canvas."""
        box = self.root.locator(".ic-paper").first.bounding_box()
        assert box
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def drag(
        self, start: tuple[float, float], end: tuple[float, float], steps: int = 6, keys: tuple[str, ...] = ()
    ) -> None:
        mouse = self.page.mouse
        for key in keys:
            self.page.keyboard.down(key)
        mouse.move(*self.point(*start))
        mouse.down()
        mouse.move(*self.point(*end), steps=steps)
        mouse.up()
        for key in keys:
            self.page.keyboard.up(key)
        self.settle()

    def draw(
        self, box: tuple[float, float, float, float], caption: str | None = None, typed: bool = False
    ) -> None:
        """Draw a box and, unless None, put its caption into the field that opens: at once, or key by key."""
        self.drag(box[:2], box[2:])
        if caption is None:
            self.page.keyboard.press("Escape")
        else:
            (self.page.keyboard.type if typed else self.page.keyboard.insert_text)(caption)
            self.page.keyboard.press("Enter")
        self.settle()

    def click(self, x: float, y: float, **options: Any) -> None:
        place = self.point(x, y)
        self.page.mouse.move(*place)
        self.page.mouse.click(*place, **options)
        self.settle()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def settle(self) -> None:
        """Two animation frames: what was done is drawn."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def text(self, node: int | None = None) -> str:
        """The widget's value; of the only layout node unless its id is given."""
        return self.page.evaluate(
            """(id) => {
              const nodes = app.canvas.graph.nodes.filter((node) => node.comfyClass === 'IC_InstanceLayout');
              const node = id === null ? nodes[0] : nodes.find((one) => String(one.id) === String(id));
              return node.widgets.find((widget) => widget.name === 'document').value;
            }""",
            node,
        )

    def set_text(self, text: str) -> None:
        self.page.evaluate(
            """(text) => {
              const node = app.canvas.graph.nodes.find((one) => one.comfyClass === 'IC_InstanceLayout');
              node.widgets.find((widget) => widget.name === 'document').value = text;
            }""",
            text,
        )
        self.settle()

    def document(self, node: int | None = None) -> dict[str, Any]:
        text = self.text(node)
        return json.loads(text) if text.strip() else {"instances": []}

    def instances(self, node: int | None = None) -> list[dict[str, Any]]:
        return self.document(node)["instances"]

    def boxes(self) -> list[list[float]]:
        return [instance["box"] for instance in self.instances()]

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    return browser.new_context(**{"viewport": {"width": 1500, "height": 950}, **options})


def queue(editor: EditorPage) -> dict[str, Any]:
    """Run the graph and return the layout that the test node received."""
    editor.page.evaluate(
        """async () => {
          const { api } = await import('/scripts/api.js');
          window.received = null;
          window.failed = null;
          api.addEventListener('executed', ({ detail }) => {
            if (detail.output?.text) window.received = detail.output.text[0];
          });
          api.addEventListener('execution_error', ({ detail }) => {
            window.failed = detail.exception_message;
          });
        }"""
    )
    editor.page.get_by_test_id("queue-button").first.click()
    editor.page.wait_for_function("() => window.received !== null || window.failed !== null", timeout=120_000)
    assert editor.page.evaluate("() => window.failed") is None
    return json.loads(editor.page.evaluate("() => window.received"))


def connect(editor: EditorPage, origin: str, output: int, target: str, name: str) -> None:
    """Link an output of the only node of a type to an input of another."""
    editor.page.evaluate(
        """([origin, output, target, name]) => {
          const find = (type) => app.canvas.graph.nodes.find((node) => node.comfyClass === type);
          const to = find(target);
          find(origin).connect(output, to, to.inputs.findIndex((input) => input.name === name));
        }""",
        [origin, output, target, name],
    )
    editor.settle()


RUN = """() => new Promise((done) => {
  import('/scripts/api.js').then(({ api }) => {
    // The end of an earlier run may still be on its way.
    let started = null;
    const begun = ({ detail }) => (started ??= detail.prompt_id);
    const ended = ({ type, detail }) => {
      if (detail.prompt_id !== started) return;
      api.removeEventListener('execution_start', begun);
      for (const name of ['execution_success', 'execution_error']) api.removeEventListener(name, ended);
      done(type === 'execution_error' ? detail : null);
    };
    api.addEventListener('execution_start', begun);
    for (const name of ['execution_success', 'execution_error']) api.addEventListener(name, ended);
    app.queuePrompt(0, 1);
  });
})"""
WIRE = """([nodes, links]) => {
  const layout = app.canvas.graph.nodes.find((node) => node.comfyClass === 'IC_InstanceLayout');
  const made = { layout };
  for (const [name, [type, pos, values]] of Object.entries(nodes)) {
    const node = LiteGraph.createNode(type);
    app.canvas.graph.add(node);
    node.pos = pos;
    for (const widget of node.widgets ?? []) if (widget.name in values) widget.value = values[widget.name];
    made[name] = node;
  }
  for (const [from, output, to, input] of links)
    made[from].connect(
      made[from].outputs.findIndex((one) => one.name === output),
      made[to],
      made[to].inputs.findIndex((one) => one.name === input),
    );
  app.canvas.setDirty(true, true);
  app.extensionManager.workflow.activeWorkflow?.changeTracker?.captureCanvasState();
  return Object.fromEntries(Object.entries(made).map(([name, node]) => [name, node?.id]));
}"""


def wire(
    editor: EditorPage,
    nodes: dict[str, tuple[str, list[int], dict[str, Any]]],
    links: list[tuple[str, str, str, str]],
) -> dict[str, int]:
    """Add nodes (type, place, values of widgets) by name and link them; the ids by name.

    A link is a node, the name of its output, a node and the name of its input; "layout" is the layout node.
    """
    numbers = editor.page.evaluate(WIRE, [nodes, links])
    editor.stand()
    return numbers


def run_graph(editor: EditorPage) -> dict[str, Any] | None:
    """Run the graph to its end; what ComfyUI tells of an error, None if all went well."""
    return editor.page.evaluate(RUN)


def add_receiver(editor: EditorPage) -> None:
    """A node that takes the layout, so that the graph can run."""
    editor.add_node(900, 120, 240, 120, "Test_ShowLayout")
    connect(editor, "IC_InstanceLayout", 0, "Test_ShowLayout", "layout")


RECTANGLES = """() => app.graph.nodes.map((node) => {
  const title = LiteGraph.NODE_TITLE_HEIGHT;
  let [[x, y], [width, height]] = [node.pos, node.size];
  const shown = LiteGraph.vueNodesMode && document.querySelector(`[data-node-id="${node.id}"]`);
  if (shown) [width, height] = [shown.offsetWidth, shown.offsetHeight - title];
  return [`${node.type} ${node.id}`, x, y - title, x + width, y + height];
})"""


def overlaps(editor: EditorPage) -> list[tuple[str, str]]:
    """Pairs of nodes of the graph that lie over each other."""
    seen = editor.page.evaluate(RECTANGLES)
    return [
        (one[0], other[0])
        for at, one in enumerate(seen)
        for other in seen[at + 1 :]
        if one[1] < other[3] and other[1] < one[3] and one[2] < other[4] and other[2] < one[4]
    ]
