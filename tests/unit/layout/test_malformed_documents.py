"""Damaged documents of every format end in a layout or in the documented error, and soon."""

from __future__ import annotations

import time
from collections import Counter

from malformed_documents import document, outcome, readers


def test_damaged_documents_are_read_or_refused_by_every_reader() -> None:
    outcomes = Counter(outcome(document(n, large=0), name) for n in range(200) for name in readers())
    assert outcomes["layout"] > 60  # the damage leaves some of them whole
    assert len(outcomes) > 30


def test_documents_of_megabytes_are_answered_soon() -> None:
    for data in (document(n, large=1) for n in range(25)):
        start = time.process_time()
        outcome(data, None)
        assert time.process_time() - start < 6.0  # writing it again included, on a busy machine


def test_a_number_names_a_document_whatever_was_made_before() -> None:
    before = [document(number) for number in range(200)]
    assert [document(number) for number in range(200)] == before
