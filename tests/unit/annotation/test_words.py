"""Words to look for, from a user's list or a caption."""

from __future__ import annotations

import pytest

from instance_composer.annotation.words import WordsError, nouns, read_words


def test_words_are_tidied_and_each_is_there_once():
    words = read_words("Cat, traffic  light\ncat,,St. Bernard?\r\n")
    assert words == ("cat", "traffic light", "st bernard")
    assert read_words(" ,\n") == ()
    assert read_words("armchair | tennis racket|Cat ") == ("armchair", "tennis racket", "cat")


def test_a_sentence_is_no_word():
    with pytest.raises(WordsError, match="101 characters"):
        read_words("cat, " + "x" * 101)


def test_nouns_of_captions_are_looked_for_where_they_have_a_place():
    found = nouns(["A photo of a black cat and two dogs in the morning.", "", "blue"])
    assert found == [("cat", "dogs"), (), ()]
