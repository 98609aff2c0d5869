"""A graph of one's own, from nothing to its first picture, by mouse and keys; the presses are counted."""

from __future__ import annotations

from comfyui_location import REPOSITORY
from editor_page import EditorPage
from playwright.sync_api import TimeoutError as PageTimeout
from playwright.sync_api import expect

MOST_PRESSES = 20
# Of a busy page. Five nodes are made: were what is counted not enough for one, each of them would miss.
MISSED = 4
PICTURES = REPOSITORY / "output" / "browser"
SCALE = 0.6
SLOT = """([type, name, isOutput]) => {
  const node = app.graph.nodes.find((one) => one.title === type);
  const slots = isOutput ? node.outputs : node.inputs;
  const index = slots.findIndex((one) => one.name === name);
  if (LiteGraph.vueNodesMode) {
    const kind = isOutput ? '.lg-slot--output' : '.lg-slot--input';
    const words = slots[index].label ?? slots[index].localized_name ?? name;
    const parts = [...document.querySelectorAll(`[data-node-id="${node.id}"] ${kind}`)];
    const part = parts.find((one) => one.textContent.trim() === words);
    const dot = part.querySelector('[data-testid="slot-dot"]') ?? part;
    const { x, y, width, height } = dot.getBoundingClientRect();
    return [x + width / 2, y + height / 2];
  }
  const [x, y] = isOutput ? node.getOutputPos(index) : node.getInputPos(index);
  const { ds, canvas } = app.canvas;
  const { left, top } = canvas.getBoundingClientRect();
  return [(x + ds.offset[0]) * ds.scale + left, (y + ds.offset[1]) * ds.scale + top];
}"""
# A node that hangs on the pointer until it is put down.
HANGS = "() => app.graph.nodes.some((node) => node.flags.ghost)"
FOLLOWS = """([x]) => {
  const node = app.graph.nodes.find((one) => one.flags.ghost);
  const { ds, canvas } = app.canvas;
  const middle = (node.pos[0] + node.size[0] / 2 + ds.offset[0]) * ds.scale;
  return Math.abs(middle + canvas.getBoundingClientRect().left - x) < 16;
}"""
SMALL = """() => {
  for (const node of app.graph.nodes)
    for (const widget of node.widgets ?? []) {
      if (['width', 'height'].includes(widget.name)) widget.value = 128;
      if (widget.name === 'steps') widget.value = 2;
    }
}"""
UNLINK = """() => {
  const node = app.graph.nodes.find((one) => one.title === 'Picture from Layout');
  node.disconnectInput(node.inputs.findIndex((input) => input.name === 'ifadapter'));
}"""
LINKS = """() => [...app.graph.links.values()].map((link) => [
  app.graph.getNodeById(link.origin_id).title,
  app.graph.getNodeById(link.target_id).title,
  link.type,
].join(' '))"""


class Hand:
    """What a person does with the mouse, counted: a double click is two presses, a drag is one.

    A page that is busy may miss a press; those are done again, and counted as `missed`.
    """

    def __init__(self, editor: EditorPage) -> None:
        self.editor, self.page, self.presses, self.missed = editor, editor.page, 0, 0

    def search(self, words: str, place: tuple[float, float]) -> None:
        """The node of a search that is open, put down at a place."""
        count = self.page.evaluate("() => app.graph.nodes.length")
        field = self.page.locator("input:focus").first
        expect(field).to_be_visible(timeout=30_000)
        self.page.keyboard.type(words)
        expect(self.page.get_by_text(words, exact=True).first).to_be_visible(timeout=30_000)
        self.page.wait_for_timeout(500)
        self.page.keyboard.press("Enter")
        self.page.wait_for_function("(count) => app.graph.nodes.length > count", arg=count, timeout=30_000)
        self.page.wait_for_timeout(300)
        if not self.page.evaluate(HANGS):
            return
        self.page.mouse.move(place[0] - 10, place[1], steps=3)
        self.page.mouse.move(*place, steps=3)
        self.page.wait_for_function(FOLLOWS, arg=[place[0]], timeout=30_000)
        for patience in (10_000, 10_000, 30_000):
            self.page.mouse.click(*place)
            try:
                self.page.wait_for_function(f"() => !({HANGS})()", timeout=patience)
                break
            except PageTimeout:
                self.missed += 1
        assert not self.page.evaluate(HANGS)
        self.presses += 1
        self.editor.settle()

    def double_click(self, place: tuple[float, float]) -> None:
        """Opens the search; a page that was too busy to take two presses for one is asked again."""
        self.editor.settle()
        for _ in range(6):
            self.page.mouse.dblclick(*place)
            if self.asked():
                break
            self.missed += 1
        self.presses += 2

    def asked(self) -> bool:
        """Whether the search opens within a while; of a busy page that missed a press it does not."""
        try:
            expect(self.page.locator("input:focus").first).to_be_visible(timeout=5_000)
        except AssertionError:
            return False
        return True

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*[(one + other) / 2 for one, other in zip(start, end, strict=True)], steps=4)
        mouse.move(*end, steps=4)
        self.editor.settle()
        mouse.up()
        self.editor.settle()

    def slot(self, title: str, name: str, *, output: bool) -> tuple[float, float]:
        return tuple(self.page.evaluate(SLOT, [title, name, output]))

    def grow(
        self, title: str, name: str, words: str, place: tuple[float, float], *, output: bool = True
    ) -> None:
        """A new node from a slot: a link let go over free ground, where the search opens."""
        # The new node hangs where the pointer last was over the ground, links aside.
        self.page.mouse.move(*place, steps=3)
        self.editor.settle()
        for _ in range(3):
            self.drag(self.slot(title, name, output=output), place)
            if self.asked():
                break
            self.missed += 1
        self.presses += 1
        self.search(words, place)

    def link(self, origin: str, output: str, target: str, name: str) -> None:
        self.drag(self.slot(origin, output, output=True), self.slot(target, name, output=False))
        self.presses += 1

    def keep(self, label: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        kind = "vue" if self.editor.vue else "classic"
        self.page.screenshot(path=PICTURES / f"own-graph-{kind}-{label}.png")


def build(editor: EditorPage) -> Hand:
    """The graph by hand, from a page with nothing on it to two boxes with captions."""
    page, hand = editor.page, Hand(editor)
    page.evaluate("([scale]) => Object.assign(app.canvas.ds, { scale, offset: [0, 0] }) && null", [SCALE])
    page.evaluate("() => app.canvas.setDirty(true, true)")
    hand.double_click((300, 130))
    hand.search("Instance Layout", (300, 130))
    expect(editor.root).to_be_visible(timeout=30_000)
    layout, picture, demo = "Instance Layout", "Picture from Layout", "Load Demo Checkpoint"
    hand.grow(layout, "layout", picture, (930, 400))
    hand.grow(picture, "model", demo, (640, 160), output=False)
    for name in ("clip", "vae", "ifadapter"):
        hand.link(demo, name, picture, name)
    hand.grow(picture, "IMAGE", "Save Image", (1230, 160))
    hand.keep("wired")
    for box, caption in (
        ((0.08, 0.3, 0.48, 0.9), "a red striped circle"),
        ((0.55, 0.12, 0.92, 0.6), "a blue square"),
    ):
        editor.draw(box, caption, typed=True)
        hand.presses += 1
    return hand


def test_a_graph_of_ones_own_takes_few_presses(other_page, page, record_property):
    """With a real mouse and real keys, on the demo model, which is there."""
    editor = other_page(page.vue, viewport={"width": 1500, "height": 950}).open()
    hand = build(editor)
    kinds = ("MODEL", "CLIP", "VAE", "IFADAPTER")
    wanted = [
        "Instance Layout Picture from Layout INSTANCE_LAYOUT",
        *(f"Load Demo Checkpoint Picture from Layout {kind}" for kind in kinds),
        "Picture from Layout Save Image IMAGE",
    ]
    assert sorted(editor.page.evaluate(LINKS)) == sorted(wanted)
    # Smaller and shorter than it comes, which costs time and no press that a person would need.
    editor.page.evaluate(SMALL)
    editor.page.get_by_test_id("queue-button").first.click()
    hand.presses += 1
    expect(editor.root).to_have_attribute("data-picture", "", timeout=240_000)
    hand.keep("picture")
    with_the_demo = hand.presses
    # Load Checkpoint has no adapter among its outputs: a node more, in the place of one link.
    editor.page.evaluate(UNLINK)
    hand.grow("Picture from Layout", "ifadapter", "Load IFAdapter", (640, 420), output=False)
    assert "Load IFAdapter Picture from Layout IFADAPTER" in editor.page.evaluate(LINKS)
    hand.keep("adapter")
    with_a_checkpoint = hand.presses - 1
    record_property("mouse presses", [with_the_demo, with_a_checkpoint])
    assert (with_the_demo, with_a_checkpoint) == (15, 16)  # as docs/first-picture.md counts them
    assert hand.missed <= MISSED
    assert with_a_checkpoint <= MOST_PRESSES
    assert editor.problems == []
