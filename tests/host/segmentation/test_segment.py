"""Segment Entities: published weights fit, files and folders agree, and what is found becomes a layout."""

from __future__ import annotations

import logging
import os
import pickle
import sys

import comfy.model_management
import pytest
import torch
from tiny_grounding_dino import (
    manifest,
    original_names,
    published,
    write_vocabulary,
)
from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.hosts.comfyui.segmentation import sam
from instance_composer.hosts.comfyui.segmentation.detect import Detector, load_detector
from instance_composer.hosts.comfyui.segmentation.files import (
    DETECTORS,
    SEGMENTERS,
    MissingWeightsError,
    detector_path,
    list_detectors,
    segmenter_path,
)
from instance_composer.hosts.comfyui.segmentation.segment import Thresholds, segment_entities
from instance_composer.models.entities.extraction import Entity, EntityTokens, Word
from instance_composer.models.vision.grounding_dino import backend_groundingdino
from instance_composer.models.vision.grounding_dino.conversion import convert, infer_config
from instance_composer.models.vision.grounding_dino.pixels import prepare
from instance_composer.models.vision.sam import HOW_TO_INSTALL, build_sam, infer_sizes
from instance_composer.models.weights import CheckpointError
from instance_composer.nodes.segmentation import SegmentEntities

NOUNS = ["book", "vase", "lighthouse"]


def entity(noun, *modifiers, number=1, localisable=True):
    words = tuple(Word(word, 0, 0) for word in (*modifiers, noun))
    found = Entity(noun, modifiers, " ".join((*modifiers, noun)), 0, 0, words, number, localisable)
    return EntityTokens(found, (), (), ())


@pytest.mark.text_encoders
@pytest.mark.parametrize("name", ["swint_ogc", "swinb_cogcoor"])
def test_the_published_original_files_fit_the_architecture(name):
    """By name and shape: the file as the original code makes it, the network as transformers builds it."""
    original = {key: torch.empty(shape, device="meta") for key, shape in manifest(name).items()}
    sizes = infer_config(original)
    kinds = {"backbone_config": SwinConfig, "text_config": BertConfig}
    parts = {
        part: kind(**{key: value for key, value in sizes[part].items() if key != "model_type"})
        for part, kind in kinds.items()
    }
    with torch.device("meta"):
        built = GroundingDinoForObjectDetection(GroundingDinoConfig(**{**sizes, **parts}))
    expected = {key: value.shape for key, value in published(built.state_dict()).items()}
    found = {key: value.shape for key, value in convert(original).items()}
    indices = {key for key in found if key.endswith("attention.self.relative_position_index")}
    assert len(indices) == sum(sizes["backbone_config"]["depths"])
    # Unused, and not in the file; and what transformers 4 keeps as a weight and 5 computes.
    unused = {key for key in expected if "conv_encoder.model.layernorm." in key}
    kept = indices & set(expected)
    assert kept in (indices, set())
    assert {key: shape for key, shape in found.items() if key not in indices - kept} == {
        key: shape for key, shape in expected.items() if key not in unused
    }
    if name == "swint_ogc":
        usual = GroundingDinoConfig()
        for key, value in sizes.items():
            if key not in kinds and key != "disable_custom_kernels":
                assert getattr(usual, key) == value, key
        assert sizes["backbone_config"]["depths"] == [2, 2, 6, 2]
        assert sizes["backbone_config"]["num_heads"] == [3, 6, 12, 24]
        assert (sizes["backbone_config"]["window_size"], sizes["text_config"]["num_attention_heads"]) == (
            7,
            12,
        )


@pytest.mark.text_encoders
def test_an_original_file_and_a_folder_are_the_same_network(files, network, picture):
    from_file = load_detector(detector_path("tiny.pth"))
    ids = from_file.finder.caption(NOUNS).ids
    assert ids == (101, 200, 1012, 201, 1012, 204, 205, 1012, 102)
    prepared = prepare(picture)
    assert prepared.shape == (1, 3, 800, 1067)
    # As small as the backbone's windows allow: what is compared does not depend on the size.
    prepared = prepared[..., ::4, ::4]
    text = torch.tensor([ids])
    expected = network(
        pixel_values=prepared,
        input_ids=text,
        token_type_ids=torch.zeros_like(text),
        attention_mask=torch.ones_like(text),
    )
    for detector in (from_file, load_detector(detector_path("tiny-folder"))):
        logits, boxes = detector.finder.network(prepared, [ids])
        assert torch.equal(boxes, expected.pred_boxes)
        assert torch.equal(logits[..., : len(ids)], expected.logits[..., : len(ids)])
        assert detector.finder.tokenize("Lighthouse") == [204, 205]
    assert expected.pred_boxes.std() > 0.05, "weights that show"


def test_files_that_are_something_else(files, network, tmp_path):
    state = original_names(published(network.state_dict()))
    write_vocabulary(tmp_path)
    lacking = {name: tensor for name, tensor in state.items() if "fusion_layers.1.attn.v_proj" not in name}
    for content, message in (
        (lacking, "fusion_layer.attn.vision_proj.bias, .* missing"),
        ({**state, "transformer.new": torch.zeros(1)}, "has transformer.new besides"),
        ({"weight": torch.zeros(3)}, "no Grounding DINO with the names of the original code"),
        ({"transformer.level_embed": torch.zeros(4, 32)}, "is missing. Use groundingdino_swint_ogc.pth"),
    ):
        torch.save({"model": content}, tmp_path / "other.pth")
        with pytest.raises(CheckpointError, match=message):
            load_detector(tmp_path / "other.pth")
    with (tmp_path / "other.pth").open("wb") as file:
        pickle.dump({"model": os.system}, file)
    with pytest.raises(CheckpointError, match="could run code"):
        load_detector(tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="SAM 2, MobileSAM and HQ-SAM are others"):
        sam.load_segmenter(files / DETECTORS / "tiny.pth")


def test_missing_files_say_which_where_and_what_else(files, tmp_path):
    with pytest.raises(MissingWeightsError, match=r"groundingdino_swint_ogc.pth.*models.*SAM3 Detect"):
        detector_path("groundingdino_swint_ogc.pth")
    with pytest.raises(MissingWeightsError, match=r"sam_vit_b_01ec64.pth.*sams.*BOUNDING_BOX"):
        segmenter_path("sam_vit_b_01ec64.pth")
    (tmp_path / "lonely.pth").write_bytes(b"")
    with pytest.raises(
        MissingWeightsError, match=r"vocab.txt .*bert-base-uncased.* into .*bert-base-uncased"
    ):
        load_detector(tmp_path / "lonely.pth")
    offered = list_detectors()
    assert {"tiny.pth", "tiny-folder", "groundingdino_swint_ogc.pth"} <= set(offered)
    assert not any("safetensors" in name for name in offered), "a folder is offered whole"
    for outside in ("../sams/sam_tiny.pth", "/etc/passwd", str(files / DETECTORS / "tiny.pth"), ".."):
        with pytest.raises(MissingWeightsError):
            detector_path(outside)


@pytest.mark.parametrize("kind", ["vit_b", "vit_l", "vit_h"])
def test_the_published_sam_files_fit(kind):
    segment_anything = pytest.importorskip("segment_anything", reason=HOW_TO_INSTALL)
    with torch.device("meta"):
        state = segment_anything.sam_model_registry[kind]().state_dict()
    sizes = infer_sizes(state, kind)
    expected = {
        "vit_b": (768, 12, 12, [2, 5, 8, 11]),
        "vit_l": (1024, 24, 16, [5, 11, 17, 23]),
        "vit_h": (1280, 32, 16, [7, 15, 23, 31]),
    }
    assert tuple(sizes.values()) == expected[kind]
    built = build_sam(state, kind)
    assert {name: value.shape for name, value in built.state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }


def test_masks_are_those_of_the_package(files, picture, tiny_sam):
    segment_anything = pytest.importorskip("segment_anything", reason=HOW_TO_INSTALL)
    official = tiny_sam()
    official.load_state_dict(torch.load(files / SEGMENTERS / "sam_tiny.pth", weights_only=True))
    predictor = segment_anything.SamPredictor(official.eval())
    predictor.set_image((picture * 255).round().to(torch.uint8).numpy())
    boxes = [(0.1, 0.2, 0.5, 0.9), (0.5, 0.0, 1.0, 0.5)]
    expected = []
    for x0, y0, x1, y1 in boxes:
        corners = torch.tensor([x0 * 128, y0 * 96, x1 * 128, y1 * 96]).numpy()
        expected.append(torch.from_numpy(predictor.predict(box=corners, multimask_output=False)[0][0]))
    masks = sam.segment(sam.load_segmenter(segmenter_path("sam_tiny.pth")), picture, boxes)
    assert torch.equal(masks, torch.stack(expected))
    assert 0 < masks.float().mean() < 1


def test_what_is_found_becomes_a_layout(files, picture, caplog):
    """A random network finds things too, with thresholds between its scores of two nouns."""
    caplog.set_level(logging.WARNING)
    detector = load_detector(detector_path("tiny.pth"))
    logits, _ = detector.finder.network(prepare(picture), [detector.finder.caption(["book", "vase"]).ids])
    scores = logits[0, :, [1, 3]].sigmoid()
    row = (scores[:, 0] - scores[:, 1]).abs().argmax()
    sure = ("book", "vase")[int(scores[row].argmax())]
    between = Thresholds(box=float(scores.max(1).values.min()) - 1e-3, text=float(scores[row].mean()))
    entities = PromptEntities(
        f"a red book, a mood, a vase and a {sure}",
        (entity("book", "red"), entity("mood", localisable=False), entity("vase"), entity(sure, number=2)),
    )
    paths = detector_path("tiny.pth"), segmenter_path("sam_tiny.pth")
    layout, masks = segment_entities(picture, entities, *paths, between)
    found = detector.detect(picture, ["book", "vase"], between.box, between.text)
    regions = torch.zeros(2, 96, 128, dtype=torch.bool)
    shapes = sam.segment(sam.load_segmenter(paths[1]), picture, [one.box for one in found])
    for one, shape in zip(found, shapes, strict=True):
        regions[one.noun] |= shape
    of_entities = regions[[0, 1, ("book", "vase").index(sure)]]
    assert of_entities[2].any()
    assert torch.equal(masks, of_entities.float()), "one for each that can have a place"
    all_of_them = (("book", "red book"), ("vase", "vase"), (f"{sure}-2", sure))
    expected = [one for one, region in zip(all_of_them, of_entities, strict=True) if region.any()]
    assert [(one.id, one.caption) for one in layout.instances] == expected
    assert (layout.canvas.width, layout.canvas.height) == (128, 96)
    raster = torch.frombuffer(bytearray(layout.instances[-1].mask.raster(128, 96)), dtype=torch.uint8)
    assert torch.equal(raster.view(96, 128).bool(), of_entities[2])
    assert not layout.problems()

    nothing, empty = segment_entities(picture, entities, *paths, Thresholds(box=1.0))
    assert nothing.instances == ()
    assert empty.shape == (3, 96, 128)
    assert not empty.any()
    assert "Not found in the picture: book, vase." in caplog.text
    none, blank = segment_entities(
        picture, PromptEntities("mood", (entity("mood", localisable=False),)), *paths
    )
    assert none.instances == ()
    assert blank.shape == (1, 96, 128)


def test_a_search_can_be_interrupted_and_repeated(files, picture):
    detector = load_detector(detector_path("tiny.pth"))
    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        detector.detect(picture, NOUNS, 0.3, 0.25)
    assert isinstance(detector.detect(picture, NOUNS, 0.3, 0.25), list)


def test_more_nouns_than_one_caption_holds(files, picture):
    detector: Detector = load_detector(detector_path("tiny.pth"))
    many = NOUNS * 60
    assert detector.count_passes(many) == 2  # 60 * (2 + 2 + 3) tokens, 254 at a time
    passes = []
    detector.detect(picture, many, 1.0, 0.25, lambda: passes.append(1))
    assert len(passes) == 2


def test_workflows_of_before_there_was_a_backend(files, small_pictures, picture, monkeypatch):
    last = SegmentEntities.define_schema().inputs[-1]
    assert (last.id, last.optional, last.default) == ("backend", True, "transformers")
    assert last.options == ["transformers", "groundingdino-py"]
    entities = PromptEntities("a book", (entity("book"),))
    inputs = picture[None], entities, "tiny.pth", "sam_tiny.pth", 1.0, 0.25
    before, chosen = SegmentEntities.execute(*inputs), SegmentEntities.execute(*inputs, backend=last.default)
    assert torch.equal(before.result[1], chosen.result[1])
    monkeypatch.setitem(sys.modules, "groundingdino", None)
    with pytest.raises(backend_groundingdino.BackendError):
        SegmentEntities.execute(*inputs, backend="groundingdino-py")
