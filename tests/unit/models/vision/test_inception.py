"""Inception V3 of torch-fidelity with random weights: which file is read, how pictures reach it, scoring."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from instance_composer.cli import main
from instance_composer.models.vision.inception import (
    BICUBIC,
    HOW_TO_INSTALL,
    SIDE,
    TENSORFLOW,
    WEIGHTS,
    InceptionFeatures,
)
from instance_composer.models.vision.interfaces import ModelError
from instance_composer.models.weights import CheckpointError

NEEDS_LIBRARY = "FID and KID need torch-fidelity, the extra fid, which the test environment leaves out"


def noise(seed, width=40, height=48):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason=NEEDS_LIBRARY)

    class Fresh(module.FeatureExtractorInceptionV3):
        """The network as it is built, before any weights are read."""

        def load_state_dict(self, state):
            pass

    nothing = BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = Fresh("inception", ["2048"], nothing).state_dict()
    file = tmp_path_factory.mktemp("inception") / WEIGHTS
    torch.save(state, file)
    return file


def test_features_do_not_depend_on_the_batch_and_pictures_of_all_sizes_go_together(weights):
    pictures = [noise(0), noise(1, 64, 40), noise(2), noise(3, SIDE, SIDE)]
    one, many = (InceptionFeatures.load(weights, batch=batch).features(pictures) for batch in (1, 4))
    assert one.shape == (4, 2048)
    # Random weights shrink what passes; batches differ by the order of sums alone.
    assert torch.allclose(one, many, rtol=1e-4, atol=1e-5 * float(one.abs().max()))
    assert len({round(float(row[0]) / float(one.abs().max()), 4) for row in one}) > 1
    other = InceptionFeatures.load(weights, resizing=TENSORFLOW).features(pictures)
    # Of the network's own size nothing is resized, of another the two ways differ.
    assert torch.allclose(other[3], one[3], rtol=1e-4, atol=1e-5 * float(one.abs().max()))
    assert not torch.allclose(other[0], one[0], rtol=1e-3)


def test_pictures_are_resized_as_clean_fid_does_it(weights):
    seen = []
    network = InceptionFeatures.load(weights, resizing=BICUBIC)
    network._network.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    picture = noise(4, 400, 320)
    network.features([picture])
    (shown,) = seen
    assert (tuple(shown.shape), shown.dtype) == ((1, 3, SIDE, SIDE), torch.uint8)
    resized = picture.getchannel("G").convert("F").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(resized).clip(0, 255) - shown[0, 1].numpy()).max() <= 0.5


def test_other_files_are_refused_in_words(weights, tmp_path):
    with pytest.raises(ModelError, match=f"no file.*{WEIGHTS}.*releases"):
        InceptionFeatures.load(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match="--inception"):
        InceptionFeatures.load(tmp_path / "text.pth")
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not the weights of that network"):
        InceptionFeatures.load(tmp_path / "other.pth")

    # An object that would run something as it is read.
    torch.save({"fc.weight": Path}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match="refused"):
        InceptionFeatures.load(tmp_path / "code.pth")


def test_a_benchmark_keeps_features_and_goes_on(weights, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["benchmark", "ifg", "prepare", str(run), "--tiny", "--limit", "2"]) == 0
    words = [
        "benchmark",
        "ifg",
        "score",
        str(run),
        "--tiny",
        "--device",
        "cpu",
        "--reference",
        str(run / "real"),
    ]
    assert main(words) == 2
    assert "--inception: name the weights" in capsys.readouterr().err
    words += ["--inception", str(weights)]
    assert main([*words, "--shard", "1/2"]) == 0
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "reference: features of 2 pictures" in said
    assert "real: features of 2 pictures" in said
    kept = sorted((run / "findings" / "real").glob("inception.*"))
    assert [file.name for file in kept] == ["inception.1-of-1.jsonl", "inception.1-of-2.jsonl"]
    assert sum(len(file.read_text().splitlines()) for file in kept) == 2
    assert main([*words, "--resize", "tensorflow"]) == 2
    assert "resized bicubic" in capsys.readouterr().err


def test_without_the_library_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ModelError) as told:
        InceptionFeatures.load(tmp_path / WEIGHTS)
    assert str(told.value) == HOW_TO_INSTALL
