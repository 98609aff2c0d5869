"""Places of words among the tokens of a prompt, against ComfyUI's own tokenizer."""

from __future__ import annotations

import pytest

from instance_composer.hosts.comfyui.prompts.tokens import TOKENS_PER_CHUNK, count_tokens


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("a red book", 3),
        ("a ((red:1.3)) book", 3),
        (r"a \(red\) book", 5),
        ("a red book\non a table, 4k", 9),
        ("vase " * 80, 80),
    ],
)
def test_brackets_and_weights_count_nothing(text, count):
    assert count_tokens([text, "a vase"]) == [count, 2]


def test_one_chunk_holds_what_the_constant_says(clip):
    fits, over = "vase " * TOKENS_PER_CHUNK, "vase " * (TOKENS_PER_CHUNK + 1)
    assert count_tokens([fits, over]) == [TOKENS_PER_CHUNK, TOKENS_PER_CHUNK + 1]
    assert [len(chunks) for text in (fits, over) for chunks in clip.tokenize(text).values()] == [1, 1, 2, 2]


def test_an_embedding_without_a_name_is_refused_in_plain_words():
    with pytest.raises(ValueError, match=r'"embedding:" without a name'):
        count_tokens(["a vase, embedding:"])
