"""Which boxes count for which noun."""

from __future__ import annotations

import pytest
import torch

from instance_composer.models.vision.grounding_dino.conversion import (
    STOP,
    boxes_of_nouns,
    convert,
    strip_prefixes,
)
from instance_composer.models.weights import CheckpointError

# [CLS] book . light ##house . [SEP]
IDS = [101, 7, STOP, 8, 9, STOP, 102]
NOUNS = [(7,), (8, 9)]


def found(*rows, box=0.3, text=0.25):
    logits = torch.tensor(rows).logit()
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4]]).expand(len(rows), 4)
    return [(noun, score) for noun, _, score in boxes_of_nouns(logits, boxes, IDS, NOUNS, box, text)]


def test_a_phrase_has_to_be_the_noun():
    low = 0.01
    assert found([low, 0.9, low, low, low, low, low]) == [(0, pytest.approx(0.9))]
    assert found([low, low, low, 0.6, 0.5, low, low]) == [(1, pytest.approx(0.6))]
    assert found([low, low, low, 0.6, 0.1, low, low]) == [], "half a noun"
    assert found([low, 0.5, low, 0.6, 0.5, low, low]) == [], "two nouns"
    assert found([0.9, 0.5, 0.9, low, low, 0.9, 0.9]) == [(0, pytest.approx(0.9))], "no words beside it"


def test_thresholds():
    row = [0.01, 0.29, 0.01, 0.01, 0.01, 0.01, 0.01]
    assert found(row) == []
    assert found(row, box=0.2) == [(0, pytest.approx(0.29))]
    assert found(row, box=0.2, text=0.295) == []


def test_boxes_are_corners_inside_the_picture():
    logits = torch.tensor([[0.01, 0.9, 0.01, 0.01, 0.01, 0.01, 0.01]]).logit()
    ((_, box, _),) = boxes_of_nouns(logits, torch.tensor([[0.9, 0.5, 0.4, 0.2]]), IDS, NOUNS, 0.3, 0.25)
    torch.testing.assert_close(box, torch.tensor([0.7, 0.4, 1.0, 0.6]))


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
