"""Helpers find what one process finds, in the same order."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.training.data.errors import SourceError
from instance_composer.training.data.looking import helpers
from instance_composer.training.data.looking.picture import KEY, Entry, Look, Place


@pytest.fixture
def entries(tmp_path) -> list[Entry]:
    """Pictures of their own sizes; the layout of one in five is broken, one picture is gone."""
    found = []
    for number in range(20):
        picture, layout = tmp_path / f"{number}.png", tmp_path / f"{number}.json"
        Image.new("RGB", (32 + number, 32)).save(picture)
        canvas = Canvas(32 + number, 32)
        text = Layout((Instance("1", Box(0, 0, 1, 1), "a cup"),), canvas).to_json()
        layout.write_text("{" if number % 5 == 1 else text)
        found.append(Entry(Place(str(picture)), Place(str(layout))))
    (tmp_path / "7.png").unlink()
    return found


def shared(monkeypatch) -> None:
    """Two helpers, three pictures at a time."""
    monkeypatch.setattr(helpers, "_WORTH", 1)
    monkeypatch.setattr(helpers, "_PORTION", 3)
    monkeypatch.setattr(helpers, "cores", lambda: 2)


def test_helpers_find_what_one_process_finds(entries, monkeypatch):
    numbers, sizes = np.arange(20)[::-1], [(64, 64), (96, 64)]
    alone = list(helpers.looked_at(entries.__getitem__, numbers, sizes))
    assert [isinstance(one, str) for one in alone] == [n % 5 == 1 or n == 7 for n in numbers.tolist()]
    assert all(len(one.key) == KEY and one.things == 1 for one in alone if isinstance(one, Look))
    shared(monkeypatch)
    assert list(helpers.looked_at(entries.__getitem__, numbers, sizes)) == alone


def test_a_helper_that_dies_is_told(entries, monkeypatch):
    shared(monkeypatch)
    monkeypatch.setattr(helpers._Helpers, "_send", lambda self, helper, what: helper.kill())
    with pytest.raises(SourceError, match=r"ended with -9.*what was found is kept"):
        list(helpers.looked_at(entries.__getitem__, np.arange(20), [(64, 64)]))


def test_helpers_need_no_torch():
    code = (
        "import sys; import instance_composer.training.data.looking.helpers; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
