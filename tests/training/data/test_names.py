"""Many names as one text."""

import random

import numpy as np
import pytest

from instance_composer.training.data.names import NamesBuilder

# Letters of one to four bytes, and half of a surrogate pair as file systems give them.
WORDS = ["b/2.png", "a.tar/é", "a.tar/z", "a", "", "ü/🐱.jpg", "b/10.png", "\udc80broken", "\uffee"]


def built(words):
    builder = NamesBuilder()
    for word in words:
        builder.append(word)
    return builder


def test_names_are_what_came_and_sort_as_texts_do():
    words = WORDS.copy()
    random.Random(0).shuffle(words)
    assert list(built(words).made()) == words
    names, order = built(words).in_order()
    assert list(names) == sorted(WORDS) == [words[one] for one in order]
    again, order = built(sorted(WORDS)).in_order()
    assert list(again) == sorted(WORDS)
    assert np.arange(len(WORDS))[order].tolist() == list(range(len(WORDS)))


def test_names_are_a_sequence():
    names = built(WORDS).made()
    assert names[-1] == WORDS[-1]
    assert names[1:3] == WORDS[1:3]
    assert names.index("a") == 3
    assert list(names.select(np.array([4, 0]))) == [WORDS[4], WORDS[0]]
    assert len(built([]).made()) == 0
    with pytest.raises(IndexError, match="there are 9 names"):
        names[9]
