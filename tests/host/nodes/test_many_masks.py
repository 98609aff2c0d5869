"""Masks of hundreds of instances: no bytes beside the tensor that the node hands out."""

from __future__ import annotations

import torch

from instance_composer.hosts.comfyui.conversions import masks_of, shape_of
from instance_composer.layout import Box, Canvas, Instance, Layout, Polygon


def test_masks_of_many_instances_are_each_ones_own():
    instances = [Instance(str(n), Box(n / 100, 0.0, (n + 1) / 100, 1.0), mask=None) for n in range(99)]
    triangle = Polygon(((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    layout = Layout((*instances, Instance("99", Box(0, 0, 1, 1), mask=triangle)), Canvas(200, 30))
    masks = masks_of(layout)
    assert (masks.shape, masks.dtype) == ((100, 30, 200), torch.float32)
    assert torch.equal(masks[:99].sum((1, 2)), torch.full((99,), 60.0))
    assert masks[7, :, 14:16].all()
    raster = torch.frombuffer(bytearray(shape_of(layout.instances[99]).raster(200, 30)), dtype=torch.uint8)
    assert torch.equal(masks[99].flatten(), raster.float())
