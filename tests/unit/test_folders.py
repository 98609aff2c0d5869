"""The house: no arrow back up, no circle, no crowded folder, and pictures of it that are current."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "scripts"))

import folders  # noqa: E402


def test_no_files_import_each_other_in_a_ring():
    arrows = {
        str(file.relative_to(REPOSITORY)): {str(target.relative_to(REPOSITORY)) for target in targets}
        for file, targets in folders.file_arrows(REPOSITORY).items()
    }
    assert len(arrows) > 200
    assert folders.circles(arrows) == []


@pytest.mark.parametrize("inside", [None, *folders.INSIDES])
def test_no_folders_import_each_other_in_a_ring(inside):
    assert folders.circles(folders.room_arrows(inside)) == []


def test_no_folder_is_crowded():
    assert folders.crowded() == []


def test_the_pictures_are_those_of_this_tree():
    """Drawn anew by `python scripts/folders.py`."""
    drawn = folders.pictures()
    shown = {file.name: file.read_text(encoding="utf-8") for file in folders.PICTURES.glob("*.svg")}
    assert shown.keys() == drawn.keys()
    assert [name for name in drawn if shown[name] != drawn[name]] == []


def test_contributing_shows_the_pictures_and_their_figures():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert folders.table() in text
    assert [name for name in folders.pictures() if f"docs/folders/{name}" not in text] == []


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


HOUSE = {
    "roof/__init__.py": "",
    "roof/tiles.py": "from ..walls import stone\nfrom ..cellar.wine import bottle\n",
    "walls/__init__.py": "from .stone import block\n",
    "walls/stone.py": "from .. import cellar\n",
    "cellar/__init__.py": "",
    "cellar/wine.py": "bottle = 1\n",
}


def test_floors_stand_above_what_they_import(tmp_path):
    _write(tmp_path, HOUSE)
    arrows = folders.room_arrows(root=tmp_path)
    assert arrows == {"cellar": set(), "roof": {"cellar", "walls"}, "walls": {"cellar"}}
    assert folders.floors(arrows) == [["cellar"], ["walls"], ["roof"]]
    assert folders.needed_arrows(arrows) == {("roof", "walls"), ("walls", "cellar")}


@pytest.mark.parametrize(
    "back",
    [
        "from ..roof.tiles import slate",
        "from .. import roof",
        'import_module("..roof.tiles", __name__)',
        'PROCESS = "instance_composer.roof.tiles"',
        "def late():\n    from ..roof import tiles\n",
    ],
)
def test_an_arrow_back_up_is_found_wherever_it_hides(back, tmp_path):
    _write(tmp_path, {**HOUSE, "cellar/wine.py": back})
    assert folders.circles(folders.room_arrows(root=tmp_path)) == [["cellar", "roof", "walls"]]


def test_a_crowded_folder_is_found(tmp_path):
    _write(tmp_path, {f"attic/box{number}.py": "" for number in range(21)} | {"attic/__init__.py": ""})
    assert folders.crowded(tmp_path) == ["attic (22 files)"]
