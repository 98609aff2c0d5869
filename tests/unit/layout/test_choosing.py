"""An instance by what somebody calls it: its id first, then its place."""

from __future__ import annotations

import pytest

from instance_composer.layout import Box, Instance, Layout
from instance_composer.layout.choosing import find_instance, list_instances, name_of, tell_which

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
        ("9" * 10, None),
        ("9" * 5000, None),
    ],
)
def test_an_id_comes_before_a_number(name, index):
    assert find_instance(LAYOUT, name) == index


def test_instances_are_listed_by_name_and_caption():
    assert list_instances(LAYOUT) == "vase (a red vase), 1 (a cup), x (no caption)"
    assert list_instances(Layout()) == "none"


def test_after_a_removal_everything_goes_by_the_numbers_that_the_editor_shows():
    left = Layout((Instance("2", BOX, "a cup"), Instance("3", BOX, "a fox")))
    assert list_instances(left) == "2 (a cup), 3 (a fox)"
    assert [find_instance(left, name_of(left, index)) for index in (0, 1)] == [0, 1]
    assert tell_which(left, "2") == (
        "2 was taken for the id of an instance (a cup); number 2 from the back is 3 (a fox)."
    )
    # The only one that either can mean.
    assert tell_which(left, "1") == tell_which(left, "3") == tell_which(left, "fox") == ""


@pytest.mark.parametrize(
    ("identifier", "longest", "name"),
    [
        ("a red, red thing", None, "1"),
        ("a = b", None, "1"),
        (" 2", None, "1"),
        ("two\nlines", None, "1"),
        ("4d1f-88aa-0c21", None, "4d1f-88aa-0c21"),
        ("4d1f-88aa-0c21", 8, "1"),
    ],
)
def test_an_id_that_cannot_be_typed_goes_by_its_number(identifier, longest, name):
    own = Instance(identifier, BOX, "it")
    assert name_of(Layout((own, Instance("2", BOX))), 0, longest) == name
    # Unless that is somebody else's id.
    assert name_of(Layout((own, Instance("1", BOX))), 0, longest) == identifier


def test_a_number_of_thousands_of_digits_means_no_instance():
    assert tell_which(LAYOUT, "9" * 5000) == ""
    own = Layout((Instance("9" * 5000, BOX, "a cup"),))
    assert find_instance(own, "9" * 5000) == 0
    assert tell_which(own, "9" * 5000) == ""
