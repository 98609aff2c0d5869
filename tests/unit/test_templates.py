"""Workflow templates and blueprints as files: order, groups, notes, and where their nodes come from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from comfyui_location import REPOSITORY
from PIL import Image, ImageSequence

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib  # pytest brings it there

TEMPLATES = sorted((REPOSITORY / "example_workflows").glob("*.json"))
BLUEPRINTS = sorted((REPOSITORY / "subgraphs").glob("*.json"))
TITLE = 30  # pixels of a node's title, which lies above its place
MOST_NODES_TO_TRY = 5


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def registry_id() -> str:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]


def test_the_page_knows_an_order_for_every_template_and_begins_with_the_one_to_try():
    script = (REPOSITORY / "web" / "instance_composer.js").read_text(encoding="utf-8")
    (listed,) = re.findall(r"const TEMPLATES = \[(.*?)\]", script, re.DOTALL)
    names = re.findall(r'"([^"]+)"', listed)
    assert names[0] == "Try it"
    assert sorted(names) == sorted(path.stem for path in TEMPLATES)


@pytest.mark.parametrize("path", [*TEMPLATES, *BLUEPRINTS], ids=lambda path: path.stem)
def test_a_node_says_which_pack_it_is_of(path: Path) -> None:
    """So that a friend without the pack is told what to install."""
    graph = read(path)
    inner = [node for one in graph.get("definitions", {}).get("subgraphs", ()) for node in one["nodes"]]
    for node in [*graph["nodes"], *inner]:
        if node["type"].startswith("IC_"):
            assert node["properties"]["cnr_id"] == registry_id(), node["type"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_has_named_groups_around_all_of_its_nodes_and_a_note(path: Path) -> None:
    graph = read(path)
    notes = [node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MarkdownNote"]
    assert notes
    assert "`" not in "".join(notes), "notes show code in letters that cannot be read on their ground"
    assert all(group["title"] for group in graph["groups"])
    for node in graph["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        around = [
            group
            for group in graph["groups"]
            for left, top, wide, high in [group["bounding"]]
            if left <= x and top <= y - TITLE and x + width <= left + wide and y + height <= top + high
        ]
        assert len(around) == 1, (node["type"], node["pos"], node["size"])


def test_the_template_to_try_is_small():
    graph = read(REPOSITORY / "example_workflows" / "Try it.json")
    assert sum(node["type"] != "MarkdownNote" for node in graph["nodes"]) <= MOST_NODES_TO_TRY


@pytest.mark.parametrize("path", [*TEMPLATES, *BLUEPRINTS], ids=lambda path: path.stem)
def test_numbers_of_nodes_and_links_are_unique_subgraphs_included(path: Path) -> None:
    """A front end gives the second of two a new number, with a warning, whenever the workflow is opened."""
    graph = read(path)
    inner = graph.get("definitions", {}).get("subgraphs", ())
    nodes = [node["id"] for one in (graph, *inner) for node in one["nodes"]]
    links = [link[0] for link in graph["links"]] + [link["id"] for one in inner for link in one["links"]]
    assert len(set(nodes)) == len(nodes)
    assert len(set(links)) == len(links)
    assert graph["last_node_id"] >= max(nodes)
    assert graph["last_link_id"] >= max(links, default=0)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_words_that_two_nodes_read_are_written_once(path: Path) -> None:
    """Else whoever changes one of them goes on with the old ones at the other."""
    written: dict[str, list[str]] = {}
    for node in read(path)["nodes"]:
        for value in node.get("widgets_values") or ():
            if isinstance(value, str) and len(value.split()) > 1 and node["type"] != "MarkdownNote":
                written.setdefault(value, []).append(node["type"])
    assert {words: types for words, types in written.items() if len(types) > 1} == {}


def test_the_film_of_the_readme_is_short_and_small():
    film = REPOSITORY / "docs" / "draw.webp"
    assert f"({film.relative_to(REPOSITORY).as_posix()})" in (REPOSITORY / "README.md").read_text("utf-8")
    assert film.stat().st_size <= 400_000
    with Image.open(film) as opened:
        times = []
        for frame in ImageSequence.Iterator(opened):
            frame.load()
            times.append(frame.info["duration"])
    assert len(times) > 20
    assert sum(times) < 12_000  # milliseconds


def test_the_gallery_of_the_readme_has_no_white_patches():
    gallery = REPOSITORY / "docs" / "demo.webp"
    assert f"({gallery.relative_to(REPOSITORY).as_posix()})" in (REPOSITORY / "README.md").read_text("utf-8")
    with Image.open(gallery) as opened:
        grey = opened.convert("L")
    assert sum(grey.histogram()[250:]) < 0.005 * grey.width * grey.height
