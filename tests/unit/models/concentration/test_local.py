"""One layer's attention moved towards its regions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from instance_composer.models.concentration import pixel_loss, token_loss
from instance_composer.models.concentration.local import LocalGuidance, concentrate
from instance_composer.models.concentration.targets import NOWHERE, Targets, own_masks
from instance_composer.models.regions import Regions

HEADS, WIDTH, TEXT = 4, 16, 12
GROUPS, NOUNS = ((2, 3), (6, 7, 8)), ((3,), (7, 8))
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.25, 1.0, 1.0)
GRID = (8, 10)


def targets(*boxes: tuple[float, float, float, float], derived: bool = False) -> Targets:
    regions = Regions.of_boxes(boxes or (LEFT, RIGHT))
    return Targets(GROUPS, NOUNS, regions, (derived,) * len(GROUPS))


def layer(grid: tuple[int, int] = GRID, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cells = grid[0] * grid[1]
    return tuple(
        1.5 * torch.randn(batch, length, HEADS * WIDTH, generator=generator) for length in (cells, TEXT, TEXT)
    )


def probabilities(query: Tensor, key: Tensor, moved: Tensor | float = 0.0) -> Tensor:
    query, key = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (query, key))
    return (query @ key.transpose(-1, -2) / WIDTH**0.5 + moved).softmax(-1)


def applied(maps: Tensor, value: Tensor) -> Tensor:
    value = value.unflatten(-1, (HEADS, -1)).transpose(1, 2)
    return (maps @ value).transpose(1, 2).flatten(2)


def added(inputs, guidance, where=None, grid=GRID) -> Tensor:
    query, key, value = inputs
    attended = applied(probabilities(query, key), value)
    return concentrate(query, key, value, attended, HEADS, where or targets(), grid, guidance)


def natural_moves(maps: Tensor, where: Targets, guidance: LocalGuidance, grid=GRID) -> Tensor:
    """The documented step written plainly, one token after another: (B, 1, L, T)."""
    masks = where.masks(grid)
    mean = maps.mean(1)
    moves = torch.zeros(len(maps), 1, *mean.shape[1:])
    for group, mask in zip(where.groups, masks, strict=True):
        entity = mean[..., list(group)].sum(-1)
        for token in group:
            share = (mean[..., token] * mask).sum(-1) / mean[..., token].sum(-1)
            step = guidance.token_weight * (mask - share[:, None])
            step = step + guidance.pixel_weight * (mask - entity)
            moves[:, 0, :, token] += guidance.strength * step
    return moves


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (0.6, 1.4)], ids=["token", "pixel", "both"])
def test_the_output_is_that_of_a_softmax_over_the_moved_logits(weights) -> None:
    query, key, value = inputs = layer()
    guidance = LocalGuidance(*weights, strength=2.0)
    plain = probabilities(query, key)
    moved = probabilities(query, key, natural_moves(plain, targets(), guidance))
    expected = applied(moved, value) - applied(plain, value)
    torch.testing.assert_close(added(inputs, guidance), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step", ["natural", "plain"])
@pytest.mark.parametrize("sharp", [1.0, 6.0, 20.0])
def test_words_that_have_all_attention_leave_sound_numbers(step, sharp) -> None:
    """At the node's highest strength every place still gets a mean of values, within single precision."""
    query, key, value = layer()
    query = sharp * query
    found = applied(probabilities(query, key), value)
    found = found + added((query, key, value), LocalGuidance(strength=20.0, step=step))
    lowest, highest = (one(1).unflatten(-1, (HEADS, -1)) for one in (value.amin, value.amax))
    found = found.unflatten(-1, (HEADS, -1))
    assert (found >= lowest[:, None] - 0.02).all()
    assert (found <= highest[:, None] + 0.02).all()


def test_less_than_one_inner_step_is_refused() -> None:
    with pytest.raises(ValueError, match="inner_steps is 0; 1 or more is allowed"):
        LocalGuidance(inner_steps=0)


def test_inner_steps_look_at_what_the_last_one_did() -> None:
    query, key, value = inputs = layer()
    guidance = LocalGuidance(strength=3.0, inner_steps=3)
    moves, part = torch.zeros(()), replace(guidance, strength=1.0)
    for _ in range(3):
        moves = moves + natural_moves(probabilities(query, key, moves), targets(), part)
    expected = applied(probabilities(query, key, moves) - probabilities(query, key), value)
    torch.testing.assert_close(added(inputs, guidance), expected, rtol=1e-4, atol=1e-5)
    assert (expected - added(inputs, replace(guidance, inner_steps=1))).abs().max() > 0.01


@pytest.mark.parametrize("step", ["natural", "plain"])
@pytest.mark.parametrize("loss", [token_loss, pixel_loss])
def test_a_step_lowers_the_energy_and_attention_moves_inside(step, loss) -> None:
    query, key, value = layer(batch=1)
    weights = (1.0, 0.0) if loss is token_loss else (0.0, 1.0)
    guidance = LocalGuidance(*weights, strength=0.5, step=step)
    # With one unit vector per token as value the output is the attention itself.
    unit = torch.eye(TEXT)[None].repeat(1, 1, HEADS)
    before = probabilities(query, key)
    after = before.transpose(1, 2).flatten(2)
    after = after + concentrate(
        query, key, _padded(unit), _padded(after), HEADS, targets(), GRID, guidance
    ).unflatten(-1, (HEADS, -1))[..., :TEXT].flatten(2)
    maps = [x.unflatten(-1, (HEADS, TEXT))[0].unflatten(0, GRID).permute(2, 0, 1, 3) for x in (after,)]
    masks = targets().masks(GRID).unflatten(1, GRID)
    old = [before[0].unflatten(1, GRID)]
    assert loss(maps, masks, GROUPS) < loss(old, masks, GROUPS)


def _padded(x: Tensor) -> Tensor:
    """(B, N, heads * TEXT) with heads of WIDTH."""
    return torch.nn.functional.pad(x.unflatten(-1, (HEADS, TEXT)), (0, WIDTH - TEXT)).flatten(2)


def test_one_strength_means_the_same_at_every_resolution() -> None:
    query, key, value = layer((6, 8), batch=1)
    fine = query.unflatten(1, (6, 8)).repeat_interleave(3, 1).repeat_interleave(3, 2).flatten(1, 2)
    # Boxes that end between cells of both grids.
    where = targets((0.0, 0.0, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0))
    coarse = added((query, key, value), LocalGuidance(), where, (6, 8))
    found = added((fine, key, value), LocalGuidance(), where, (18, 24))
    expected = coarse.unflatten(1, (6, 8)).repeat_interleave(3, 1).repeat_interleave(3, 2).flatten(1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_plain_step_moves_no_logit_by_more_than_the_strength() -> None:
    query, key, value = layer(batch=1)
    guidance = LocalGuidance(strength=1.5, step="plain")
    single = Targets(((4,),), ((4,),), Regions.of_boxes([LEFT]), (False,))
    unit = torch.zeros_like(value)
    unit[:, 4] = 1.0
    before = probabilities(query, key)[..., 4]
    attended = applied(probabilities(query, key), unit)
    after = attended + concentrate(query, key, unit, attended, HEADS, single, GRID, guidance)
    after = after.unflatten(-1, (HEADS, -1))[..., 0].transpose(1, 2)
    moved = (after.logit() - before.logit()).abs()
    assert moved.max() == pytest.approx(1.5, abs=1e-3)


def test_a_regions_strength_counts_in_the_plain_step_too() -> None:
    inputs, moved = layer(batch=1), []
    for strength in (0.2, 1.0):
        region = replace(Regions.of_boxes([LEFT]), strengths=(strength,))
        single = Targets(((4,),), ((4,),), region, (False,))
        moved.append(added(inputs, LocalGuidance(strength=0.05, step="plain"), single).abs().max())
    assert moved[0] / moved[1] == pytest.approx(0.2, rel=0.05)


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    inputs = layer(batch=3)
    for step in ("natural", "plain"):
        guidance = LocalGuidance(step=step)
        alone = torch.cat([added(tuple(x[[row]] for x in inputs), guidance) for row in range(3)])
        torch.testing.assert_close(added(inputs, guidance), alone)


def test_an_entity_without_place_loses_attention_by_the_pixel_term_alone() -> None:
    inputs = layer()
    nowhere = targets(NOWHERE, NOWHERE)
    assert not added(inputs, LocalGuidance(1.0, 0.0), nowhere).any()
    assert added(inputs, LocalGuidance(0.0, 1.0), nowhere).abs().max() > 0.01


def test_an_inactive_entity_and_one_of_strength_0_are_left_alone() -> None:
    query, key, value = inputs = layer()
    attended = applied(probabilities(query, key), value)
    only_first = Targets(GROUPS[:1], NOUNS[:1], Regions.of_boxes([LEFT]), (False,))
    expected = added(inputs, LocalGuidance(), only_first)
    second_off = concentrate(
        query, key, value, attended, HEADS, targets(), GRID, LocalGuidance(), (True, False)
    )
    torch.testing.assert_close(second_off, expected)
    weak = targets()
    weak = replace(weak, regions=replace(weak.regions, strengths=(1.0, 0.0)))
    torch.testing.assert_close(added(inputs, LocalGuidance(), weak), expected)


def test_own_masks_take_the_high_cells_and_never_overlap() -> None:
    maps = torch.tensor([[[0.0, 0.1, 0.8, 1.0, 0.0], [0.2, 0.2, 0.2, 0.25, 0.3]]])
    assert own_masks(maps)[0].tolist() == [[0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    assert not own_masks(torch.full((1, 2, 4), 0.5)).any()


def test_without_a_region_attributes_follow_their_noun() -> None:
    query, key, value = inputs = layer(batch=1)
    derived = targets(NOWHERE, NOWHERE, derived=True)
    mean = probabilities(query, key).mean(1)
    noun_maps = torch.stack([mean[..., list(nouns)].sum(-1) for nouns in NOUNS], 1)
    by_hand = Targets(
        GROUPS,
        NOUNS,
        replace(
            Regions.of_boxes([(0.0, 0.0, 1.0, 1.0)] * 2),
            masks=tuple(mask.unflatten(0, GRID).bool() for mask in own_masks(noun_maps)[0]),
        ),
        (False, False),
    )
    torch.testing.assert_close(
        added(inputs, LocalGuidance(), derived), added(inputs, LocalGuidance(), by_hand)
    )


def test_the_largest_settings_stay_finite() -> None:
    """Everything at the node's maximum: inside a region all attention is the entity's."""
    query, key, value = inputs = layer()
    found = added(inputs, LocalGuidance(10.0, 10.0, strength=20.0, inner_steps=10))
    assert found.isfinite().all()
    first = applied(probabilities(query, key), value) + found
    inside = targets().masks(GRID)[0].bool()
    own = value[:, list(GROUPS[0])].amin(1), value[:, list(GROUPS[0])].amax(1)
    assert (first[:, inside] >= own[0][:, None] - 1e-3).all()
    assert (first[:, inside] <= own[1][:, None] + 1e-3).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype) -> None:
    inputs = tuple(x.to(dtype) for x in layer())
    full = tuple(x.float() for x in inputs)
    attended = applied(probabilities(*full[:2]), full[2])
    found = concentrate(*inputs, attended, HEADS, targets(), GRID, LocalGuidance())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, added(full, LocalGuidance()), rtol=1e-4, atol=1e-5)


def test_groups_nouns_and_regions_go_together() -> None:
    with pytest.raises(ValueError, match="2 groups of tokens, 2 nouns, 1 regions"):
        Targets(GROUPS, NOUNS, Regions.of_boxes([LEFT]), (False, False))
