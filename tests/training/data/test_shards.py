"""Shards: any entry by its number, with no more files open than allowed."""

from __future__ import annotations

from pathlib import Path

from instance_composer.training.data.shards import Shards


def test_entries_are_found_and_files_read_once_while_they_are_open():
    read: list[str] = []

    def open_file(file: Path) -> str:
        read.append(file.name)
        return file.name

    shards = Shards([Path(name) for name in "abc"], 10, open_file, most=2)
    assert [shards.find(number) for number in (0, 9, 10, 25, 11)] == [
        ("a", 0), ("a", 9), ("b", 0), ("c", 5), ("b", 1),
    ]  # fmt: skip
    assert read == ["a", "b", "c"]
    shards.find(3)
    assert read == ["a", "b", "c", "a"]
