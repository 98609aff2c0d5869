"""A folder of pictures with layouts beside them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.training.data.errors import SourceError
from instance_composer.training.data.folder import LayoutFolder


def test_a_folder_of_pictures_with_layouts(tmp_path):
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, 100:] = 255
    layout = Layout((Instance("1", Box(0.5, 0.0, 1.0, 1.0), "white"),), Canvas(200, 100), "half")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(layout.to_json())
    Image.fromarray(pixels).save(tmp_path / "without-layout.png")
    folder = LayoutFolder(tmp_path, 64, 64)
    assert len(folder) == 1
    example = folder[0]
    assert example.image.shape == (64, 64, 3)
    assert list(example.layout.instances[0].box) == pytest.approx([0.5, 0, 1, 1])
    assert example.image[:, 40:].min() > 200 > 50 > example.image[:, :24].max()
    with pytest.raises(SourceError, match="no pictures with layouts"):
        LayoutFolder(tmp_path / "nowhere", 64, 64)
    with pytest.raises(SourceError, match="multiples of 8"):
        LayoutFolder(tmp_path, 65, 64)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(SourceError, match=r"a\.png"):
        folder[0]


def test_pictures_come_in_the_order_of_their_names(tmp_path):
    names = ["b.PNG", "a.jpg", "a.b.webp", "ü.png", "10.png", "9.jpeg"]
    for name in (*names, "alone.png", "c.gif", "d.png", ".png", "._a.jpg", ".b.png"):
        (tmp_path / name).touch()
    for stem in ("b", "a", "a.b", "ü", "10", "9", "c", "without", "._a", ".b"):
        (tmp_path / f"{stem}.json").touch()
    (tmp_path / "d.json").mkdir()
    assert LayoutFolder(tmp_path, 64, 64).names == sorted(names)
