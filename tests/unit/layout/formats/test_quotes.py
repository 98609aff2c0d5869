"""Quotes that are never closed: JSON that is mended in time that grows with the text."""

from __future__ import annotations

import time

import pytest

from instance_composer.layout import LayoutError, formats


@pytest.mark.parametrize("part", ['"\\', "'\\", '"', "'", '"\\\n', "\\'\""])
def test_quotes_that_are_never_closed_take_no_longer_than_others(part: str) -> None:
    text = "{'objects': [{'caption': 'a cat', 'box': (0.1, 0.2, 0.5, 0.6)}" + part * 60_000
    start = time.process_time()
    with pytest.raises(LayoutError):
        formats.read(text)
    assert time.process_time() - start < 2.0


def test_the_kind_of_a_shape_is_shown_by_its_beginning() -> None:
    shape = '{"label": "a", "points": [[1, 2], [3, 4]], "shape_type": "' + "9" * 40_000 + '"}'
    reading = formats.read_noted(
        '{"shapes": [' + shape + '], "imageWidth": 64, "imageHeight": 64}', "labelme"
    )
    assert max(len(str(warned)) for warned in reading.warnings) < 200
