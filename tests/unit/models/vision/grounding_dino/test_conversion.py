"""Names of Grounding DINO's original code become those of transformers."""

from __future__ import annotations

import pytest
import torch

from instance_composer.models.vision.grounding_dino.conversion import (
    convert,
    strip_prefixes,
)
from instance_composer.models.weights import CheckpointError


def test_names_of_the_original_code():
    weight = torch.arange(12.0).view(6, 2)
    made = convert({"transformer.decoder.layers.3.ca_text.in_proj_weight": weight})
    stem = "model.decoder.layers.3.encoder_attn_text"
    assert list(made) == [f"{stem}.query.weight", f"{stem}.key.weight", f"{stem}.value.weight"]
    assert torch.equal(torch.cat(list(made.values())), weight)
    assert convert({"label_enc.weight": weight, "bert.pooler.dense.bias": weight}) == {}
    with pytest.raises(CheckpointError, match=r"it has head\.weight besides"):
        convert({"head.weight": weight})


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("model.module.bert.embeddings.x", "bert.embeddings.x"),
        ("module.transformer.level_embed", "transformer.level_embed"),
        ("feat_map.bias", "feat_map.bias"),
        ("model.text_projection.weight", "model.text_projection.weight"),
    ],
)
def test_what_saving_puts_before_names(name, bare):
    assert strip_prefixes(name) == bare
