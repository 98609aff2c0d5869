"""Weight files that are none: each ends in words, and none takes memory or time beyond its size."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from instance_composer.models.sdxl.files import open_unet
from instance_composer.models.weights import (
    CheckpointError,
    digest_of_model,
    digest_of_weights,
    open_weights,
    read_texts,
    save_weights,
)


def refused(file: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        open_weights([file])


def test_dictionaries_in_several_places_are_refused(tmp_path: Path) -> None:
    itself: dict = {"layer": torch.zeros(2)}
    itself["again"] = itself
    torch.save(itself, tmp_path / "itself.bin")
    refused(tmp_path / "itself.bin", "the same dictionary in several places, the last under 'again.'")
    # Two of one below two of one: as many names as grains on a chessboard.
    shared: dict = {"layer": torch.zeros(2)}
    for _ in range(40):
        shared = {"left": shared, "right": shared}
    torch.save(shared, tmp_path / "shared.bin")
    before = time.monotonic()
    refused(tmp_path / "shared.bin", "the same dictionary in several places")
    assert time.monotonic() - before < 2


def test_a_tensor_that_repeats_fewer_numbers_is_refused(tmp_path: Path) -> None:
    torch.save({"layer": torch.zeros(1).expand(2**31)}, tmp_path / "wide.bin")
    refused(tmp_path / "wide.bin", r"holds layer \(2147483648,\) as fewer numbers that are repeated")
    torch.save({"layer": torch.arange(77).expand(3, -1)}, tmp_path / "positions.bin")
    assert open_weights([tmp_path / "positions.bin"]).shapes == {"layer": (3, 77)}


def test_tensors_that_are_not_plain_numbers_are_refused(tmp_path: Path) -> None:
    torch.save({"layer": torch.eye(3).to_sparse()}, tmp_path / "sparse.bin")
    refused(tmp_path / "sparse.bin", "holds layer as a tensor torch.sparse_coo on cpu, which is not read")


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin"])
def test_a_folder_named_like_a_file_is_called_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    refused(tmp_path / name, f"{name} is a folder, where a file with weights is needed")


def test_a_text_named_like_a_file_is_no_torch_file(tmp_path: Path) -> None:
    for text in ("to be or not to be\n", "0\n1\n2\n", "{}", "("):
        (tmp_path / "text.bin").write_text(text)
        refused(tmp_path / "text.bin", "text.bin (cannot be read as a torch file|was refused)")


@pytest.mark.parametrize("index", [{"weight_map": [1]}, {"weight_map": {"a": 1}}, {"weight_map": {}}, []])
def test_an_index_that_is_none_is_named(tmp_path: Path, index: object) -> None:
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError):
        open_unet(tmp_path)


def test_names_of_a_unet_with_other_shapes_are_named(tmp_path: Path) -> None:
    names = [
        "input_blocks.0.0.weight",
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        "label_emb.0.0.weight",
        "middle_block.1.proj_in.weight",
        "out.2.weight",
        "input_blocks.3.0.op.weight",
        "input_blocks.6.0.op.weight",
    ]
    for shape in ((), (3,), (2, 2)):
        save_file({name: torch.zeros(shape) for name in names}, tmp_path / "odd.safetensors")
        with pytest.raises(CheckpointError, match=r"odd\.safetensors"):
            open_unet(tmp_path / "odd.safetensors")


def test_texts_of_files_without_any_are_none(tmp_path: Path) -> None:
    save_file({"layer": torch.zeros(1)}, tmp_path / "plain.safetensors")
    torch.save({"layer": torch.zeros(1)}, tmp_path / "plain.bin")
    assert read_texts(tmp_path / "plain.safetensors") == read_texts(tmp_path / "plain.bin") == {}


@pytest.mark.skipif(os.name == "nt", reason="rights of this kind are not Windows'")
@pytest.mark.parametrize(("folder", "file"), [(0o755, 0o644), (0o775, 0o664), (0o700, 0o600)])
def test_weights_are_readable_for_whoever_may_read_the_folder(tmp_path, folder, file):
    place = tmp_path / "models"
    place.mkdir()
    place.chmod(folder)
    save_weights({"a": torch.zeros(2)}, place / "one.safetensors", {"format": "pt"})
    assert (place / "one.safetensors").stat().st_mode & 0o777 == file


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "pickle"])
def test_a_torch_file_under_the_name_of_the_other_format_is_read(tmp_path: Path, zipped: bool) -> None:
    """Model pages offer one file, and who fetches it may call it by another."""
    file = tmp_path / "adapter.safetensors"
    torch.save({"layer": torch.arange(3.0)}, file, _use_new_zipfile_serialization=zipped)
    assert torch.equal(open_weights([file]).read("layer"), torch.arange(3.0))
    assert read_texts(file) == {}


def test_a_safetensors_file_under_the_name_of_a_torch_file_is_read(tmp_path: Path) -> None:
    save_file({"layer": torch.arange(3.0)}, tmp_path / "adapter.bin", {"made": "of it"})
    assert torch.equal(open_weights([tmp_path / "adapter.bin"]).read("layer"), torch.arange(3.0))
    assert read_texts(tmp_path / "adapter.bin") == {"made": "of it"}


def test_a_digest_is_of_the_tensors_whatever_the_file(tmp_path: Path) -> None:
    state = {
        "small": torch.arange(6.0).reshape(2, 3),
        "large": torch.arange(50_000.0),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "count": torch.tensor(3),
        "mask": torch.tensor([True, False]),
    }

    def written(name: str, **changed: torch.Tensor) -> str:
        tensors = {**state, **changed}
        if name.endswith(".bin"):
            torch.save(tensors, tmp_path / name)
        else:
            save_weights(tensors, tmp_path / name, {"note": name, "as": "metadata"})
        return digest_of_weights([tmp_path / name])

    same = {written(name) for name in ("a.safetensors", "b.safetensors", "c.bin")}
    changes = (
        {"small": state["small"] + 1e-6},
        {"small": state["small"].T.contiguous()},
        {"large": state["large"] * 1.001},
        {"half": state["half"].float()},
        {"count": torch.tensor(4)},
        {"mask": torch.tensor([False, True])},
        {"another": torch.zeros(1)},
    )
    others = {written("a.safetensors", **change) for change in changes}
    assert len(same) == 1
    assert len(others - same) == len(changes)
    # A part of a pipeline and a whole one; what is not drawn with is passed over.
    for name in ("unet", "vae", "rewards"):
        (tmp_path / "model" / name).mkdir(parents=True)
        save_weights(state, tmp_path / "model" / name / "model.safetensors")
    (digest,) = same
    assert digest_of_model(tmp_path / "model") == {"UNet or transformer": digest, "VAE": digest}
    assert digest_of_model(tmp_path / "model" / "unet") == {"model": digest}
    assert digest_of_model(tmp_path / "c.bin") == {"model": digest}
    (tmp_path / "empty").mkdir()
    assert digest_of_model(tmp_path / "empty") == {}
