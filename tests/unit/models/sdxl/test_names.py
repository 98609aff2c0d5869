"""The groups of blocks that the UNet's weights fall into."""

from __future__ import annotations

import pytest

from instance_composer.models.sdxl.names import in_group

PARTS = ("input", "middle", "output")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("time_embed.0.weight", "input"),
        ("label_emb.0.2.bias", "input"),
        ("input_blocks.0.0.weight", "input"),
        ("middle_block.1.norm.weight", "middle"),
        ("output_blocks.0.0.in_layers.0.weight", "output"),
        ("out.0.weight", "output"),
        ("out.2.weight", "output"),
    ],
)
def test_every_weight_is_in_one_part(name: str, part: str) -> None:
    assert [one for one in PARTS if in_group(name, one)] == [part]
    assert in_group(name, "all")
    assert not in_group(name, "cross-attention")


@pytest.mark.parametrize("block", ["input_blocks.4.1", "middle_block.1", "output_blocks.0.1"])
def test_cross_attention_is_of_all_parts(block: str) -> None:
    assert in_group(f"{block}.transformer_blocks.0.attn2.to_q.weight", "cross-attention")
    assert not in_group(f"{block}.transformer_blocks.0.attn1.to_q.weight", "cross-attention")
