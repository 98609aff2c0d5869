"""Objects of a JSON array, each parsed alone."""

from __future__ import annotations

import json

import pytest

from instance_composer.training.data.json_array import JsonArray

OBJECTS = [{}, {"a": '}, {"b": ]', "c": [{"d": {}}, []]}, {"ü": "\\"}, {"e": 1.5, "f": None}]


@pytest.mark.parametrize("objects", [OBJECTS, OBJECTS[:1], []])
def test_objects_are_what_the_whole_text_gives(objects):
    text = json.dumps(objects)
    array = JsonArray(text)
    assert [*array] == objects
    assert [*JsonArray(text, array.bounds)] == objects
    assert array.bounds.nbytes == 8 * len(objects)
