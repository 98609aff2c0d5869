"""The registry's archive in a ComfyUI that has nothing else of the pack: what its nodes need is in it."""

from __future__ import annotations

import json

import pytest
from comfyui_location import REPOSITORY, find_comfyui
from comfyui_server import api_prompt, running_server
from registry_archive import unpack_archive

from instance_composer.nodes import collect_nodes

FOLDER = "instance-composer"  # as ComfyUI-Manager calls it: the name in pyproject.toml
NODES = {node.define_schema().node_id for node in collect_nodes()}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    archive = unpack_archive(tmp_path_factory.mktemp("archive") / FOLDER)
    # Imports of the pack are relative, so the one installed in the tests' environment does not help out.
    with running_server(find_comfyui(), tmp_path_factory.mktemp("host"), {FOLDER: archive}) as running:
        yield running


def test_every_node_loads(server):
    assert {name for name in server.get("/object_info") if name.startswith("IC_")} == NODES
    for word in ("Traceback", "IMPORT FAILED", "could not be loaded"):
        assert word not in server.log


def test_help_templates_words_and_the_page_are_there(server):
    for node in NODES:
        assert server.read(f"/extensions/{FOLDER}/docs/{node}.md").startswith(b"# ")
    names = {path.stem for path in (REPOSITORY / "example_workflows").glob("*.json")}
    assert set(server.get("/workflow_templates")[FOLDER]) == names
    assert set(server.get("/i18n")["zh"]["nodeDefs"]) >= NODES
    (script,) = (one for one in server.get("/extensions") if one.startswith(f"/extensions/{FOLDER}/"))
    assert b"bundle" in server.read(script)
    assert server.read(f"/extensions/{FOLDER}/bundle/comfyui.mjs").startswith(b"// Made from")


def test_the_editors_routes_answer(server):
    assert server.post("/instance_composer/tokens", {"texts": ["a red book"]}) == (200, {"tokens": [5]})
    status, read = server.post("/instance_composer/layouts", {"text": "0.1 0.2 0.5 0.9: a red book"})
    assert (status, read["format"]) == (200, "lines")


def test_the_first_workflow_draws(server):
    (path,) = (REPOSITORY / "example_workflows").glob("*Try it*.json")
    workflow = json.loads(path.read_text(encoding="utf-8"))
    history = server.run(api_prompt(workflow, server.get("/object_info")))
    assert history["status"]["status_str"] == "success", server.log
