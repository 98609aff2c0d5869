"""Damaged weight files end in a model or in CheckpointError; metadata is checked before anything is built."""

from __future__ import annotations

import json
import time

import pytest
import torch
from malformed_weights import REWARD, kinds, outcome, write
from safetensors.torch import save_file

from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.weights import CheckpointError


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return kinds(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("name", ["IFAdapter", "reward", "UNet"])
def test_damaged_files_are_read_or_refused(known, tmp_path, name):
    outcomes = set()
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        outcomes.add(outcome(write(number, known[name], folder), known[name]))
    assert outcomes == {"model", "refused"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("text_layers", 100_000),
        ("text_layers", 10**400),
        ("vision_heads", 0),
        ("text_heads", "3"),
        ("head", [1, 2]),
        ("image_size", 1.5),
        ("tokens", 1),
        ("mean", "a"),
        ("std", 0),
        ("dropout", 2),
        ("words", "abc"),
        ("words", ["a"] * 100_000),
    ],
)
def test_metadata_that_the_weights_do_not_bear_out_names_its_key(known, tmp_path, key, value):
    reward = known["reward"]
    told = {**json.loads(reward.metadata[REWARD]), key: value}
    save_file(dict(reward.state), tmp_path / "r.safetensors", {REWARD: json.dumps(told)})
    start = time.process_time()
    with pytest.raises(CheckpointError, match=f"says .*{key}|says {key}"):
        reward.read(tmp_path / "r.safetensors")
    assert time.process_time() - start < 2.0


def test_an_adapter_of_nan_is_refused_by_the_names_of_its_weights(known, tmp_path):
    state = dict(known["IFAdapter"].state)
    name = "pos_net.linears_position.0.bias"
    state[name] = torch.full_like(state[name], float("nan"))
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=f"not finite .* in 1 of .* weights: {name}"):
        IFAdapter.load(tmp_path / "a.safetensors")


def test_a_torch_file_that_claims_more_than_it_holds_takes_no_memory(known, tmp_path):
    state = {**known["reward"].state, "beside": torch.ones(1).half().expand(4_000_000_000)}
    torch.save(state, tmp_path / "r.bin")
    with pytest.raises(CheckpointError, match=r"beside .* repeated"):
        known["reward"].read(tmp_path / "r.bin")
