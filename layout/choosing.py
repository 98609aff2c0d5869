"""One instance of a layout by what somebody calls it: its id, or its place.

The id comes first: it is the number that the editor shows, and stays with the instance when others are moved
or removed.
"""

from __future__ import annotations

from .instance import Document

# More instances than any layout has.
_MOST_DIGITS = 9


def find_instance(layout: Document, name: str) -> int | None:
    """Index of the instance with this id, else with this number, counted from 1; None if there is neither."""
    ids = [instance.id for instance in layout.instances]
    if name in ids:
        return ids.index(name)
    place = _place(name)
    return place if 0 <= place < len(ids) else None


def _place(name: str) -> int:
    """The index that a number from 1 on means, -1 for other names."""
    # Python reads no number of thousands of digits.
    return int(name) - 1 if name.isdecimal() and len(name) <= _MOST_DIGITS else -1


def name_of(layout: Document, index: int, longest: int | None = None) -> str:
    """What to type for an instance, such that `find_instance` finds it: its id.

    Its number where the id cannot be typed or has more than `longest` characters, unless that number is the
    id of another.
    """
    identifier, number = layout.instances[index].id, str(index + 1)
    if _can_be_typed(identifier) and (longest is None or len(identifier) <= longest):
        return identifier
    return number if find_instance(layout, number) == index else identifier


def list_instances(layout: Document) -> str:
    """Name and caption of every instance, for a sentence."""
    return ", ".join(describe(layout, index) for index in range(len(layout.instances))) or "none"


def describe(layout: Document, index: int) -> str:
    """Name and caption of an instance, for a sentence."""
    return f"{name_of(layout, index)} ({layout.instances[index].caption.strip() or 'no caption'})"


def tell_which(layout: Document, name: str) -> str:
    """Which instance a number was taken for, in a sentence; nothing where it can mean one alone."""
    index, place = find_instance(layout, name), _place(name)
    if index is None or index == place or not 0 <= place < len(layout.instances):
        return ""
    taken = layout.instances[index].caption.strip() or "no caption"
    return (
        f"{name} was taken for the id of an instance ({taken}); number {name} from the back is "
        f"{describe(layout, place)}."
    )


def _can_be_typed(identifier: str) -> bool:
    """Whether an id can stand in a list of instances and in "entity = instance"."""
    return identifier == identifier.strip() and identifier.isprintable() and not set(identifier) & set(",=")
