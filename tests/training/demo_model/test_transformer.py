"""The stage of the transformer: beside a model's UNet, from its folder, and on from its checkpoint."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from safetensors.torch import load_file

from instance_composer.cli import main
from instance_composer.demo import holds_transformer
from instance_composer.training.data.errors import SourceError
from instance_composer.training.demo_model import flow_matching
from instance_composer.training.demo_model.packing import pack_transformer
from instance_composer.training.demo_model.recipe import choose_stage
from instance_composer.training.demo_model.transformer import make_transformer

BRIEF = {"batch": 2, "warm_up": 0, "cool_down": 0, "every_sample": 0, "every_log": 1, "every_checkpoint": 1}


def test_a_transformer_is_trained_beside_a_model_and_then_from_its_checkpoint(
    tiny_model, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(flow_matching, "_STEPS", 1)
    stage = choose_stage("transformer", {**BRIEF, "steps": 1}, 8, tiny_model)
    caplog.set_level("INFO", logger="instance_composer")
    stage.train(tmp_path, dry_run=True)
    assert "8 of 64 × 64" in caplog.text
    assert not list(tmp_path.iterdir())
    stage.train(tmp_path)
    choose_stage("transformer", {**BRIEF, "steps": 2, "every_validation": 1}, 8, tiny_model).train(tmp_path)
    run = tmp_path / "transformer"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[1]["validation"] > 0
    trained = FluxTransformer2DModel.from_pretrained(run / "model" / "transformer")
    # Of the tiny model's text encoders.
    assert trained.config["joint_attention_dim"] == 48
    assert trained.config["pooled_projection_dim"] == 24


def test_packed_it_is_the_same_in_halves_and_nothing_else_is_accepted(tmp_path, capsys):
    transformer = make_transformer()
    torch.nn.init.normal_(transformer.proj_out.weight)
    transformer.save_pretrained(tmp_path / "model" / "transformer")
    FlowMatchEulerDiscreteScheduler(shift=2.0).save_pretrained(tmp_path / "model" / "scheduler")
    file = pack_transformer(tmp_path / "model", tmp_path)
    assert file.stat().st_size < 12e6
    assert holds_transformer(tmp_path / "flux")
    packed = load_file(file)
    for name, value in transformer.state_dict().items():
        assert torch.equal(packed[name], value.half()), name
    again = FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path / "flux" / "scheduler")
    assert again.config["shift"] == 2.0
    assert "_name_or_path" not in (file.parent / "config.json").read_text(encoding="utf-8")
    transformer.proj_out.weight.data[0, 0] = 1e6
    transformer.save_pretrained(tmp_path / "model" / "transformer")
    with pytest.raises(SourceError, match="half precision cannot"):
        pack_transformer(tmp_path / "model", tmp_path)
    assert torch.equal(load_file(file)["proj_out.weight"], packed["proj_out.weight"])
    adapter = tmp_path / "adapter.safetensors"
    adapter.write_bytes(b"")
    words = ["--out", str(tmp_path / "out"), "--adapter", str(adapter), "--transformer", str(tmp_path)]
    assert main(["train", "pack", str(tmp_path), *words]) != 0
    assert "holds no transformer" in capsys.readouterr().err


def test_the_file_is_as_small_as_it_is_to_be_and_nothing_is_predicted_at_first():
    transformer = make_transformer()
    count = sum(parameter.numel() for parameter in transformer.parameters())
    assert 2 * count < 12e6
    predicted = transformer(
        hidden_states=torch.randn(2, 6, 16),
        encoder_hidden_states=torch.randn(2, 3, 64),
        pooled_projections=torch.randn(2, 40),
        timestep=torch.tensor([0.2, 0.9]),
        img_ids=torch.zeros(6, 3),
        txt_ids=torch.zeros(3, 3),
        return_dict=False,
    )[0]
    assert not predicted.any()
