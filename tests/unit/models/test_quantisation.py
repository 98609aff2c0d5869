"""Quantised weights in every spelling, and what is said about those that are not read."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from instance_composer.models.quantisation import METADATA, restored_tensors
from instance_composer.models.weights import CheckpointError, open_weights, read_tensors

FP8, INT8 = torch.float8_e4m3fn, torch.int8
# Relative error of rounding to 3 and 2 bits after the leading one; of steps of 1/127 of the largest entry,
# which is 4 deviations: 4 / 127 / sqrt(12).
ROOM = {FP8: 2**-4, torch.float8_e5m2: 2**-3, INT8: 0.012}


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(32, 64, generator=torch.Generator().manual_seed(0)) / 100


def mark(**said: object) -> Tensor:
    return torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)


def stored(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    value = weight / scale
    return value.round().to(dtype) if dtype == INT8 else value.to(dtype)


def scale_of(weight: Tensor, dtype: torch.dtype, rows: bool = False) -> Tensor:
    most = 127 if dtype == INT8 else torch.finfo(dtype).max
    return (weight.abs().amax(dim=1, keepdim=True) if rows else weight.abs().max()) / most


def spelt(weight: Tensor, spelling: str, dtype: torch.dtype = FP8, rows: bool = False) -> dict[str, Tensor]:
    """A file's tensors: a quantised layer with its bias, and a plain one."""
    scale = scale_of(weight, dtype, rows)
    state = {
        "unet.layer.weight": stored(weight, scale, dtype),
        "unet.layer.bias": torch.ones(len(weight)),
        "unet.other.weight": weight.clone(),
    }
    name = "scale_weight" if spelling == "scale_weight" else "weight_scale"
    state[f"unet.layer.{name}"] = scale
    if spelling == "scale_weight":
        state |= {"unet.scaled_fp8": torch.zeros(2, dtype=FP8), "unet.layer.scale_input": torch.ones(1)}
    if spelling == "comfy_quant":
        kind = "int8_tensorwise" if dtype == INT8 else str(dtype).removeprefix("torch.")
        state |= {"unet.layer.comfy_quant": mark(format=kind), "unet.layer.input_scale": torch.ones(())}
    return state


def check(found: dict[str, Tensor], weight: Tensor, room: float) -> None:
    assert found.keys() == {"unet.layer.weight", "unet.layer.bias", "unet.other.weight"}
    assert found["unet.layer.weight"].dtype == torch.float32
    assert (found["unet.layer.weight"] - weight).norm() < room * weight.norm()
    assert torch.equal(found["unet.other.weight"], weight)


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("dtype", [FP8, torch.float8_e5m2, INT8])
@pytest.mark.parametrize("spelling", ["scale_weight", "weight_scale", "comfy_quant"])
def test_every_spelling_gives_the_weights(tmp_path, weight, spelling, dtype, rows, ending):
    state = spelt(weight, spelling, dtype, rows)
    file = tmp_path / f"model{ending}"
    save_file(state, file) if ending == ".safetensors" else torch.save(state, file)
    weights = open_weights([file])
    assert weights["unet.layer.weight"].shape == (32, 64)
    assert weights["unet.layer.weight"].dtype == torch.float32
    assert weights.quantised == ["unet.layer.weight"]
    check(dict(weights.stream()), weight, ROOM[dtype])
    renamed = weights.renamed(lambda name: name.removeprefix("unet."))
    assert torch.equal(renamed.read("layer.weight"), weights.read("unet.layer.weight"))
    check(restored_tensors("model", state), weight, ROOM[dtype])


@pytest.mark.parametrize("layer", ["unet.layer", "layer"])
def test_formats_in_the_metadata_are_read_as_those_of_layers(tmp_path, weight, layer):
    prefix = "" if layer == "unet.layer" else "model.diffusion_model."
    state = {
        key.replace("unet.", prefix or "unet."): one for key, one in spelt(weight, "weight_scale").items()
    }
    told = {"format_version": "1.0", "layers": {layer: {"format": "float8_e4m3fn"}}}
    save_file(state, tmp_path / "model.safetensors", {METADATA: json.dumps(told)})
    found = read_tensors(tmp_path / "model.safetensors")
    check(
        {key.replace(prefix, "unet.") if prefix else key: one for key, one in found.items()},
        weight,
        ROOM[FP8],
    )
    told["layers"][layer]["format"] = "nvfp4"
    save_file(state, tmp_path / "model.safetensors", {METADATA: json.dumps(told)})
    with pytest.raises(CheckpointError, match=r"model\.safetensors is quantised as nvfp4 in 1 layers"):
        open_weights([tmp_path / "model.safetensors"])


def test_a_scale_may_lie_in_another_shard(tmp_path, weight):
    state = spelt(weight, "scale_weight")
    apart = {key: state.pop(key) for key in ("unet.layer.scale_weight", "unet.scaled_fp8")}
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for file, part in zip(files, (state, apart), strict=True):
        save_file(part, file)
    check(dict(open_weights(files).stream()), weight, ROOM[FP8])


def test_blocks_of_equal_size_have_a_scale_each(weight):
    blocks = weight.reshape(4, 8, 2, 32).abs().amax(dim=(1, 3)) / torch.finfo(FP8).max
    spread = blocks.repeat_interleave(8, 0).repeat_interleave(32, 1)
    state = {"layer.weight": (weight / spread).to(FP8), "layer.weight_scale": blocks}
    found = restored_tensors("model", state)["layer.weight"]
    assert (found - weight).norm() < ROOM[FP8] * weight.norm()


def test_rotated_groups_are_rotated_back(weight):
    """ConvRot: each group of inputs times a Hadamard matrix, here of 16, which is written out by its rule."""
    four = torch.tensor([[1.0, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]])
    matrix = torch.stack([torch.outer(four[i], four[j]).flatten() for i in range(4) for j in range(4)]) / 4
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(16))
    rotated = (weight.reshape(32, 4, 16) @ matrix.T).reshape(32, 64)
    scale = scale_of(rotated, INT8, rows=True)
    state = {
        "layer.weight": stored(rotated, scale, INT8),
        "layer.weight_scale": scale,
        "layer.comfy_quant": mark(format="int8_tensorwise", convrot=True, convrot_groupsize=16),
    }
    found = restored_tensors("model", state)["layer.weight"]
    assert (found - weight).norm() < ROOM[INT8] * weight.norm()
    state["layer.comfy_quant"] = mark(format="int8_tensorwise", convrot=True, convrot_groupsize=8)
    with pytest.raises(CheckpointError, match="rotated in groups of 8: they have to be a power of 4"):
        restored_tensors("model", state)


def test_what_is_restored_and_what_is_not_used_is_said_once(tmp_path, weight, caplog):
    save_file(spelt(weight, "scale_weight"), tmp_path / "model.safetensors")
    with caplog.at_level(logging.WARNING, "instance_composer"):
        for _ in range(2):
            open_weights([tmp_path / "model.safetensors"])
    assert [record.getMessage() for record in caplog.records] == [
        "model.safetensors: 1 weights are quantised (float8_e4m3fn) and were restored; 1 scales of inputs "
        "are not used: they are for multiplying in 8 bits, and weights are the same without them."
    ]


def test_weights_in_8_bits_without_scales_are_what_they_are(tmp_path, weight):
    save_file({"layer.weight": weight.to(FP8), "scaled_fp8": torch.zeros(2, dtype=FP8)}, tmp_path / "x.sft")
    found = read_tensors(tmp_path / "x.sft")
    assert torch.equal(found["layer.weight"].float(), weight.to(FP8).float())
    assert list(found) == ["layer.weight"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"layer.comfy_quant": mark(format="nvfp4")},
            "quantised as nvfp4 in 1 layers, which is not read here",
        ),
        ({"layer.comfy_quant": mark(format="float8_e4m3fn")}, "lacks the scale of layer.weight"),
        ({"layer.comfy_quant": torch.ones(3, dtype=torch.uint8)}, "no JSON object under layer.comfy_quant"),
        (
            {"gone.weight_scale": torch.ones(1)},
            "gone.weight_scale without gone.weight; it is damaged or only",
        ),
        ({"layer.weight_scale": torch.full((1,), 2.0)}, "layer.weight, which lies in float32: whether it is"),
        (
            {"layer.weight_scale": torch.ones(1), "layer.comfy_quant": mark(format="int8_tensorwise")},
            "says that layer.weight is int8_tensorwise, but it lies in float32",
        ),
        (
            {"layer.weight": torch.zeros(4, 6, dtype=FP8), "layer.weight_scale": torch.ones(4, 5)},
            r"scale layer.weight_scale of .* \(4, 5\), and layer.weight is \(4, 6\): needed is one number",
        ),
        (
            {"layer.weight": torch.zeros(4, 6, dtype=FP8), "layer.weight_scale": torch.full((1,), torch.nan)},
            "layer.weight_scale has entries that are no finite numbers",
        ),
        (
            {"layer.scale_weight": torch.ones(1), "layer.weight_scale": torch.ones(1)},
            "two scales for layer.weight",
        ),
        (
            {"layer.weight": torch.zeros(4, 6, dtype=INT8)},
            r"whole numbers \(int8\) without scales: layer.weight",
        ),
        ({"layer.weight.absmax": torch.ones(1)}, "quantised as bitsandbytes"),
        ({"layer.weight_scale_inv": torch.ones(1, 1)}, "quantised as fp8 with scales by blocks of 128"),
        ({"layer.weight._scale": torch.ones(1)}, "quantised as quanto"),
        ({"layer.qweight": torch.ones(1)}, "quantised as GPTQ or AWQ"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, more, message):
    save_file({"layer.weight": torch.zeros(4, 6), **more}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        read_tensors(tmp_path / "model.safetensors")


def test_a_scale_of_one_for_a_plain_weight_changes_nothing(weight):
    state = {"layer.weight": weight, "layer.scale_weight": torch.ones(1)}
    assert torch.equal(restored_tensors("model", state)["layer.weight"], weight)


def test_a_gguf_file_is_named(tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(60))
    with pytest.raises(CheckpointError, match=r"model\.gguf is a GGUF file, which is quantised"):
        open_weights([tmp_path / "model.gguf"])
