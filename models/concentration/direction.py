"""Natural direction of concentration: how far each token's logits move at each cell, in few launches.

For a token k of entities e with strengths W_ek, masks M_e and attention A (the mean over heads):

    step_k = f (token_weight (G_k - G_k . A_k / 1 . A_k) + pixel_weight (G_k - sum_e W_ek sum_j A_j))

with G = W^T M, the inner sum over the tokens j of e, and f the share of the strength of one inner step. Every
product with a matrix that is known before sampling is a part of one product here, the mean over heads and
constant rows included, because a GPU waits for launches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..attention.heat_maps import OWN_REGION
from .targets import Targets

# Logits move up by at most this much: it gives a token all attention, and exp of more leaves float32.
LARGEST_MOVE = 30.0
# And down by this much, which leaves a token next to nothing. What is left to others is a difference of sums:
# where the moved tokens had all attention, further down nothing but its rounding would be left.
LARGEST_FALL = 10.0


@dataclass(frozen=True, eq=False)
class OwnMasks:
    """Constants by which self-derived entities get their masks from the maps of E nouns; see `own_masks`.

    The rows of maps are the nouns, one of OWN_REGION, the nouns' negatives and one of zeros. `ranges`
    (E + 1, 2 E + 2) and `least` (E + 1, 1) make the range of every noun, and 1, of each row's highest value.
    `spread` (2 K + 1, E + 1) adds the masks to the rows that depend on them.
    """

    ranges: Tensor
    least: Tensor
    spread: Tensor


@dataclass(frozen=True, eq=False)
class Direction:
    """The natural step of K tokens in a layer of L cells; constants on its device.

    `projection` (rows, heads * K) and `constant` (rows, L) make of probabilities: the mean over heads (K
    rows), those of `OwnMasks` (2 E + 2, if there are any), G with a row of ones (K + 1), and the step without
    shares (K). `guard` (K, K + 1) keeps a token without any attention from dividing by 0. No logit moves by
    more than `largest`.
    """

    projection: Tensor
    constant: Tensor
    guard: Tensor
    own: OwnMasks | None
    token_factor: float
    largest: float

    @classmethod
    def of(
        cls,
        targets: Targets,
        grid: tuple[int, int],
        device: torch.device,
        active: tuple[bool, ...] | None,
        heads: int,
        weights: tuple[float, float],
        strength: float,
    ) -> Direction:
        """By token_weight and pixel_weight, of `strength` in one step. Made once for each question."""
        key = (grid, str(device), active, heads, weights, strength)
        if key not in targets.made:
            targets.made[key] = cls._make(targets, grid, active, heads, weights, strength)._to(device)
        return targets.made[key]

    @classmethod
    def _make(
        cls,
        targets: Targets,
        grid: tuple[int, int],
        active: tuple[bool, ...] | None,
        heads: int,
        weights: tuple[float, float],
        strength: float,
    ) -> Direction:
        token_factor, pixel_factor = (strength * weight for weight in weights)
        members, drawn = targets.members("cpu", active), targets.masks(grid)
        weighted, cells = members.weighted, drawn.shape[-1]
        tokens = weighted.shape[1]
        own = members.derived
        by_region = weighted if own is None else torch.where(own, 0.0, weighted)
        both = token_factor + pixel_factor
        raised = by_region.t() @ drawn
        last = [
            (torch.zeros(tokens + 1, tokens), torch.cat((raised, torch.ones(1, cells)))),
            (-pixel_factor * weighted.t() @ (weighted > 0).float(), both * raised),
        ]
        made, maps = None, []
        if own is not None:
            by_map = torch.where(own, weighted, 0.0).t()
            made, maps = _own_masks(members.nouns, by_map, both, cells)
        rows = [(torch.eye(tokens), torch.zeros(tokens, cells)), *maps, *last]
        guard = torch.zeros(tokens, tokens + 1)
        guard[:, -1] = torch.finfo(guard.dtype).tiny
        return cls(
            projection=torch.cat([row for row, _ in rows]).repeat(1, heads) / heads,
            constant=torch.cat([constant for _, constant in rows]),
            guard=guard,
            own=made,
            token_factor=token_factor,
            largest=(abs(token_factor) + abs(pixel_factor)) * float(weighted.sum(0).max()),
        )

    def _to(self, device: torch.device) -> Direction:
        own = self.own and OwnMasks(*(one.to(device) for one in vars(self.own).values()))
        projection, constant, guard = (x.to(device) for x in (self.projection, self.constant, self.guard))
        return Direction(projection, constant, guard, own, self.token_factor, self.largest)

    def step(self, probabilities: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The step (B, K, L) from probabilities (B, heads, K, L), and the masks of self-derived entities.

        `own` are those masks where an earlier inner step has found them.
        """
        tokens, rows = probabilities.shape[2], len(probabilities)
        made = torch.baddbmm(self.constant, self.projection.expand(rows, -1, -1), probabilities.flatten(1, 2))
        mean, last = made[:, :tokens], made[:, -2 * tokens - 1 :]
        if self.own is not None:
            own = _masks(made[:, tokens : -2 * tokens - 1], self.own) if own is None else own
            last = torch.baddbmm(last, self.own.spread.expand(rows, -1, -1), own)
        raised, step = last[:, : tokens + 1], last[:, tokens + 1 :]
        if self.token_factor == 0.0:
            return step, own
        # All products of attention and G, of which those of a token with its own count.
        products = torch.baddbmm(self.guard, mean, raised.transpose(1, 2))
        inside, total = products.diagonal(dim1=1, dim2=2), products[:, :, -1]
        return torch.addcdiv(step, inside[..., None], total[..., None], value=-self.token_factor), own


def _own_masks(
    nouns: Tensor, by_map: Tensor, both: float, cells: int
) -> tuple[OwnMasks, list[tuple[Tensor, Tensor]]]:
    """The constants, and the rows with their constant parts."""
    entities, tokens = nouns.shape
    nothing, no_token = torch.zeros(entities, cells), torch.zeros(1, tokens)
    rows = [
        (nouns, nothing),
        (no_token, torch.full((1, cells), OWN_REGION)),
        (-nouns, nothing),
        (no_token, torch.zeros(1, cells)),
    ]
    unit = torch.eye(entities, entities + 1)
    ranges = torch.cat((torch.cat((unit, unit), 1), torch.zeros(1, 2 * entities + 2)))
    least = torch.full((entities + 1, 1), torch.finfo(ranges.dtype).tiny)
    least[-1] = 1.0
    spread = torch.cat((by_map, torch.zeros(1, entities), both * by_map))
    return OwnMasks(ranges, least, torch.cat((spread, torch.zeros(2 * tokens + 1, 1)), 1)), rows


@torch.no_grad()
def _masks(maps: Tensor, own: OwnMasks) -> Tensor:
    """`own_masks` of the rows (B, 2 E + 2, L): (B, E + 1, L), the last row of no meaning."""
    count = maps.shape[1] // 2
    highest = maps.amax(-1, keepdim=True)
    ranges = torch.baddbmm(own.least, own.ranges.expand(len(maps), -1, -1), highest)
    stretched = (maps[:, :count] + highest[:, count:]) / ranges
    return stretched.ge_(stretched.amax(1, keepdim=True))
