"""Yes and no as tokenizers of several forms have them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from instance_composer.models.vision.asking import YesNoModel
from instance_composer.models.vision.interfaces import ModelError

SPACE = "\u2581"


def processor(words: tuple[str, ...]) -> SimpleNamespace:
    """A tokenizer of Llama-2's form: spaces are marks, one before the text, and nothing splits it before."""
    whole = [f"{SPACE}{word}" for word in words]
    letters = sorted({letter for word in whole for letter in word})
    merges: list[tuple[str, str]] = []
    known = ["<unk>", *letters]
    for word in whole:
        for end in range(2, len(word) + 1):
            pair = (word[: end - 1], word[end - 1])
            if pair not in merges:
                merges.append(pair)
                known.append(word[:end])
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(known))}
    inner = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    return SimpleNamespace(tokenizer=PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>"))


def test_the_mark_of_a_space_is_no_answer():
    own = processor(("Yes", "yes", "No", "no"))
    read = own.tokenizer
    assert [read(text)["input_ids"][0] for text in (" Yes", " No")] == [read.get_vocab()[SPACE]] * 2
    model = YesNoModel(nn.Linear(1, 1), own)
    assert read.convert_ids_to_tokens(model._yes) == [f"{SPACE}Yes", f"{SPACE}yes"]
    assert read.convert_ids_to_tokens(model._no) == [f"{SPACE}No", f"{SPACE}no"]
    # What indexes the probabilities of the words.
    assert torch.arange(len(read))[model._yes].tolist() == model._yes


def test_a_tokenizer_that_knows_neither_is_refused():
    with pytest.raises(ModelError, match="does not tell yes from no"):
        YesNoModel(nn.Linear(1, 1), processor(("oui", "non")))
