"""A member of the gallery that is a running ComfyUI: the real server, and nodes of its own alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from instance_composer.rankings.errors import GalleryError
from instance_composer.rankings.gallery import Gallery, Member, Prompt
from instance_composer.training.gallery.comfyui_member import ComfyUIMember

# The seed is the picture's colour, and the prompt its file's name.
WORKFLOW = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 1, "color": 0}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "none"}},
}
PROMPT = Prompt("attribute", 0, "a red book")


def member(tmp_path: Path, url: str, workflow=WORKFLOW, **options) -> ComfyUIMember:
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(workflow))
    told = {"url": url, "workflow": str(file), "prompt": "2.filename_prefix", "seed": "1.color", **options}
    own = Member("server", "comfyui", told)
    return ComfyUIMember(own, Gallery(tmp_path / "gallery.toml", {"server": own}, (PROMPT,), "x", (16, 8)))


def test_prompt_and_seed_reach_the_workflow_and_its_picture_comes_back(server, tmp_path):
    drawer = member(tmp_path, server.address + "/")
    picture = drawer.draw(PROMPT, 0x204060)
    assert picture.size == (16, 8)
    assert np.unique(np.asarray(picture).reshape(-1, 3), axis=0).tolist() == [[0x20, 0x40, 0x60]]
    assert list((server.base / "output").glob("a red book_*.png"))
    assert drawer.draw(PROMPT, 5).getpixel((0, 0)) == (0, 0, 5)


def test_a_layout_reaches_the_workflow(server, tmp_path):
    box = {"id": "1", "box": [0, 0, 1, 1], "caption": "a red book"}
    document = {
        "version": 1,
        "canvas": {"width": 16, "height": 16},
        "prompt": PROMPT.text,
        "instances": [box],
    }
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "one.json").write_text(json.dumps(document))
    workflow = {
        **WORKFLOW,
        "3": {"class_type": "PreviewAny", "inputs": {"source": "nothing"}},
    }
    drawer = member(tmp_path, server.address, workflow, layout="3.source", layouts=str(tmp_path / "plans"))
    drawer.draw(PROMPT, 1)
    *_, job = server.get("/history").values()
    assert json.loads(job["prompt"][2]["3"]["inputs"]["source"])["prompt"] == PROMPT.text


def test_what_the_server_refuses_is_told_by_node(server, tmp_path):
    workflow = {
        **WORKFLOW,
        "1": {"class_type": "EmptyImage", "inputs": {**WORKFLOW["1"]["inputs"], "width": -3}},
    }
    with pytest.raises(GalleryError, match=r"refused the workflow: EmptyImage \(node 1\): Value -3 smaller"):
        member(tmp_path, server.address, workflow).draw(PROMPT, 1)


def test_a_workflow_without_a_picture_and_one_that_fails_are_told(server, tmp_path):
    workflow = {
        **WORKFLOW,
        "2": {"class_type": "PreviewAny", "inputs": {"source": "x", "filename_prefix": ""}},
    }
    with pytest.raises(GalleryError, match="the workflow ran and gave no picture"):
        member(tmp_path, server.address, workflow).draw(PROMPT, 1)
    drawer = member(tmp_path, server.address, prompt="2.filename_prefix")
    with pytest.raises(GalleryError, match=r"the workflow failed: SaveImage \(node 2\)"):
        drawer.draw(Prompt("attribute", 0, "../../outside"), 1)


def test_inputs_that_are_not_there_are_told_before_anything_runs(server, tmp_path):
    for option, given, sentence in (
        ("prompt", "text", 'write a node and its input, as "6.text"; there are 1 \\(EmptyImage\\)'),
        ("prompt", "9.text", "there are 1 \\(EmptyImage\\), 2 \\(SaveImage\\)"),
        ("seed", "2.images", "has no such input without a link; it has filename_prefix"),
        ("layout", "2.filename_prefix", "give both"),
    ):
        with pytest.raises(GalleryError, match=sentence):
            member(tmp_path, server.address, **{option: given})
    with pytest.raises(GalleryError, match=r"choose Workflow, Export \(API\), not Export"):
        member(tmp_path, server.address, {"nodes": [], "links": []})


def test_no_server_is_told(tmp_path):
    with pytest.raises(GalleryError, match=r"no ComfyUI answers at http://127.+start it, or mend"):
        member(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(GalleryError, match="write it as http://127"):
        member(tmp_path, "127.0.0.1:8188")
