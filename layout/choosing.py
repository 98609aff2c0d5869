"""One instance of a layout by the name that somebody gave it: its id, or its place."""

from __future__ import annotations

from .instance import Document


def find_instance(layout: Document, name: str) -> int | None:
    """Index of the instance with this id, else with this number, counted from 1; None if there is neither."""
    ids = [instance.id for instance in layout.instances]
    if name in ids:
        return ids.index(name)
    return int(name) - 1 if name.isdecimal() and 1 <= int(name) <= len(ids) else None


def list_instances(layout: Document) -> str:
    """Number and caption of every instance, for a sentence."""
    if not layout.instances:
        return "none"
    return ", ".join(
        f"{number} ({instance.caption.strip() or instance.id})"
        for number, instance in enumerate(layout.instances, start=1)
    )
