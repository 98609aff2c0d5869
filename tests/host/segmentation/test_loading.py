"""Detectors and segmenters on a GPU with room for all of them, for a part, or for nothing."""

from __future__ import annotations

import gc
import logging
import weakref
from dataclasses import replace

import comfy.model_management
import pytest
import torch
from patcher_on_meta import PatcherOnMeta, without_memory

from instance_composer.hosts.comfyui.loading import LastLoaded, gather
from instance_composer.hosts.comfyui.segmentation import detect, sam
from instance_composer.hosts.comfyui.segmentation.files import (
    detector_path,
    segmenter_path,
    vocabulary_path,
)


def fresh_segmenter():
    """The patcher of a SAM that nobody else has: a model remembers where ComfyUI has loaded it."""
    return sam.read_segmenter(segmenter_path("sam_tiny.pth"))


def fresh_detector():
    path = detector_path("tiny.pth")
    return detect.read_detector(path, detect.DEFAULT_BACKEND, vocabulary_path(path))


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


def test_what_is_kept_goes_when_comfyui_unloads_its_models(files, picture, small_pictures):
    """As by "Unload Models" and "Free model and node cache"; a second run before that reads nothing."""
    path, box = segmenter_path("sam_tiny.pth"), (0.1, 0.2, 0.5, 0.9)
    expected = sam.segment(sam.load_segmenter(path), picture, [box])
    detect.load_detector(detector_path("tiny.pth")).detect(picture, ["book"], 0.0, 0.0)
    assert sam.load_segmenter(path) is sam.load_segmenter(path)
    assert detect.load_detector(detector_path("tiny.pth")) is detect.load_detector(detector_path("tiny.pth"))
    kept = [
        weakref.ref(sam.load_segmenter(path).model),
        weakref.ref(detect.load_detector(detector_path("tiny.pth")).patcher.model),
    ]
    comfy.model_management.unload_all_models()
    gc.collect()
    assert [one() for one in kept] == [None, None]
    assert torch.equal(sam.segment(sam.load_segmenter(path), picture, [box]), expected)


def test_moving_weights_for_a_run_is_no_unloading(files):
    with torch.inference_mode(False):
        patcher = PatcherOnMeta(fresh_segmenter().model)
    last = LastLoaded(lambda one: one)
    assert last.get("key", lambda: patcher) is patcher
    patcher.load_with(0.75 * patcher.model_size())
    gather(patcher)
    assert last.get("key", lambda: pytest.fail("read again")) is patcher
    patcher.detach()
    other = fresh_segmenter()
    assert last.get("key", lambda: other) is other
