"""Token ids of captions, of which only the last are kept."""

from __future__ import annotations

import torch

from instance_composer.models.rewards import RewardTokenizer
from instance_composer.training.data.text import Tokenizer, tell_if_unread


def test_what_was_forgotten_is_the_same_again(pipeline):
    small, whole = Tokenizer(pipeline, kept=2), Tokenizer(pipeline)
    captions = ["a red circle", "", "a b", "a red circle", "c", "a b"]
    for one, other in zip(small(captions), whole(captions), strict=True):
        assert torch.equal(one, other)
        assert one.dtype == torch.int32
    assert torch.equal(small(captions[:1]).first, whole(captions).first[3:4])
    assert small._known.cache_info().currsize == 2


def test_captions_that_are_cut_are_told_first_and_by_powers_of_two(pipeline, caplog):
    tokenizer = Tokenizer(pipeline)
    most = pipeline.tokenizer.model_max_length - 2
    tokenizer(["a " * most])
    assert tokenizer.cut == 0, "a caption that just fits"
    for number in range(12):
        tokenizer([f"{number} " + "a " * most])
    tokenizer(["0 " + "a " * most])
    assert tokenizer.cut == 12
    assert [record.args[0] for record in caplog.records] == [1, 2, 4, 8]
    assert "nothing is learned from its end" in caplog.records[0].getMessage()


def test_prompts_that_a_reward_does_not_read_to_their_end_are_counted_once(caplog):
    tokenizer = RewardTokenizer.of_words(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "circle"], 5)
    tell_if_unread("the reward model", tokenizer, ["a red circle", "a circle"])
    assert not caplog.records
    prompts = ["a circle", "a red circle a", "a red circle a red", "a red circle a"]
    tell_if_unread("the reward model", tokenizer, prompts)
    assert caplog.messages == [
        "2 of 3 prompts are longer than what the reward model reads: of 'a red circle a' it does not read 'a'"
    ]
