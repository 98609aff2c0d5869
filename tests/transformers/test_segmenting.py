"""Masks of nouns by boxes and SAM, real classes at tiny size; boxes from a list or from Grounding DINO."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from tiny_annotators import write_tiny_grounding_dino

from instance_composer.layout import Box
from instance_composer.models.vision.interfaces import Detection, ModelError
from instance_composer.models.vision.segmenting import GroundedSegmenter

pytest.importorskip("segment_anything", reason="Grounded SAM needs the package segment-anything")

SIZES = {
    "encoder_embed_dim": 32,
    "encoder_depth": 2,
    "encoder_num_heads": 2,
    "encoder_global_attn_indexes": [1],
}


@pytest.fixture(scope="module")
def sam_file(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sam = import_module("segment_anything.build_sam")._build_sam(**SIZES)
    file = tmp_path_factory.mktemp("sam") / "sam.pth"
    torch.save(sam.state_dict(), file)
    return file


class Listed:
    """A detector whose boxes are given."""

    def __init__(self, found: list[list[Detection]]) -> None:
        self.found, self.asked = found, []

    def detect(self, pictures, words):
        self.asked.append([(picture.size, list(some)) for picture, some in zip(pictures, words, strict=True)])
        return self.found


@pytest.fixture
def segmenter(sam_file, tmp_path):
    detector = write_tiny_grounding_dino(tmp_path / "dino")
    return GroundedSegmenter.load(str(detector), sam_file, 0.3, 0.25)


def test_a_noun_is_the_union_of_its_boxes_and_a_missing_one_empty(segmenter):
    left, right = Box(0.0, 0.0, 0.5, 1.0), Box(0.5, -0.2, 1.1, 1.0)
    pictures = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))

    def masks(*found: Detection) -> torch.Tensor:
        segmenter.detector = Listed([list(found), []])
        first, second = segmenter.masks(pictures, [["dog", "bench"], ["cat"]])
        assert first.shape == (2, 32, 48)
        assert first.dtype == torch.bool
        # Nothing was found in the second picture: an empty mask.
        assert second.shape == (1, 32, 48)
        assert not second.any()
        return first

    one, other = (masks(Detection("dog", box, 0.9))[0] for box in (left, right))
    both = masks(Detection("dog", left, 0.9), Detection("dog", right, 0.5))
    assert torch.equal(both[0], one | other)
    assert not both[1].any()
    assert bool(both[0].any())
    ((size, words), (_, others)) = segmenter.detector.asked[0]
    assert (size, words, others) == ((48, 32), ["dog", "bench"], ["cat"])


def test_the_detector_finds_by_whole_phrases(segmenter):
    """Of real classes all the way: masks of whatever a random network finds, one for each noun."""
    (masks,) = segmenter.masks(torch.rand(1, 3, 64, 96), [["cat", "traffic light"]])
    assert masks.shape == (2, 64, 96)


def test_it_says_its_models_and_can_ask_sam_where_nothing_is_found(segmenter):
    models = segmenter.models()
    assert models == {"sam": segmenter.sam, "detector": segmenter.detector.model}
    # Three copies of what all 64 x 64 patches are to each other, for two heads, in float32.
    assert segmenter.bytes_of_a_pass() == 3 * 2 * 64**4 * 4
    seen = []
    segmenter.sam.image_encoder.register_forward_hook(lambda *_: seen.append(1))
    segmenter.detector = Listed([[]])
    grey = torch.full((1, 3, 64, 64), 0.5)
    segmenter.masks(grey, [["cat"]])
    assert not seen
    segmenter.rehearse(grey, [["cat"]])
    assert len(seen) == 1
    assert segmenter.models() == {"sam": segmenter.sam}


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match="--segmenter: there is no file"):
        GroundedSegmenter.load("x", tmp_path / "none.pth", 0.3, 0.25)
