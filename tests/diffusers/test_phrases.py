"""Captions through the tokenizers and text encoders of a pipeline."""

import logging
from types import SimpleNamespace

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from instance_composer.hosts.diffusers_sdxl import UnsuitableModelError, encode_phrases, encode_tokens

pytestmark = pytest.mark.text_encoders


def test_shapes_masks_and_end_of_text(pipeline):
    phrases = encode_phrases(pipeline, ["cat", "a red hat"])
    assert phrases.hidden_states.shape == (2, 3, 77, 48)
    # Every character is a token of the tiny vocabulary; start and end of text are counted.
    assert phrases.attention_mask.sum(1).tolist() == [5, 9]
    assert torch.equal(phrases.eot[1], phrases.hidden_states[1, 0, 8])
    assert not torch.allclose(phrases.hidden_states[:, 0], phrases.hidden_states[:, 1])


def test_a_caption_does_not_depend_on_its_neighbours(pipeline):
    together = encode_phrases(pipeline, ["cat", "a red hat with a feather"])
    alone = encode_phrases(pipeline, ["cat"])
    torch.testing.assert_close(together.hidden_states[:1], alone.hidden_states, atol=1e-5, rtol=0)


def test_a_long_caption_is_cut_and_named(pipeline, caplog):
    with caplog.at_level(logging.WARNING, logger="instance_composer"):
        phrases = encode_phrases(pipeline, ["cat", "x " * 90], ["first", "second"])
    (record,) = [r for r in caplog.records if r.name == "instance_composer"]
    assert "instance second" in record.getMessage()
    assert "92 tokens" in record.getMessage()
    assert phrases.attention_mask.sum(1).tolist() == [5, 77]
    cut = encode_phrases(pipeline, ["x " * 75])
    torch.testing.assert_close(phrases.hidden_states[1], cut.hidden_states[0], atol=1e-5, rtol=0)


def test_half_precision_encoders_give_full_precision_features(sdxl_folder):
    from instance_composer.hosts.diffusers_sdxl import load_sdxl

    phrases = encode_phrases(load_sdxl(sdxl_folder, dtype=torch.bfloat16), ["cat"])
    assert phrases.hidden_states.dtype == phrases.eot.dtype == torch.float32
    assert phrases.hidden_states.isfinite().all()


def test_a_model_with_one_encoder_is_refused(pipeline):
    refiner = SimpleNamespace(
        tokenizer=None,
        tokenizer_2=pipeline.tokenizer_2,
        text_encoder=None,
        text_encoder_2=pipeline.text_encoder_2,
    )
    with pytest.raises(UnsuitableModelError, match="both text encoders of SDXL"):
        encode_phrases(refiner, ["cat"])


def test_a_shallow_encoder_is_refused():
    encoder = CLIPTextModel(
        CLIPTextConfig(num_hidden_layers=3, hidden_size=8, num_attention_heads=2, vocab_size=9)
    )
    with pytest.raises(UnsuitableModelError, match="has only 4"):
        encode_tokens([encoder], [torch.zeros(1, 77, dtype=torch.long)], torch.ones(1, 77))
