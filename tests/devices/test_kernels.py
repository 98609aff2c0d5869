"""Every kernel on a device that is not the CPU: nothing read back, nothing copied there, few launches."""

import pytest
import torch
from device_watch import DEVICE, Watch, watched
from torch import Tensor

from instance_composer.models.attention.heat_maps import average_maps, concentration, own_regions
from instance_composer.models.attention.probabilities import token_probabilities
from instance_composer.models.concentration import LocalGuidance, Targets, concentrate
from instance_composer.models.concentration.energy import ConcentrationObjective, unit_step
from instance_composer.models.ifadapter import (
    InstanceAttention,
    InstancePrompt,
    StackedPrompts,
    cropped_semantic_map,
    gathered_semantic_map,
    semantic_map,
)
from instance_composer.models.regions import Placement, Regions

# One adapted layer of SDXL at 1024 px, with guidance: a row for each prompt.
GRID, WIDTH, HEADS, TOKENS, ROWS = (32, 32), 1280, 20, 13, 2
HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
ALIKE = [(0.02 + 0.07 * i, 0.1, 0.3 + 0.07 * i, 0.4) for i in range(10)]
WHOLE_AND_SMALL = [(0.0, 0.0, 1.0, 1.0), *[(0.1 * i, 0.1, 0.15 + 0.1 * i, 0.25) for i in range(7)]]
# Launches of one layer with one group of sizes, and of each further group.
ONE_GROUP, FURTHER_GROUP = 65, 35


def layer() -> InstanceAttention:
    with torch.device(DEVICE):
        made = InstanceAttention(width=WIDTH, text_width=64, head_dim=64, gate_hidden=80, gate_kernel=7)
    return made.requires_grad_(False)


def query_of(dtype: torch.dtype, rows: int = ROWS, cells: int = GRID[0] * GRID[1]) -> Tensor:
    return torch.empty(rows, cells, WIDTH, dtype=dtype, device=DEVICE)


def keys_values(instances: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    shape = (ROWS, instances, HEADS, TOKENS, WIDTH // HEADS)
    return torch.empty(shape, dtype=dtype, device=DEVICE), torch.empty(shape, dtype=dtype, device=DEVICE)


def regions_with_mask() -> Regions:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[10:30, 5:40] = mask[25:50, 30:45] = True
    return Regions(
        ((0.0, 0.0, 0.5, 0.5), (0.1, 0.1, 0.7, 0.8), (0.3, 0.2, 0.9, 0.6)),
        (None, mask, None),
        (1.0, 0.7, 0.0),
        ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0)),
    )


def watch_layer(regions: Regions, dtype: torch.dtype, grid: tuple[int, int] = GRID) -> Watch:
    """The work of a later call of one layer; the first one makes the placement's lists."""
    gate, (keys, values) = layer().gate(), keys_values(len(regions), torch.float32)
    query = query_of(dtype, cells=grid[0] * grid[1])

    def call() -> Tensor:
        placement = regions.place(grid, None, DEVICE)
        assert placement is not None
        return semantic_map(query, keys, values, gate, placement)

    call()
    with watched() as watch:
        found = call()
    assert (found.dtype, found.device, found.shape) == (dtype, DEVICE, query.shape)
    return watch


def test_the_watch_sees_what_it_is_there_for():
    """A reading fails by itself; launches, bytes and every kind of hidden copy are counted."""
    x = torch.empty(4, 6, device=DEVICE)
    with watched() as watch:
        (x.transpose(0, 1)[:2] + 1).reshape(2, 4)
    assert watch.operations == {"add": 1}
    assert watch.bytes == 8 * 4
    assert not watch.copies
    assert not watch.on_cpu
    for copied in (
        lambda: x[[0, 1]],
        lambda: x[:, [0, 1]],
        lambda: torch.tensor([1.0], device=DEVICE),
        lambda: x.new_tensor([1, 2]),
        lambda: torch.as_tensor([1, 2], device=DEVICE),
        lambda: torch.arange(3).to(DEVICE),
    ):
        with watched() as watch:
            copied()
        assert watch.copies
    with pytest.raises(RuntimeError, match="device"):
        x + torch.zeros(6)
    with watched() as watch:
        torch.zeros(3)
    assert watch.on_cpu
    for reading in (lambda: x.sum().item(), lambda: int(x.sum()), lambda: x[x > 0], lambda: x.nonzero()):
        with pytest.raises((RuntimeError, NotImplementedError)):
            reading()


@HALF
@pytest.mark.parametrize("kernel", [semantic_map, gathered_semantic_map, cropped_semantic_map])
def test_the_term_keeps_its_type_and_stays_on_its_device(kernel, dtype):
    for regions in (Regions.of_boxes(ALIKE), Regions.of_boxes(WHOLE_AND_SMALL), regions_with_mask()):
        query, (keys, values) = query_of(dtype, rows=2 * ROWS), keys_values(len(regions), dtype)
        for active in (None, regions.active(0.7)):
            placement = regions.place(GRID, active, DEVICE)
            assert placement is not None
            found = kernel(query, keys, values, layer().gate(), placement)
            assert (found.dtype, found.device, found.shape) == (dtype, DEVICE, query.shape)


def test_a_device_gets_the_gathered_computation():
    regions = Regions.of_boxes(ALIKE)
    few, many = (watch_layer(Regions.of_boxes(ALIKE[:n]), torch.float16) for n in (1, 10))
    # The other one launches 35 for each instance; here they grow with the logarithm of how many share a cell.
    assert many.launches - few.launches <= 9
    assert len(regions) == 10


@HALF
@pytest.mark.parametrize("count", [1, 4, 10])
def test_a_layer_launches_few_kernels_whatever_the_number_of_instances(count, dtype):
    watch = watch_layer(Regions.of_boxes(ALIKE[:count]), dtype)
    assert 20 < watch.launches <= ONE_GROUP
    assert not watch.copies
    assert not watch.on_cpu


@HALF
def test_instances_of_different_sizes_take_one_group_of_launches_more(dtype):
    watch = watch_layer(Regions.of_boxes(WHOLE_AND_SMALL), dtype)
    assert ONE_GROUP - FURTHER_GROUP < watch.launches <= ONE_GROUP + FURTHER_GROUP
    assert not watch.copies
    assert not watch.on_cpu
    sizes = [
        (0.0, 0.0, 1.0, 1.0),
        *[(0.0, 0.0, 0.5, 0.5)] * 8,
        *[(0.1 * i, 0.0, 0.1 * i + 0.1, 0.1) for i in range(9)],
    ]
    many = watch_layer(Regions.of_boxes(sizes), dtype, (64, 64))
    assert watch.launches < many.launches <= ONE_GROUP + 2 * FURTHER_GROUP


@pytest.mark.parametrize(
    ("boxes", "mebibytes"),
    [(ALIKE[:1], 25), (ALIKE[:4], 65), (ALIKE, 130), (WHOLE_AND_SMALL, 145)],
    ids=["one", "four", "ten", "whole and small"],
)
def test_a_layer_writes_few_bytes(boxes, mebibytes):
    """All instances on the whole grid were 100 to 800 MiB."""
    watch = watch_layer(Regions.of_boxes(boxes), torch.float16)
    assert watch.bytes / 2**20 < mebibytes


@HALF
def test_a_training_step_of_a_layer_reads_nothing_back(dtype):
    trained = layer().requires_grad_()
    counts = [3, 0, 2]
    boxes = torch.tensor(ALIKE[:5])
    placement = Placement.of_boxes(boxes, counts, GRID, DEVICE)
    query = query_of(dtype, rows=3).requires_grad_()
    tokens = torch.empty(5, TOKENS, 64, device=DEVICE, requires_grad=True)
    trained.placed(query, tokens, placement)
    with watched() as watch:
        out = trained.placed(query, tokens, placement)
        gradients = torch.autograd.grad(out.float().square().sum(), [query, tokens, *trained.parameters()])
    assert out.dtype == dtype
    assert all(one.device == DEVICE for one in gradients)
    assert not watch.copies
    assert not watch.on_cpu


def test_prompts_are_brought_to_the_device_once():
    regions = Regions.of_boxes(ALIKE[:2])
    prompts = [
        InstancePrompt(
            regions, {71: torch.zeros(2, HEADS, TOKENS, 64)}, {71: torch.zeros(2, HEADS, TOKENS, 64)}
        )
        for _ in range(ROWS)
    ]
    stacked = StackedPrompts.of(prompts, DEVICE)
    assert stacked.keys[71].shape == (ROWS, 2, HEADS, TOKENS, 64)
    assert (stacked.values[71].device, stacked.values[71].dtype) == (DEVICE, torch.float32)


TARGETS = Targets(((1, 2), (4, 5)), ((2,), (5,)), Regions.of_boxes(ALIKE[:2]), (False, False))
DERIVED = Targets(TARGETS.groups, TARGETS.nouns, TARGETS.regions, (True, False))
MANY = Targets(
    tuple((3 * n, 3 * n + 1) for n in range(10)),
    tuple((3 * n + 1,) for n in range(10)),
    Regions.of_boxes(ALIKE),
    (False,) * 10,
)


@HALF
@pytest.mark.parametrize("targets", [TARGETS, MANY, DERIVED], ids=["boxes", "ten", "own map"])
@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({}, 17),
        ({"token_weight": 0.6, "pixel_weight": 1.7, "strength": 3.0}, 17),
        ({"strength": 20.0, "token_weight": 10.0}, 18),
        ({"inner_steps": 3}, 39),
        ({"step": "plain"}, 54),
    ],
    ids=["", "weights", "limited", "inner steps", "plain"],
)
@pytest.mark.parametrize("rows", [1, 4])
def test_local_concentration(targets, settings, most, rows, dtype):
    """The same for any number of entities and of pictures in the batch."""
    most += 0 if targets is not DERIVED else 16 if "step" in settings else 7 + 2 * ("inner_steps" in settings)
    query, attended = query_of(dtype, rows), query_of(dtype, rows)
    key, value = (torch.empty(rows, 77, WIDTH, dtype=dtype, device=DEVICE) for _ in range(2))
    guidance = LocalGuidance(**settings)

    def call() -> Tensor:
        return concentrate(query, key, value, attended, HEADS, targets, GRID, guidance)

    call()
    with watched() as watch:
        found = call()
    assert (found.dtype, found.device, found.shape) == (torch.float32, DEVICE, query.shape)
    assert 14 < watch.launches <= most
    assert not watch.copies
    assert not watch.on_cpu


@pytest.mark.parametrize("targets", [TARGETS, DERIVED], ids=["boxes", "own map"])
def test_the_energy_of_the_latent_and_its_gradient(targets):
    """Maps of two sizes; lists of tokens become tensors in the first evaluation."""
    objective = ConcentrationObjective(targets)
    query, key = query_of(torch.float16).requires_grad_(), torch.empty(ROWS, 77, WIDTH, device=DEVICE)

    def call() -> Tensor:
        coarse = token_probabilities(query, key, HEADS).unflatten(2, GRID)
        fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
        value, distance = objective([coarse[0], fine[0]], (True, True))
        (gradient,) = torch.autograd.grad(value, query)
        return unit_step(gradient[None], distance[None])

    with watched() as watch:
        call()
    assert watch.copies
    with watched() as watch:
        found = call()
    assert found.device == DEVICE
    assert not watch.copies
    assert not watch.on_cpu


@HALF
def test_recorded_maps(dtype):
    query, key = query_of(dtype), torch.empty(ROWS, 77, WIDTH, dtype=dtype, device=DEVICE)
    chosen = torch.arange(5).to(DEVICE)
    with watched() as watch:
        found = token_probabilities(query, key, HEADS, chosen)
        maps = average_maps([found.mean(1).transpose(1, 2).unflatten(2, GRID)] * 2)
        shares = concentration(maps, own_regions(maps))
    assert (found.dtype, found.device) == (torch.float32, DEVICE)
    assert shares.shape == (ROWS, 5)
    assert not watch.copies
    assert not watch.on_cpu
