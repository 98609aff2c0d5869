"""Masks of Shapes World by its judge: nouns by their shape alone, whatever their colour."""

from __future__ import annotations

import torch

from instance_composer.shapes_world import ShapesWorld
from instance_composer.training.comat.masks import WorldSegmenter


def test_masks_are_of_the_shapes_that_are_there():
    world = ShapesWorld(seed=4, figures=2)
    samples = [world[number] for number in range(6)]
    pictures = torch.stack([torch.from_numpy(one.image) for one in samples]).permute(0, 3, 1, 2) / 255
    nouns = [[*{figure.look.shape for figure in one.scene.figures}, "hexagon"] for one in samples]
    for sample, words, masks in zip(samples, nouns, WorldSegmenter().masks(pictures, nouns), strict=True):
        assert not masks[-1].any()
        for word, mask in zip(words[:-1], masks, strict=False):
            wanted = torch.zeros_like(mask)
            for figure, true in zip(sample.scene.figures, sample.masks, strict=True):
                if figure.look.shape == word:
                    wanted |= torch.from_numpy(true)
            overlap = (mask & wanted).sum() / (mask | wanted).sum()
            assert overlap > 0.85, (word, float(overlap))


def test_a_picture_without_nouns_is_not_read():
    (masks,) = WorldSegmenter().masks(torch.rand(1, 3, 32, 32), [[]])
    assert masks.shape == (0, 32, 32)
