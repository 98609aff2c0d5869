"""Pictures of Shapes World annotated by models that know the truth give the world's own layouts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from instance_composer.annotation.annotator import Annotator
from instance_composer.annotation.folder import PictureFolder, annotate_folder
from instance_composer.annotation.words import nouns
from instance_composer.layout import Box, Layout
from instance_composer.models.vision.interfaces import Detection
from instance_composer.shapes_world import Sample, ShapesWorld
from instance_composer.training.data.folder import LayoutFolder

# Larger than the smallest crop, so that crops are the boxes' own pixels.
SIDE = 192


class TrueDetector:
    """The world's boxes of what it is asked for, each with what real detectors add: doubles and specks."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = {sample.image.tobytes(): sample for sample in samples}

    def detect(self, pictures, words):
        return [list(self._find(picture, some)) for picture, some in zip(pictures, words, strict=True)]

    def _find(self, picture, words):
        sample = self.samples[picture.tobytes()]
        for item, figure in zip(sample.layout.instances, sample.scene.figures, strict=True):
            if figure.look.shape in words:
                x0, y0, x1, y1 = item.box
                yield Detection("thing", Box(x0 - 0.01, y0 - 0.01, x1, y1), 0.5)
                yield Detection(figure.look.shape, item.box, 0.9)
                yield Detection("speck", Box(x0, y0, x0 + 0.02, y0 + 0.02), 0.95)


class TrueCaptioner:
    """The captions of pictures and things that it knows pixel by pixel."""

    def __init__(self, samples: list[Sample]) -> None:
        self.pictures = {sample.image.tobytes(): sample.layout.prompt for sample in samples}
        self.things: dict[bytes, str] = {}
        for sample in samples:
            for item, mask in zip(sample.layout.instances, sample.masks, strict=True):
                rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
                crop = sample.image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                self.things[crop.tobytes()] = item.caption

    def caption_pictures(self, pictures):
        return [self.pictures[picture.tobytes()] for picture in pictures]

    def caption_instances(self, crops, words):
        return [self.things[crop.tobytes()] for crop in crops]


def bare(layout: Layout) -> Layout:
    """Without the notes of annotation, things by size and numbered as annotation does."""
    items = sorted(layout.instances, key=lambda item: (-item.box.area, item.box.x0, item.box.y0))
    plain = (replace(item, id=str(number), extra={}) for number, item in enumerate(items, 1))
    return replace(layout, instances=tuple(plain), extra={})


@pytest.fixture
def world() -> list[Sample]:
    world = ShapesWorld(seed=3, width=SIDE, height=SIDE)
    return [world[number] for number in range(5)]


def test_true_models_give_the_worlds_layouts_which_training_reads_back(world, tmp_path):
    for number, sample in enumerate(world):
        Image.fromarray(sample.image).save(tmp_path / f"{number}.png")
    annotator = Annotator(TrueDetector(world), TrueCaptioner(world), nouns)
    outcome = annotate_folder(annotator, PictureFolder(tmp_path, tmp_path / "data"), batch=2)
    assert (outcome.annotated, outcome.empty, outcome.failures) == (5, 0, [])
    for number, sample in enumerate(world):
        layout = Layout.from_json((tmp_path / "data" / f"{number}.json").read_bytes())
        assert bare(layout) == bare(sample.layout)
    folder = LayoutFolder(tmp_path / "data", SIDE, SIDE)
    assert len(folder) == 5
    for number, sample in enumerate(world):
        example = folder[number]
        assert np.array_equal(example.image, sample.image)
        read = [(item.caption, *item.box) for item in bare(example.layout).instances]
        true = [(item.caption, *item.box) for item in bare(sample.layout).instances]
        assert [caption for caption, *_ in read] == [caption for caption, *_ in true]
        np.testing.assert_allclose([box for _, *box in read], [box for _, *box in true], atol=1e-12)


def test_training_turns_pictures_as_annotation_does(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter, clockwise
    picture = Image.new("RGB", (128, 64), "red")
    picture.paste("blue", (64, 0, 128, 64))
    picture.save(tmp_path / "a.png", exif=exif)
    turned = PictureFolder(tmp_path, tmp_path).read(tmp_path / "a.png").picture
    (tmp_path / "a.json").write_text(Layout().to_json())
    assert np.array_equal(LayoutFolder(tmp_path, 64, 128)[0].image, np.asarray(turned))
