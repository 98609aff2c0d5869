"""Pictures of runs under the regions: which ones, of which node and place in a batch, when they come back."""

from __future__ import annotations

import pytest
from editor_page import run_graph, wire
from playwright.sync_api import expect

SAMPLED, PLAIN, WIDE = {"red": 1.0}, {"blue": 1.0}, {"red": 1.0, "blue": 1.0, "width": 128}
# The layout node alone stands on the graph already.
NODES = {
    "sampler": ("Test_Sample", [900, 60], {}),
    "decode": ("Test_Decode", [900, 220], SAMPLED),
    "show": ("PreviewImage", [900, 420], {}),
}
LINKS = [
    ("layout", "layout", "sampler", "layout"),
    ("sampler", "latent", "decode", "latent"),
    ("decode", "image", "show", "images"),
]


def pixel(editor):
    """The colour under the regions, None without a picture."""
    return editor.root.evaluate(
        """(root) => {
          const canvas = root.querySelector('canvas.ic-picture');
          const { data } = canvas.getContext('2d').getImageData(5, 5, 1, 1);
          return canvas.hidden ? null : [...data].slice(0, 3);
        }"""
    )


def expect_pixel(editor, color):
    for _ in range(1000):
        if (seen := pixel(editor)) == color:
            return
        editor.page.wait_for_timeout(30)
    assert seen == color


def expect_green(editor, value):
    for _ in range(1000):
        seen = pixel(editor)
        if seen and seen[1] == value:
            return
        editor.page.wait_for_timeout(30)
    assert seen is not None
    assert seen[1] == value


def run(editor):
    assert run_graph(editor) is None
    editor.page.wait_for_timeout(300)


def test_only_pictures_sampled_through_the_layout_and_of_its_aspect_lie_under_it(editor):
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    wire(
        editor,
        {
            **NODES,
            "plain sampler": ("Test_Sample", [1150, 60], {}),
            "plain decode": ("Test_Decode", [1150, 220], PLAIN),
            "plain": ("PreviewImage", [1150, 420], {}),
            "wide decode": ("Test_Decode", [900, 700], WIDE),
            "wide": ("PreviewImage", [1150, 700], {}),
            "labels": ("IC_LayoutPreview", [20, 60], {}),
            "burnt in": ("PreviewImage", [20, 500], {}),
        },
        [
            *LINKS,
            # The same prompt without the regions.
            ("layout", "prompt", "plain sampler", "text"),
            ("plain sampler", "latent", "plain decode", "latent"),
            ("plain decode", "image", "plain", "images"),
            ("sampler", "latent", "wide decode", "latent"),
            ("wide decode", "image", "wide", "images"),
            ("layout", "layout", "labels", "layout"),
            ("decode", "image", "labels", "image"),
            ("labels", "image", "burnt in", "images"),
        ],
    )
    run(editor)
    expect_pixel(editor, [255, 0, 0])
    # Another picture of the branch without regions leaves it there.
    editor.page.evaluate(
        """() => {
          const all = app.graph.nodes.filter((node) => node.comfyClass === 'Test_Decode');
          for (const widget of all[1].widgets) if (widget.name === 'red') widget.value = 0.5;
        }"""
    )
    run(editor)
    expect_pixel(editor, [255, 0, 0])


def test_the_first_of_a_batch_is_shown_and_another_can_be_chosen(editor):
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    later = {
        "again": ("Test_Decode", [1150, 220], {"red": 1.0, "blue": 1.0}),
        "second": ("PreviewImage", [1150, 420], {}),
    }
    links = [
        *LINKS,
        ("sampler", "latent", "again", "latent"),
        ("again", "image", "second", "images"),
    ]
    nodes = {**NODES, "sampler": ("Test_Sample", [900, 60], {"batch": 3})}
    numbers = wire(editor, {**nodes, **later}, links)
    run(editor)
    expect_green(editor, 0)
    button = editor.root.get_by_role("toolbar").get_by_role("button", name="Picture under the regions")
    button.click()
    entries = editor.root.locator(".ic-menu [role=menuitemcheckbox]")
    named = [text for text in entries.all_inner_texts() if f"node {numbers['show']}" in text]
    assert len(named) == 3
    entries.filter(has_text=f"node {numbers['show']}").nth(2).click()
    expect_pixel(editor, [255, 127, 0])
    # The choice is kept with the node, through runs and files.
    run(editor)
    expect_pixel(editor, [255, 127, 0])
    saved = editor.page.evaluate(
        """() => {
          const { nodes } = app.graph.serialize();
          return nodes.find((one) => one.type === 'IC_InstanceLayout').properties.ic_picture;
        }"""
    )
    assert saved == {"node": str(numbers["show"]), "index": 2}
    button.click()
    editor.root.get_by_role("menuitemcheckbox", name="The newest").click()
    expect_green(editor, 0)


def test_the_picture_comes_back_with_its_workflow_tab(editor):
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    wire(editor, NODES, LINKS)
    run(editor)
    expect_pixel(editor, [255, 0, 0])
    editor.page.evaluate(
        """async () => {
          const { workflow } = app.extensionManager;
          window.before = workflow.activeWorkflow;
          await app.extensionManager.command.execute('Comfy.NewBlankWorkflow');
        }"""
    )
    editor.page.wait_for_function("() => app.extensionManager.workflow.activeWorkflow !== window.before")
    editor.page.wait_for_timeout(500)
    name = editor.page.evaluate("() => window.before.filename")
    editor.page.get_by_text(name, exact=True).first.click()
    editor.page.wait_for_function("() => app.extensionManager.workflow.activeWorkflow === window.before")
    expect(editor.root).to_be_visible(timeout=10_000)
    expect_pixel(editor, [255, 0, 0])


@pytest.mark.parametrize("opened", ["before the run", "after the run"])
def test_inside_a_subgraph_the_picture_is_there(editor, opened):
    editor.draw((0.25, 0.25, 0.5, 0.5), "a red fox")
    wire(editor, NODES, LINKS)
    editor.page.evaluate(
        """() => {
          const inside = app.graph.nodes.filter((node) => node.comfyClass !== 'PreviewImage');
          app.canvas.selectItems(inside);
          window.made = app.graph.convertToSubgraph(app.canvas.selectedItems);
        }"""
    )
    editor.page.wait_for_timeout(500)
    enter = "() => { app.canvas.setGraph(window.made.node.subgraph); app.canvas.setDirty(true, true); }"
    try:
        if opened == "before the run":
            editor.page.evaluate(enter)
            editor.page.wait_for_timeout(500)
        run(editor)
        if opened == "after the run":
            editor.page.evaluate(enter)
        editor.page.evaluate(
            """() => {
              const node = app.canvas.graph.nodes.find((one) => one.comfyClass === 'IC_InstanceLayout');
              app.canvas.ds.scale = 1;
              app.canvas.ds.offset = [320 - node.pos[0], 90 - node.pos[1]];
              app.canvas.setDirty(true, true);
            }"""
        )
        expect(editor.root).to_be_visible()
        expect_pixel(editor, [255, 0, 0])
    finally:
        editor.page.evaluate("() => app.canvas.setGraph(app.rootGraph ?? app.graph)")
