"""An instance by what somebody calls it: its id first, then its place."""

from __future__ import annotations

import pytest

from instance_composer.layout import Box, Instance, Layout
from instance_composer.layout.choosing import find_instance, list_instances

BOX = Box(0.1, 0.1, 0.5, 0.5)
LAYOUT = Layout((Instance("vase", BOX, "a red vase"), Instance("1", BOX, "a cup"), Instance("x", BOX)))


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("vase", 0),
        ("1", 1),
        ("2", 1),
        ("3", 2),
        ("4", None),
        ("0", None),
        ("-1", None),
        ("", None),
        ("²", None),
    ],
)
def test_an_id_comes_before_a_number(name, index):
    assert find_instance(LAYOUT, name) == index


def test_instances_are_listed_by_number_and_caption():
    assert list_instances(LAYOUT) == "1 (a red vase), 2 (a cup), 3 (x)"
    assert list_instances(Layout()) == "none"
