"""Names of the LoRA: what files call its layers."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from instance_composer.models.comat.lora import LowRank, read_lora, save_lora
from instance_composer.models.weights import CheckpointError

LAYERS = ("mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.a.attn2.to_out.0")
SHAPES = dict.fromkeys(LAYERS, (5, 4))


def layers() -> dict[str, LowRank]:
    numbers = torch.Generator().manual_seed(0)
    return {
        name: LowRank(torch.randn(2, 4, generator=numbers), torch.randn(5, 2, generator=numbers))
        for name in LAYERS
    }


def test_a_file_has_one_prefix_and_is_read_again(tmp_path):
    file = tmp_path / "deep" / "lora.safetensors"
    save_lora(file, layers(), {"task": "comat"})
    keys = set(load_file(file))
    assert "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight" in keys
    assert "unet.mid_block.a.attn2.processor.to_out_lora.up.weight" in keys
    assert [path.name for path in file.parent.iterdir()] == ["lora.safetensors"]
    for name, one in read_lora(file, LAYERS, SHAPES).items():
        assert torch.equal(one.down, layers()[name].down)
        assert torch.equal(one.up, layers()[name].up)


@pytest.mark.parametrize("prefix", ["unet.unet.", "unet.", ""])
@pytest.mark.parametrize(
    "ends", [(".lora.down.weight", ".lora.up.weight"), (".lora_A.weight", ".lora_B.weight")]
)
def test_files_of_the_released_code_and_of_diffusers_are_read(prefix, ends, tmp_path):
    state = {
        f"{prefix}{name}{end}": half
        for name, one in layers().items()
        for end, half in zip(ends, one, strict=True)
    }
    save_file(state, tmp_path / "lora.safetensors")
    assert read_lora(tmp_path / "lora.safetensors", LAYERS, SHAPES).keys() == set(LAYERS)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s.pop(next(iter(s))), "1 are missing and 1 tensors"),
        (lambda s: s.update({"lora_te_text.lora_up.weight": torch.zeros(1)}), "and nothing else"),
        (lambda s: [s.update({k: v[:1]}) for k, v in s.items() if "to_q_lora.down" in k], "the same rank"),
        (lambda s: [s.update({k: v[:, :3]}) for k, v in s.items() if "to_q_lora.down" in k], "another model"),
    ],
)  # fmt: skip
def test_another_file_is_refused_in_words(change, complaint, tmp_path):
    file = tmp_path / "lora.safetensors"
    save_lora(file, layers(), {})
    state = load_file(file)
    change(state)
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    with pytest.raises(CheckpointError, match=complaint):
        read_lora(file, LAYERS, SHAPES)
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_lora(file, LAYERS, SHAPES)
