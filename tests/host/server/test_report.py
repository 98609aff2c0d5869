"""The report that ComfyUI's server makes of itself, and its numbers beside those of diffusers."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch

from instance_composer.demo import ADAPTER, FOLDER
from instance_composer.doctor.installation import FOLDERS
from instance_composer.doctor.self_check import unet_inputs
from instance_composer.hosts.comfyui.server import report


@pytest.fixture
def model_folders(tmp_path, monkeypatch):
    """ComfyUI's model folders, led to one with an adapter and the demo's UNet under IterComp's name."""
    import folder_paths

    from instance_composer.hosts.comfyui.ifadapter.folder import register_folder

    register_folder()
    # All of them: in this process other tests have registered folders of their own.
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        _, endings = folder_paths.folder_names_and_paths.get(name, ([], set()))
        entry = ([str(tmp_path / name)] * 2, endings)
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, entry)
    shutil.copy(FOLDER / ADAPTER, tmp_path / "ifadapter" / "mine.safetensors")
    (tmp_path / "diffusers" / "itercomp").symlink_to(FOLDER, target_is_directory=True)
    return tmp_path


def test_the_route_tells_what_is_there_and_tries_it_when_asked(post, model_folders):
    status, quick = post(report.PATH, {})
    assert status == 200
    assert quick["text"].count("ifadapter/mine.safetensors") == 1
    assert "SHA-256" not in quick["text"]
    status, thorough = post(report.PATH, {"thorough": True})
    assert status == 200
    assert "SHA-256" in thorough["text"]
    assert "itercomp" in thorough["text"].partition("Self-check")[2]
    assert thorough["faults"] == 0, thorough["text"]


class Queue:
    """ComfyUI's queue, which says at each question how many prompts it has."""

    def __init__(self, *remaining):
        self.remaining = list(remaining)

    def get_tasks_remaining(self):
        return self.remaining.pop(0) if len(self.remaining) > 1 else self.remaining[0]


@pytest.mark.parametrize("remaining", [(1,), (0, 1)], ids=["before", "while files are hashed"])
def test_no_model_is_tried_while_a_picture_is_drawn(post, model_folders, monkeypatch, remaining):
    from instance_composer.hosts.comfyui.checkpoints import unet_pass

    monkeypatch.setattr(unet_pass, "predict_noise", lambda *_: pytest.fail("a model was loaded"))
    server = sys.modules["server"].PromptServer.instance
    server.prompt_queue = Queue(*remaining)
    status, reply = post(report.PATH, {"thorough": True})
    assert status == 409
    assert "queue is empty" in reply["error"]
    server.prompt_queue = Queue(1)
    status, quick = post(report.PATH, {})
    assert status == 200, "looking needs no model"
    assert quick["text"]


def test_what_is_not_understood_is_refused_in_words(post):
    status, reply = post(report.PATH, [1])
    assert status == 400
    assert "thorough" in reply["error"]


def test_a_request_too_large_makes_no_report(post, monkeypatch):
    monkeypatch.setattr(report, "examine", lambda *_, **__: pytest.fail("a report was made"))
    status, reply = post(report.PATH, b" " * (report.MOST_BYTES + 1))
    assert (status, list(reply)) == (413, ["error"])


def test_both_hosts_compute_the_same_numbers():
    from instance_composer.hosts.comfyui.checkpoints.unet_pass import predict_noise as in_comfyui
    from instance_composer.hosts.diffusers_sdxl.unet_pass import predict_noise as in_diffusers

    inputs = unet_inputs(Path(FOLDER))
    ours, theirs = in_comfyui(FOLDER, inputs), in_diffusers(FOLDER, inputs)
    assert ours.std() > 0.5
    # The demo's weights are half precision; ComfyUI on a CPU computes in float32 as diffusers does here.
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)
