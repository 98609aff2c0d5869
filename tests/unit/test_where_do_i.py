"""The lists of docs/where-do-i.md, each followed by its example."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "where-do-i.md").read_text(encoding="utf-8")
# Title, pattern of the example, and the list's paths.
LISTS = [
    (
        title,
        example,
        re.findall(r"`([\w./<>-]+)`", "\n".join(re.findall(r"^- (`.*?)(?::|$)", body, re.MULTILINE))),
    )
    for title, example, body in re.findall(
        r"^## (Add .+?)\n\nExample: `(.+?)`\.\n\n((?:- .+\n)+)", PAGE, re.MULTILINE
    )
]
# Source that a reader would have to change: no pages, no data, nothing that is made of other files.
FOLDERS = (
    "annotation cli evaluation generation hosts layout locales models nodes pictures rankings "
    "shapes_world training"
)
SOURCE = [*FOLDERS.split(), "web/editor", "web/lib", "web/instance_composer.js", "pyproject.toml"]


def test_every_list_is_read():
    assert len(LISTS) == len(re.findall(r"^## Add ", PAGE, re.MULTILINE)) == 13


def touched(example: str) -> list[str]:
    """Files of the source that name the example, or are named after it."""
    searched = ["git", "grep", "-lE", "--untracked", example, "--", *SOURCE]
    found = subprocess.run(searched, cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout
    # A passage about the method in prose or in a comment is not a place to change.
    return [
        name
        for name in found.splitlines()
        if not name.startswith(("web/docs/", "training/demo_model/tokenizer/"))
    ]


@pytest.mark.parametrize(("title", "example", "listed"), LISTS, ids=[title for title, *_ in LISTS])
def test_a_list_names_every_file_that_its_example_touches(title, example, listed):
    patterns = [re.sub(r"<\w+>", "*", path) for path in listed]
    files = touched(example)
    assert files
    unlisted = [name for name in files if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    assert unlisted == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w./<>-]+/[\w./<>-]*)`", PAGE))))
def test_a_path_is_there(path):
    assert list(REPOSITORY.glob(re.sub(r"<\w+>", "*", path).rstrip("/")))
