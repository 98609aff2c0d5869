"""Detectors and segmenters on a GPU with room for all of them, for a part, or for nothing."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from patcher_on_meta import PatcherOnMeta, without_memory

from instance_composer.hosts.comfyui.loading import gather
from instance_composer.hosts.comfyui.segmentation import detect, sam
from instance_composer.hosts.comfyui.segmentation.files import (
    detector_path,
    segmenter_path,
    vocabulary_path,
)


def fresh_segmenter():
    """The patcher of a SAM that nobody else has: a model remembers where ComfyUI has loaded it."""
    return sam._load.__wrapped__(segmenter_path("sam_tiny.pth"), 0)


def fresh_detector():
    path = detector_path("tiny.pth")
    return detect._load.__wrapped__(path, detect.DEFAULT_BACKEND, vocabulary_path(path), 0)


@pytest.mark.parametrize("build", [fresh_segmenter, lambda: fresh_detector().patcher], ids=["SAM", "DINO"])
def test_a_model_is_whole_on_the_gpu_or_on_the_cpu_and_never_in_parts(files, build, caplog):
    caplog.set_level(logging.WARNING)
    with torch.inference_mode(False):
        patcher = PatcherOnMeta(build().model)
    most = 0.75 * patcher.model_size()
    assert patcher.load_with(0.1) == {"cpu"}
    assert gather(patcher) == torch.device("cpu")
    patcher.detach()
    assert patcher.load_with(most) == {"cpu", "meta"}, "what ComfyUI leaves where memory is short"
    assert gather(patcher) == torch.device("cpu")
    assert {tensor.device.type for tensor in patcher.model.state_dict().values()} == {"cpu"}
    assert caplog.text.count("cannot run in parts, so it runs on cpu, which is slower") == 2
    caplog.clear()
    patcher.detach()
    assert patcher.load_with(0) == {"meta"}
    assert gather(patcher) == torch.device("meta")
    assert not caplog.text


def test_without_memory_on_the_gpu_both_models_run_on_the_cpu(files, picture, small_pictures, monkeypatch):
    boxes = [(0.1, 0.2, 0.5, 0.9)]
    expected = (
        sam.segment(fresh_segmenter(), picture, boxes),
        fresh_detector().detect(picture, ["book"], 0.0, 0.0),
    )
    without_memory(monkeypatch)
    detector = fresh_detector()
    with torch.inference_mode(False):
        patchers = PatcherOnMeta(fresh_segmenter().model), PatcherOnMeta(detector.patcher.model)
    masks = sam.segment(patchers[0], picture, boxes)
    found = replace(detector, patcher=patchers[1]).detect(picture, ["book"], 0.0, 0.0)
    assert torch.equal(masks, expected[0])
    assert found == expected[1]
    assert len(found) == 24
