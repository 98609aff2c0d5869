"""Rows of a batch, and processors that do not use all of a layer's projections."""

import copy

import pytest
import torch

from instance_composer.hosts.diffusers_sdxl import UnsuitableModelError, preset_layers, record_attention
from instance_composer.hosts.diffusers_sdxl.layer_hooks import BatchRows, is_compiled


@pytest.mark.parametrize(
    "rows", [[0], [3], [1, 2], [0, 2], [2, 0], [3, 1, 0], [-1], [-2, -1], [0, 1, 2, 3], []]
)
def test_rows_are_read_and_written_as_by_a_list(rows):
    batch, part = torch.randn(4, 3), torch.randn(len(rows), 3, dtype=torch.float64)
    chosen = BatchRows(rows)
    assert torch.equal(chosen.of(batch), batch[rows])
    expected = batch.clone()
    expected[rows] = part.float()
    chosen.put(batch, part)
    assert torch.equal(batch, expected)


@pytest.mark.parametrize("rows", [[4], [0, -5]])
def test_rows_that_are_not_there_are_refused_in_words(rows):
    with pytest.raises(ValueError, match="the UNet was called with 4 rows"):
        BatchRows(rows).of(torch.zeros(4, 3))


def test_a_processor_without_the_key_projection_is_named(pipeline):
    unet = copy.deepcopy(pipeline.unet)
    unet.fuse_qkv_projections()
    width, pooled = unet.config.cross_attention_dim, pipeline.text_encoder_2.config.projection_dim
    with (
        record_attention(unet, preset_layers(unet)[:1]),
        pytest.raises(UnsuitableModelError, match=r"FusedAttnProcessor.* does not use the layer's to_k"),
        torch.no_grad(),
    ):
        unet(
            torch.randn(1, 4, 16, 16),
            500,
            torch.randn(1, 7, width),
            added_cond_kwargs={"text_embeds": torch.zeros(1, pooled), "time_ids": torch.zeros(1, 6)},
        )


def test_what_is_compiled_is_seen_after_it_ran_too(pipeline):
    """Graphs do not look for hooks that come later. A backend that takes them as they are is quick."""
    plain = copy.deepcopy(pipeline.unet).eval()
    compiled = copy.deepcopy(plain)
    compiled.mid_block.compile(backend="eager")
    width, pooled = plain.config.cross_attention_dim, pipeline.text_encoder_2.config.projection_dim
    conditions = {"text_embeds": torch.ones(1, pooled), "time_ids": torch.zeros(1, 6)}
    noise = torch.Generator().manual_seed(0)
    inputs = torch.randn(1, 4, 16, 16, generator=noise), 500, torch.randn(1, 7, width, generator=noise)
    names = [name for name in preset_layers(plain) if name.startswith("mid_block")]
    with torch.no_grad():
        before = compiled(*inputs, added_cond_kwargs=conditions).sample
        found = []
        for unet in (plain, compiled):
            with record_attention(unet, names) as maps:
                unet(*inputs, added_cond_kwargs=conditions)
            found.append(maps)
        assert len(found[1]) == len(names) > 0
        for one, other in zip(*found, strict=True):
            assert torch.equal(one, other)
        assert torch.equal(compiled(*inputs, added_cond_kwargs=conditions).sample, before)


def test_a_compiled_unet_is_known_and_has_the_layers_it_had(pipeline):
    compiled = torch.compile(pipeline.unet, backend="eager")
    assert is_compiled(compiled)
    assert not is_compiled(pipeline.unet)
    assert preset_layers(compiled, "all") == preset_layers(pipeline.unet, "all")
