"""Both backends of Grounding DINO: they find the same, and say what they cannot read."""

from __future__ import annotations

import re
import sys

import pytest
import torch
import transformers
from tiny_grounding_dino import (
    manifest,
    original_names,
    published,
    tiny_grounding_dino,
    write_vocabulary,
)

from instance_composer.hosts.comfyui.segmentation import detect
from instance_composer.hosts.comfyui.segmentation.detect import load_detector
from instance_composer.hosts.comfyui.segmentation.files import (
    detector_path,
)
from instance_composer.models.vision.grounding_dino import backend_groundingdino
from instance_composer.models.vision.grounding_dino.conversion import infer_config
from instance_composer.models.weights import CheckpointError


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
