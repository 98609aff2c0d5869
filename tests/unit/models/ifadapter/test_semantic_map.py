"""All computations of the semantic map against the published algorithm written plainly, and their limits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from published_ifadapter import published_term
from torch import Tensor

from instance_composer.models.ifadapter import (
    Gate,
    InstanceAttention,
    StackedPrompts,
    cell_lists,
    cropped_semantic_map,
    gathered_semantic_map,
    prompts_semantic_map,
    semantic_map,
)
from instance_composer.models.ifadapter.cell_lists import group_by_size
from instance_composer.models.ifadapter.semantic_map_listed import ListedSemanticMap, is_small
from instance_composer.models.regions import Placement, Regions

WIDTH, HEAD_DIM, TEXT = 64, 16, 24
# Both sum the same float32 numbers in another order.
NOISE = 2e-5
# Both computations of the same term, of order one, sum in another order: a few float32 roundings.
AGREEMENT = 1e-6

Kernel = Callable[..., Tensor]


def listed_semantic_map(
    query: Tensor, keys: Tensor, values: Tensor, gate: Gate, placement: Placement
) -> Tensor:
    """Each row by itself: the third computation knows one placement at a time, with cells in it."""
    if placement.rows == 1:
        return ListedSemanticMap(keys, values, gate, placement, len(query))(query)
    out = torch.zeros_like(query)
    for number in range(placement.rows):
        own = placement.row(number)
        if own.covered.any():
            rows = slice(number, None, placement.rows)
            out[rows] = listed_semantic_map(query[rows], keys, values, gate, own)
    return out


KERNELS = pytest.mark.parametrize(
    "kernel", [cropped_semantic_map, gathered_semantic_map, listed_semantic_map]
)


def random_layer(seed: int = 0) -> InstanceAttention:
    layer = InstanceAttention(
        width=WIDTH, text_width=TEXT, head_dim=HEAD_DIM, gate_hidden=4, gate_kernel=7
    ).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return layer


def random_inputs(grid: tuple[int, int], counts: list[int], seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(len(counts), grid[0] * grid[1], WIDTH, generator=generator)
    return query, torch.randn(sum(counts), 5, TEXT, generator=generator)


def term(
    kernel: Kernel,
    layer: InstanceAttention,
    query: Tensor,
    tokens: Tensor,
    regions: Regions,
    grid: tuple[int, int],
) -> Tensor:
    """One row's term for regions with masks, strengths and windows."""
    keys, values = layer.keys_values(tokens)
    placement = regions.place(grid)
    assert placement is not None
    return kernel(query, keys[None], values[None], layer.gate(), placement)


edges = st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda e: abs(e[0] - e[1]) > 1e-3).map(sorted)
boxes = st.tuples(edges, edges).map(lambda e: (e[0][0], e[1][0], e[0][1], e[1][1]))


@KERNELS
@settings(max_examples=60)
@given(
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    samples=st.lists(st.lists(boxes, min_size=1, max_size=13), min_size=1, max_size=3),
)
def test_equals_the_published_algorithm_on_any_grid_for_any_number_of_boxes(
    kernel: Kernel, grid: tuple[int, int], samples: list[list[tuple[float, ...]]]
) -> None:
    counts = [len(sample) for sample in samples]
    layer, (query, tokens) = random_layer(), random_inputs(grid, counts)
    flat = torch.tensor([box for sample in samples for box in sample])
    expected = torch.cat(
        [
            published_term(layer, q[None], t, b, [len(t)], grid)
            for q, t, b in zip(query, tokens.split(counts), flat.split(counts), strict=True)
        ]
    )
    torch.testing.assert_close(layer(query, tokens, flat, counts, grid), expected, atol=NOISE, rtol=1e-5)
    keys, values = layer.keys_values(tokens)
    placement = Placement.of_boxes(flat, counts, grid)
    together = kernel(query, keys[None], values[None], layer.gate(), placement)
    torch.testing.assert_close(together, expected, atol=NOISE, rtol=1e-5)
    rows = zip(query, tokens.split(counts), flat.split(counts), strict=True)
    single = [
        term(kernel, layer, q[None], t, Regions.of_boxes(b), grid)
        if Regions.of_boxes(b).place(grid)
        else torch.zeros_like(q[None])
        for q, t, b in rows
    ]
    torch.testing.assert_close(torch.cat(single), expected, atol=NOISE, rtol=1e-5)


@KERNELS
@settings(max_examples=40)
@given(data=st.data(), grid=st.tuples(st.integers(2, 8), st.integers(2, 8)), count=st.integers(1, 4))
def test_masks_equal_the_published_algorithm_with_the_raster_exchanged(
    kernel: Kernel, data: st.DataObject, grid: tuple[int, int], count: int
) -> None:
    cells = st.lists(st.booleans(), min_size=grid[0] * grid[1], max_size=grid[0] * grid[1]).filter(any)
    masks = [torch.tensor(data.draw(cells)).view(grid) for _ in range(count)]
    layer, (query, tokens) = random_layer(), random_inputs(grid, [count])
    expected = published_term(layer, query, tokens, torch.zeros(count, 4), [count], grid, masks)
    fine = tuple(mask.repeat_interleave(3, 0).repeat_interleave(3, 1) for mask in masks)
    regions = Regions(((0.0, 0.0, 1.0, 1.0),) * count, fine, (1.0,) * count, ((0.0, 1.0),) * count)
    found = term(kernel, layer, query, tokens, regions, grid)
    torch.testing.assert_close(found, expected[:1], atol=NOISE, rtol=1e-5)


@KERNELS
def test_a_mask_that_fills_a_box_equals_the_box(kernel: Kernel) -> None:
    grid, box = (6, 8), (0.25, 1 / 6, 0.75, 5 / 6)
    mask = torch.zeros(24, 32, dtype=torch.bool)
    mask[4:20, 8:24] = True
    layer, (query, tokens) = random_layer(), random_inputs(grid, [1])
    with_mask = term(kernel, layer, query, tokens, Regions((box,), (mask,), (1.0,), ((0.0, 1.0),)), grid)
    assert torch.equal(with_mask, term(kernel, layer, query, tokens, Regions.of_boxes([box]), grid))


@KERNELS
def test_nothing_is_added_outside_the_regions_or_at_strength_zero(kernel: Kernel) -> None:
    grid = (5, 7)
    layer, (query, tokens) = random_layer(), random_inputs(grid, [2])
    boxes = ((0.0, 0.0, 0.4, 0.5), (0.2, 0.1, 0.6, 0.9))
    silent = Regions(boxes, (None, None), (0.0, 0.0), ((0.0, 1.0),) * 2)
    assert not term(kernel, layer, query, tokens, silent, grid).any()
    image = term(kernel, layer, query, tokens, Regions.of_boxes(boxes), grid).view(*grid, WIDTH)
    assert not image[:, 5:].any()
    assert image[:, :2].any()


@KERNELS
def test_strength_scales_what_its_instance_adds_and_nothing_else(kernel: Kernel) -> None:
    grid, boxes = (6, 6), ((0.0, 0.0, 0.7, 0.7), (0.3, 0.3, 1.0, 1.0))
    layer, (query, tokens) = random_layer(), random_inputs(grid, [2])

    def at(first: float, second: float) -> Tensor:
        return term(
            kernel,
            layer,
            query,
            tokens,
            Regions(boxes, (None,) * 2, (first, second), ((0.0, 1.0),) * 2),
            grid,
        )

    torch.testing.assert_close(at(2.0, 0.5), 2.0 * at(1.0, 0.0) + 0.5 * at(0.0, 1.0), atol=NOISE, rtol=1e-5)


@KERNELS
def test_consecutive_rows_share_the_keys_of_their_prompt(kernel: Kernel) -> None:
    grid, count = (4, 6), 2
    layer, (query, tokens) = random_layer(), random_inputs(grid, [1] * 4)
    placement = Regions.of_boxes([(0.0, 0.0, 0.7, 0.7), (0.3, 0.3, 1.0, 1.0)]).place(grid)
    assert placement is not None
    keys, values = (x.unflatten(0, (2, count)) for x in layer.keys_values(tokens))
    gate = layer.gate()
    together = kernel(query, keys, values, gate, placement)
    for row in range(4):
        prompt = slice(row // 2, row // 2 + 1)
        alone = semantic_map(query[row : row + 1], keys[prompt], values[prompt], gate, placement)
        torch.testing.assert_close(together[row : row + 1], alone, atol=NOISE, rtol=1e-5)


@KERNELS
def test_instances_outside_their_window_are_as_if_absent(kernel: Kernel) -> None:
    grid, boxes = (6, 6), ((0.0, 0.0, 0.7, 0.7), (0.3, 0.3, 1.0, 1.0))
    layer, (query, tokens) = random_layer(), random_inputs(grid, [2])
    keys, values = layer.keys_values(tokens)
    regions = Regions(boxes, (None, None), (1.0, 1.0), ((0.0, 0.5), (0.5, 1.0)))
    late = regions.place(grid, regions.active(0.75))
    assert late is not None
    other = Regions.of_boxes(boxes[1:]).place(grid)
    assert other is not None
    # The same keys and values: projecting fewer tokens at once may round otherwise on several threads.
    alone = kernel(query, keys[None, 1:], values[None, 1:], layer.gate(), other)
    assert torch.equal(kernel(query, keys[None], values[None], layer.gate(), late), alone)
    assert regions.active(0.0) == (True, False)
    assert regions.active(0.5) == (False, True)
    assert regions.place(grid, regions.active(1.0)) is None


@KERNELS
def test_more_than_ten_instances_share_the_softmax_without_empty_slots(kernel: Kernel) -> None:
    """Eleven equal instances: each has the same weight, so together they add what one adds at full weight."""
    grid = (4, 4)
    layer, (query, tokens) = random_layer(), random_inputs(grid, [1])
    eleven = term(
        kernel, layer, query, tokens.repeat(11, 1, 1), Regions.of_boxes([(0.0, 0.0, 1.0, 1.0)] * 11), grid
    )
    keys, values = layer.keys_values(tokens)
    q = query.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    q = q * torch.rsqrt(q.square().mean(-1, keepdim=True) + 1e-6)
    feature = (q @ keys.transpose(2, 3)).softmax(-1) @ values
    expected = layer.alpha.tanh() * feature.transpose(1, 2).flatten(2)
    torch.testing.assert_close(eleven, expected, atol=NOISE, rtol=1e-4)


@KERNELS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_queries_get_the_float32_term_rounded(kernel: Kernel, dtype: torch.dtype) -> None:
    grid = (6, 6)
    layer, (query, tokens) = random_layer(), random_inputs(grid, [2])
    # Large scores overflow half precision in the published form, which masks with the lowest finite number.
    query = (query * 300).to(dtype)
    regions = Regions.of_boxes([(0.0, 0.0, 0.5, 1.0), (0.6, 0.0, 1.0, 0.3)])
    half = term(kernel, layer, query, tokens, regions, grid)
    assert half.dtype == dtype
    assert half.isfinite().all()
    assert torch.equal(half, term(kernel, layer, query.float(), tokens, regions, grid).to(dtype))


@pytest.mark.parametrize("kernel", [cropped_semantic_map, gathered_semantic_map])
def test_gradients_reach_every_weight_and_the_tokens(kernel: Kernel) -> None:
    grid = (4, 6)
    layer, (query, tokens) = random_layer().requires_grad_(), random_inputs(grid, [2, 1])
    tokens.requires_grad_()
    boxes = torch.tensor([(0.0, 0.0, 0.5, 0.5), (0.25, 0.25, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)])

    def gradients(loss: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(loss, [*layer.parameters(), tokens]))

    keys, values = layer.keys_values(tokens)
    placement = Placement.of_boxes(boxes, [2, 1], grid)
    ours = gradients(kernel(query, keys[None], values[None], layer.gate(), placement).square().sum())
    halves = zip(query, tokens.split([2, 1]), boxes.split([2, 1]), strict=True)
    published = [published_term(layer, q[None], t, b, [len(t)], grid) for q, t, b in halves]
    for mine, expected in zip(ours, gradients(torch.cat(published).square().sum()), strict=True):
        assert expected.any()
        torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-3)


def test_wrong_grids_and_counts_are_refused_in_words() -> None:
    layer, (query, tokens) = random_layer(), random_inputs((4, 4), [2])
    boxes = torch.tensor([(0.0, 0.0, 1.0, 1.0)] * 2)
    with pytest.raises(ValueError, match="16 query tokens do not fill a grid of 4 x 5 cells"):
        layer(query, tokens, boxes, [2], (4, 5))
    with pytest.raises(ValueError, match=r"counts \[1\] must give the number of instances"):
        layer(query, tokens, boxes[:1], [1], (4, 4))
    with pytest.raises(ValueError, match=r"counts \[2\] add up to 2 instances, but there are 1 boxes"):
        layer(query, tokens, boxes[:1], [2], (4, 4))


def test_a_batch_that_cannot_be_shared_among_prompts_is_refused_in_words() -> None:
    layer, (query, tokens) = random_layer(), random_inputs((4, 4), [1] * 3)
    keys, values = layer.keys_values(tokens[:2])
    placement = Regions.of_boxes([(0.0, 0.0, 1.0, 1.0)]).place((4, 4))
    assert placement is not None
    with pytest.raises(ValueError, match="a batch of 3 rows does not hold 2 prompts"):
        semantic_map(query, keys[:, None], values[:, None], layer.gate(), placement)


def batch_of(kind: str, count: int, rows: int, generator: torch.Generator) -> Tensor:
    """Boxes (rows * count, 4): all alike, of any size, or one whole picture and the others small."""
    corners = torch.rand(rows * count, 2, generator=generator) * 0.6
    sides = torch.rand(rows * count, 2, generator=generator) * 0.4 if kind == "any" else 0.3
    found = torch.cat((corners, corners + sides), dim=1)
    if kind == "whole":
        found[::count] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    return found


@pytest.mark.parametrize("kind", ["alike", "any", "whole"])
@pytest.mark.parametrize("count", [1, 4, 12])
def test_both_computations_agree_with_gradients(kind: str, count: int, monkeypatch) -> None:
    """In one group of sizes and in three."""
    grid, rows = (8, 8), 2
    layer, (query, tokens) = random_layer().requires_grad_(), random_inputs(grid, [count] * rows)
    boxes = batch_of(kind, count, rows, torch.Generator().manual_seed(5))
    inputs = [*layer.parameters(), tokens.requires_grad_(), query.requires_grad_()]

    def run(kernel: Kernel) -> tuple[Tensor, ...]:
        keys, values = layer.keys_values(tokens)
        placement = Placement.of_boxes(boxes, [count] * rows, grid)
        out = kernel(query, keys[None], values[None], layer.gate(), placement)
        return out, *torch.autograd.grad(out.square().mean(), inputs)

    expected = run(cropped_semantic_map)
    assert all(part.any() for part in expected)
    for cells_per_group in (2048, 8):
        monkeypatch.setattr(cell_lists, "CELLS_PER_GROUP", cells_per_group)
        for found, part in zip(run(gathered_semantic_map), expected, strict=True):
            torch.testing.assert_close(found, part, atol=AGREEMENT, rtol=1e-5)


def test_a_large_instance_is_not_padded_for_nor_padded_to() -> None:
    """One whole picture and seven small ones on 32 x 32 cells: two groups; alike or few cells: one."""
    assert group_by_size([1032, *[40] * 7]) == [[0], [1, 2, 3, 4, 5, 6, 7]]
    assert group_by_size([40, 520, 40, 4104, 48]) == [[3], [0, 1, 2, 4]]
    assert group_by_size([104] * 10) == [list(range(10))]
    assert group_by_size([64, 8, 8, 8]) == [[0, 1, 2, 3]]
    many = [4104, 2056, 40] * 8
    assert [{many[member] for member in group} for group in group_by_size(many)] == [{4104}, {2056}, {40}]


@contextmanager
def counting_allocations() -> Iterator[list[int]]:
    """Largest number of elements of any tensor made inside."""
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = [0]

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                sizes[0] = max(sizes[0], out.numel())
            return out

    with Count():
        yield sizes


def test_work_follows_the_size_of_the_region() -> None:
    """No tensor larger than the query itself is made, whatever the number of slots."""
    grid = (16, 16)
    layer, (query, tokens) = random_layer(), random_inputs(grid, [4])
    keys, values = layer.keys_values(tokens)
    placement = Regions.of_boxes([(0.0, 0.0, 0.25, 0.25)] * 4).place(grid)
    assert placement is not None
    gate = layer.gate()
    with counting_allocations() as largest:
        cropped_semantic_map(query, keys[None], values[None], gate, placement)
    assert largest[0] == query.numel()


def test_what_is_kept_of_a_run_serves_its_own_layer_and_placement_alone() -> None:
    """Layers, placements and numbers of rows do not take each other's lists; a second call is the same."""
    layers = [random_layer(seed) for seed in (0, 1)]
    gates = [layer.gate() for layer in layers]
    tokens = torch.randn(4, 5, TEXT, generator=torch.Generator().manual_seed(3))
    pairs = [tuple(x.unflatten(0, (2, 2)) for x in layer.keys_values(tokens)) for layer in layers]
    prompts = StackedPrompts(
        {n: k for n, (k, _) in enumerate(pairs)}, {n: v for n, (_, v) in enumerate(pairs)}
    )
    regions = Regions.of_boxes([(0.0, 0.0, 0.5, 0.6), (0.4, 0.3, 1.0, 1.0)])
    for _ in range(2):
        for number in (0, 1):
            for grid in ((4, 4), (6, 3)):
                for rows in (2, 4):
                    placement = regions.place(grid)
                    assert placement is not None
                    assert is_small(placement, WIDTH)
                    query, _ = random_inputs(grid, [1] * rows)
                    with torch.no_grad():
                        found = prompts_semantic_map(query, prompts, number, gates[number], placement)
                        assert torch.equal(
                            found, semantic_map(query, *pairs[number], gates[number], placement)
                        )
                    expected = cropped_semantic_map(query, *pairs[number], gates[number], placement)
                    torch.testing.assert_close(found, expected, atol=AGREEMENT, rtol=1e-5)
    assert len(prompts.made) == 8


@torch.no_grad()
def test_instances_without_a_cell_add_nothing() -> None:
    layer, (query, tokens) = random_layer(), random_inputs((4, 4), [1])
    keys, values = layer.keys_values(tokens)
    placement = Placement.of_boxes([(0.5, 0.5, 0.5, 0.5)], [1], (4, 4))
    assert not placement.covered.any()
    assert not semantic_map(query, keys[None], values[None], layer.gate(), placement).any()


def test_large_grids_and_gradients_are_left_to_the_others() -> None:
    regions = Regions.of_boxes([(0.0, 0.0, 1.0, 1.0)] * 5)
    placement = regions.place((64, 64))
    assert placement is not None
    assert not is_small(placement, 640)
    layer, (query, tokens) = random_layer(), random_inputs((4, 4), [1])
    keys, values = layer.keys_values(tokens)
    prompts = StackedPrompts({0: keys[None]}, {0: values[None]})
    placement = Regions.of_boxes([(0.0, 0.0, 0.5, 0.5)]).place((4, 4))
    assert placement is not None
    query.requires_grad_(True)
    prompts_semantic_map(query, prompts, 0, layer.gate(), placement).sum().backward()
    assert query.grad is not None
    assert query.grad.any()
    assert not prompts.made
