from itertools import product

import pytest
import torch

from instance_composer.layout import Instance, Layout, LayoutError
from instance_composer.layout.mask import Polygon, RunLength
from instance_composer.models.regions import Placement, Regions


def layout(*instances: str) -> Layout:
    canvas = '"canvas": {"width": 1024, "height": 1024}'
    return Layout.from_json(f'{{"version": 1, {canvas}, "instances": [{", ".join(instances)}]}}')


def test_regions_of_a_layout_are_its_active_instances_in_order() -> None:
    regions = Regions.from_layout(
        layout(
            '{"id": "a", "caption": "a cat", "box": [0, 0, 0.5, 1], "strength": 0.5,'
            ' "start": 0.1, "end": 0.9}',
            '{"id": "b", "caption": "off", "box": [0, 0, 1, 1], "enabled": false}',
            '{"id": "c", "caption": "  ", "box": [0, 0, 1, 1]}',
            '{"id": "d", "caption": "half outside", "box": [0.5, -0.5, 1.5, 0.5]}',
            '{"id": "e", "caption": "a roof", "box": [0, 0, 1, 1],'
            ' "mask": {"polygon": [[0.25, 0.5], [0.75, 0.5], [0.75, 1], [0.25, 1]]}}',
        )
    )
    assert regions.boxes == ((0, 0, 0.5, 1), (0.5, 0, 1, 0.5), (0.25, 0.5, 0.75, 1))
    assert regions.strengths == (0.5, 1, 1)
    assert regions.windows == ((0.1, 0.9), (0, 1), (0, 1))
    placement = regions.place((8, 8))
    assert placement is not None
    assert placement.cells == ((0, 0, 4, 8), (4, 0, 8, 4), (2, 4, 6, 8))


def test_a_layout_with_errors_is_refused() -> None:
    with pytest.raises(LayoutError, match="same"):
        Regions.from_layout(
            layout(
                '{"id": "same", "caption": "x", "box": [0, 0, 1, 1]}',
                '{"id": "same", "caption": "y", "box": [0, 0, 1, 1]}',
            )
        )


def test_a_mask_covers_the_cells_it_touches() -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[15:17, 40] = True  # two pixels on both sides of a cell's edge
    placement = Regions(((0, 0, 1, 1),), (mask,), (1.0,), ((0.0, 1.0),)).place((4, 4))
    assert placement is not None
    assert placement.cells == ((2, 0, 3, 2),)
    assert placement.masks == (None,)
    ell = torch.ones(4, 4, dtype=torch.bool)
    ell[:2, 2:] = False
    placement = Regions(((0, 0, 1, 1),), (ell,), (1.0,), ((0.0, 1.0),)).place((2, 2))
    assert placement is not None
    assert placement.cells == ((0, 0, 2, 2),)
    assert placement.masks[0] is not None
    assert placement.masks[0].tolist() == [[True, False], [True, True]]
    assert placement.ratios.tolist() == [1.0]


def masked(mask: Polygon | RunLength) -> Regions:
    return Regions.from_layout(Layout((Instance("1", mask.bounds, "a thing", mask=mask),)))


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    return Polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))


@pytest.mark.parametrize("width", [3 / 1024, 1e-4])
def test_a_thin_mask_has_the_cells_of_its_box_wherever_it_is(width: float) -> None:
    """A lamp post and a wire, moved by less than a pixel; no edge of theirs is near one of a cell."""
    for n in range(256):
        x = 0.2 + n / 1021
        placement = masked(rectangle(x, 0.11, x + width, 0.89)).place((32, 32))
        assert placement is not None, x
        x0, y0, x1, y1 = placement.cells[0]
        box = Regions.of_boxes([(x, 0.11, x + width, 0.89)]).place((32, 32))
        assert box is not None
        left, top, right, bottom = box.cells[0]
        # Where the post stands on the edge between two cells one of them is enough.
        assert left <= x0 < x1 <= right
        assert (y0, y1) == (top, bottom)


# Of a picture of 3000 px a sample of the mask stands for almost 12: places that lie side by side fill those.
@pytest.mark.parametrize(
    ("side", "places"),
    [(1024, range(8)), (1000, range(8)), (3000, range(0, 12, 3))],
    ids=("1024", "1000", "3000"),
)
def test_a_few_pixels_have_a_cell_wherever_they_are(side: int, places: range) -> None:
    for down, right in product(places, places):
        top, left = side // 3 + down, side // 2 + right
        mask = RunLength.from_window(bytes((1,) * 9), (left, top, left + 3, top + 3), side, side)
        placement = masked(mask).place((32, 32))
        assert placement is not None, (left, top)
        x0, y0, x1, y1 = placement.cells[0]
        assert x0 <= (left + 1) * 32 // side < x1
        assert y0 <= (top + 1) * 32 // side < y1


def test_a_thin_part_of_a_shape_is_part_of_it() -> None:
    """A lantern on a post of two pixels, which stands between two samples."""
    x = 0.4 + 0.6 / 256
    post, lantern = (x, x + 2 / 1024), (0.38, 0.43)
    mask = Polygon(
        (
            (lantern[0], 0.11),
            (lantern[1], 0.11),
            (lantern[1], 0.2),
            (post[1], 0.2),
            (post[1], 0.89),
            (post[0], 0.89),
            (post[0], 0.2),
            (lantern[0], 0.2),
        )
    )
    placement = masked(mask).place((32, 32))
    assert placement is not None
    assert placement.covered[0, 3:29, 12].all()
    # The lantern is two cells wide and four high.
    assert placement.covered[0].sum() == 26 + 4


def test_an_ordinary_mask_is_its_samples() -> None:
    """Edges are not moved outwards by what lies beside them."""
    for mask in (rectangle(0.2013, 0.3017, 0.7011, 0.8003), Polygon(((0.1, 0.1), (0.9, 0.3), (0.4, 0.8)))):
        raster = torch.frombuffer(bytearray(mask.raster(256, 256)), dtype=torch.uint8).view(256, 256)
        found = masked(mask).masks[0]
        assert found is not None
        assert torch.equal(found, raster.bool())


def test_a_crop_sees_what_the_whole_picture_shows_there() -> None:
    """A quarter of a 16 x 16 grid is the 8 x 8 grid of that quarter."""
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[4:20, 10:30] = True
    regions = Regions(
        ((0.1, 0.2, 0.7, 0.9), (0.6, 0.6, 0.9, 0.9), (0.3, 0.1, 0.95, 0.65)),
        (None, None, mask),
        (1.0, 0.5, 1.0),
        ((0.0, 1.0),) * 3,
    )
    whole, quarter = regions.place((16, 16)), regions.crop(0.5, 0.0, 1.0, 0.5).place((8, 8))
    assert whole is not None
    assert quarter is not None
    for slot in range(3):
        seen = torch.zeros(16, 16, dtype=torch.bool)
        inside = whole.masks[slot]
        seen[whole.crop(slot)] = True if inside is None else inside
        cropped = torch.zeros(8, 8, dtype=torch.bool)
        inside = quarter.masks[slot]
        cropped[quarter.crop(slot)] = True if inside is None else inside
        assert torch.equal(cropped, seen[:8, 8:])


def test_a_crop_beside_all_regions_is_nowhere() -> None:
    assert Regions.of_boxes([(0.0, 0.0, 0.4, 0.4)]).crop(0.5, 0.5, 1.0, 1.0).place((8, 8)) is None
    assert Regions.of_boxes([]).place((8, 8)) is None


def test_rows_of_a_batch_are_placed_as_each_by_itself() -> None:
    """Cells, ratios and unions; a row without instances and one with a box between the cells among them."""
    boxes = [
        [(0.0, 0.0, 0.5, 0.5), (0.25, 0.25, 1.0, 1.0)],
        [],
        [(0.5, 0.5, 0.5, 0.9)],
        [(0.1, 0.1, 0.3, 0.9)],
    ]
    flat = [box for row in boxes for box in row]
    together = Placement.of_boxes(torch.tensor(flat), [len(row) for row in boxes], (8, 8))
    assert together.counts == [2, 0, 1, 1]
    for number, row in enumerate(boxes):
        own, alone = together.row(number), Placement.of_boxes(row, [len(row)], (8, 8))
        assert own.cells == alone.cells
        assert torch.equal(own.covered, alone.covered)
        assert torch.equal(own.ratios, alone.ratios)
        assert torch.equal(together.unions[number], alone.unions[0])
    assert together.ratios[2] == float("inf")
    assert together.unions[1].sum() == 0
    assert together.row(3).indices == (3,)


def test_placements_are_kept() -> None:
    regions = Regions.of_boxes([(0.0, 0.0, 0.4, 0.4)])
    assert regions.place((8, 8)) is regions.place((8, 8))
    assert regions.place((8, 8)) is not regions.place((8, 8), (True,))
