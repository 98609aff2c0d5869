"""Segment Entities: published weights fit, files and folders agree, and what is found becomes a layout."""

from __future__ import annotations

import logging
import os
import pickle
import re
import sys
from dataclasses import replace
from importlib import import_module

import comfy.model_management
import folder_paths
import pytest
import torch
import transformers
from patcher_on_meta import PatcherOnMeta, without_memory
from tiny_grounding_dino import (
    manifest,
    original_names,
    published,
    tiny_grounding_dino,
    write_vocabulary,
)
from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

from instance_composer.hosts.comfyui.loading import gather
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.hosts.comfyui.segmentation import detect, sam
from instance_composer.hosts.comfyui.segmentation.detect import Detector, load_detector
from instance_composer.hosts.comfyui.segmentation.files import (
    DETECTORS,
    SEGMENTERS,
    MissingWeightsError,
    detector_path,
    list_detectors,
    register_folders,
    segmenter_path,
    vocabulary_path,
)
from instance_composer.hosts.comfyui.segmentation.segment import Thresholds, segment_entities
from instance_composer.models.entities.extraction import Entity, EntityTokens, Word
from instance_composer.models.vision.grounding_dino import backend_groundingdino, pixels
from instance_composer.models.vision.grounding_dino.conversion import convert, infer_config
from instance_composer.models.vision.grounding_dino.pixels import prepare
from instance_composer.models.vision.sam import HOW_TO_INSTALL, build_sam, infer_sizes
from instance_composer.models.weights import CheckpointError
from instance_composer.nodes.segmentation import SegmentEntities

NOUNS = ["book", "vase", "lighthouse"]
SAM = {
    "encoder_embed_dim": 32,
    "encoder_depth": 2,
    "encoder_num_heads": 2,
    "encoder_global_attn_indexes": [1],
}


def build_tiny_sam():
    # The package has a function of the module's name in the module's place.
    building = import_module("segment_anything.build_sam")
    return building._build_sam(**SAM)


@pytest.fixture(scope="module")
def network():
    return tiny_grounding_dino()


@pytest.fixture(scope="module")
def files(tmp_path_factory, network):
    """A models folder: the same network as an original file and as a folder, and a SAM."""
    pytest.importorskip("segment_anything", reason=HOW_TO_INSTALL)
    base = tmp_path_factory.mktemp("models")
    for name in (DETECTORS, SEGMENTERS):
        (base / name).mkdir()
        register_folders()
        folder_paths.add_model_folder_path(name, str(base / name))
    state = original_names(published(network.state_dict()))
    saved = {"model": {f"module.{name}": tensor.clone() for name, tensor in state.items()}}
    saved["model"]["module.bert.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save(saved, base / DETECTORS / "tiny.pth")
    write_vocabulary(base / DETECTORS)
    network.save_pretrained(base / DETECTORS / "tiny-folder")
    write_vocabulary(base / DETECTORS / "tiny-folder")
    with torch.random.fork_rng():
        torch.manual_seed(2)
        torch.save(build_tiny_sam().state_dict(), base / SEGMENTERS / "sam_tiny.pth")
    return base


@pytest.fixture(scope="module")
def picture():
    return torch.rand(96, 128, 3, generator=torch.Generator().manual_seed(4))


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


def test_masks_are_those_of_the_package(files, picture):
    segment_anything = pytest.importorskip("segment_anything", reason=HOW_TO_INSTALL)
    official = build_tiny_sam()
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


@pytest.fixture(scope="module")
def wide_file(tmp_path_factory):
    """Original weights of the width that the original code knows, of one size in encoder and decoder."""
    folder = tmp_path_factory.mktemp("wide")
    write_vocabulary(folder)
    network = tiny_grounding_dino(d_model=256, decoder_ffn_dim=64)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight += 0.45  # else hardly anything is left of what one token differs from another
    torch.save({"model": original_names(published(network.state_dict()))}, folder / "wide.pth")
    return folder / "wide.pth"


@pytest.fixture
def original_code():
    """Skips, and says what to do, where groundingdino-py does not run."""
    try:
        backend_groundingdino.check_package()
    except backend_groundingdino.BackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def small_pictures(monkeypatch):
    """Pictures smaller than the published models take: what is compared does not depend on the size."""
    monkeypatch.setattr(pixels, "SHORTER_SIDE", 256)


@pytest.mark.text_encoders
@pytest.mark.parametrize("nouns", [["lighthouse"], ["book", "vase", "lighthouse", "cup"]], ids=len)
def test_both_backends_find_the_same(original_code, small_pictures, wide_file, picture, nouns):
    # Of one noun alone every box counts; of several, where one of them stands out.
    thresholds = (0.0, 0.0) if len(nouns) == 1 else (0.1, 0.18)
    expected, found = (
        load_detector(wide_file, backend).detect(picture, nouns, *thresholds) for backend in detect.BACKENDS
    )
    assert [one.noun for one in found] == [one.noun for one in expected]
    assert len(expected) == 24 if len(nouns) == 1 else 2 < len(expected) < 24
    boxes = torch.tensor([one.box for one in expected])
    # float32, in another order.
    torch.testing.assert_close(torch.tensor([one.box for one in found]), boxes, atol=1e-5, rtol=0)
    scores = torch.tensor([one.score for one in expected])
    torch.testing.assert_close(torch.tensor([one.score for one in found]), scores, atol=1e-5, rtol=0)
    assert boxes.std(0).max() > 0.1, "weights that show"
    assert scores.std() > 0.01


@pytest.mark.text_encoders
@pytest.mark.parametrize("name", ["swint_ogc", "swinb_cogcoor"])
def test_the_published_original_files_fit_the_original_code(original_code, name):
    expected = manifest(name)
    original = {key: torch.empty(shape, device="meta") for key, shape in expected.items()}
    built = backend_groundingdino.build_network(infer_config(original))
    assert {key: tuple(value.shape) for key, value in built.state_dict().items()} == expected


@pytest.mark.text_encoders
def test_what_the_original_code_does_not_read(original_code, files, wide_file, tmp_path):
    with pytest.raises(CheckpointError, match="32 channels, and the backend groundingdino-py knows 256"):
        load_detector(detector_path("tiny.pth"), "groundingdino-py")
    state = torch.load(wide_file, weights_only=True)["model"]
    write_vocabulary(tmp_path)
    lacking = {name: tensor for name, tensor in state.items() if name != "feat_map.bias"}
    for content, message in (
        (lacking, "feat_map.bias missing, none without a place"),
        ({**state, "transformer.new": torch.zeros(1)}, "none missing, transformer.new without a place"),
        ({**state, "feat_map.bias": torch.zeros(7)}, "no Grounding DINO as published: .*feat_map.bias"),
        ({"weight": torch.zeros(3)}, "no Grounding DINO with the names of the original code"),
    ):
        torch.save({"model": content}, tmp_path / "other.pth")
        with pytest.raises(CheckpointError, match=re.compile(message, re.DOTALL)):
            load_detector(tmp_path / "other.pth", "groundingdino-py")


def test_a_backend_that_is_not_there_and_a_folder(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "groundingdino", None)
    message = (
        rf"not installed.*pip install --no-build-isolation groundingdino-py.*{transformers.__version__} is "
        "installed.*transformers, which is the default, reads the same file"
    )
    with pytest.raises(backend_groundingdino.BackendError, match=message):
        load_detector(detector_path("tiny.pth"), "groundingdino-py")
    with pytest.raises(CheckpointError, match=r"tiny-folder is a folder .* groundingdino_swint_ogc\.pth"):
        load_detector(detector_path("tiny-folder"), "groundingdino-py")


@pytest.mark.text_encoders
def test_a_backend_that_does_not_run(files, tmp_path, monkeypatch):
    """A package in its place that lacks something, as the real one does where cv2 is missing."""
    package = tmp_path / "groundingdino"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '0.4.0'\n")
    (package / "models.py").write_text("import not_there_at_all\n")
    kept = {name: sys.modules.pop(name) for name in loaded_of_the_package()}
    monkeypatch.syspath_prepend(tmp_path)
    found = rf"^groundingdino-py 0\.4\.0 does not run with transformers {transformers.__version__}, .*4\.57"
    if hasattr(transformers.BertModel, "get_extended_attention_mask"):
        found = r"^groundingdino-py 0\.4\.0 is installed, but .*No module named 'not_there_at_all'"
    try:
        with pytest.raises(backend_groundingdino.BackendError, match=f"{found}.*reads the same file"):
            load_detector(detector_path("tiny.pth"), "groundingdino-py")
    finally:
        for name in loaded_of_the_package():
            del sys.modules[name]
        sys.modules.update(kept)


def loaded_of_the_package():
    return [name for name in sys.modules if name.partition(".")[0] == "groundingdino"]


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
