"""Keys, and where they are found."""

from __future__ import annotations

import numpy as np
from safetensors.torch import save_file
from torch import from_numpy

from instance_composer.training.data.keys import NOWHERE, KeyIndex, as_rows, distinct, key_of, share_of


def test_every_key_is_found_where_it_is_and_no_other():
    keys = as_rows(key_of("x", str(number)) for number in range(1000))
    index = KeyIndex.of_keys([keys[:300], keys[:0], keys[300:900]])
    found = index.find(keys)
    assert found[:300].tolist() == [[0, row] for row in range(300)]
    assert found[300:900].tolist() == [[2, row] for row in range(600)]
    assert (found[900:] == NOWHERE).all()
    assert len(index) == 900
    assert len(KeyIndex.of_keys([]).find(keys)) == 1000


def test_keys_that_begin_alike_are_told_apart():
    keys = np.zeros((5, 16), np.uint8)
    keys[:, 15] = [3, 1, 4, 1, 5]
    index = KeyIndex.of_keys([keys[:3]])
    assert index.find(keys)[:, 1].tolist() == [0, 1, 2, 1, NOWHERE]
    assert len(distinct(keys)) == 4


def test_texts_and_their_bounds_make_the_key():
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of("abc", "")}) == 4
    shares = share_of(as_rows(key_of(str(number)) for number in range(3000)), 3)
    assert np.bincount(shares).min() > 900


def test_an_index_is_written_once_and_mapped_by_the_next(tmp_path):
    files = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for file in files:
        keys = as_rows(key_of(file.name, str(number)) for number in range(9))
        save_file({"keys": from_numpy(keys.copy())}, file)
    asked = []

    def keys_in(file):
        asked.append(file)
        return as_rows(key_of(file.name, str(number)) for number in range(9))

    for _ in range(2):
        index = KeyIndex.of_files(files, keys_in, tmp_path / "index")
        assert index.find(as_rows([key_of(files[1].name, "4")])).tolist() == [[1, 4]]
    assert asked == files
