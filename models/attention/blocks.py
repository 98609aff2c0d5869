"""A relation between groups and pieces taken apart into blocks, each of groups with the same pieces."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def choose_blocks(seen: Tensor, rows: Tensor, keys: Tensor) -> Iterator[tuple[list[int], list[int]]]:
    """Numbers of the groups and of the pieces of each block; together they are the relation, none twice.

    seen (G, P), bool: which group sees which piece; rows (G,) and keys (P,): how large they are. Blocks of
    most rows times keys are taken first among these: of one group all pieces, with whoever sees them all; of
    one piece whoever sees it, with all that they all see (the object and attribute concepts of formal concept
    analysis). There are G + P of them, where pairs of groups, let alone sets, would be too many to look at;
    and a round takes all that have nothing in common, so that there are few rounds.
    """
    # Counts in float64, which is exact and which matrix products are fast in.
    rows, keys = rows.double(), keys.double()
    left = (seen & (rows > 0)[:, None] & (keys > 0)).double()
    while left.any():
        by_group, by_piece = left @ left.T, left.T @ left
        # [one, other]: other sees all that one sees; whoever sees one sees other.
        groups = by_group == by_group.diagonal()[:, None]
        pieces = by_piece == by_piece.diagonal()[:, None]
        # Of equal blocks the one of fewer rows, which are merged with others: groups come first.
        some = torch.cat((groups, left.T > 0))
        them = torch.cat((left > 0, pieces))
        sizes = (some * rows).sum(1) * (them * keys).sum(1)
        for one in sizes.argsort(descending=True, stable=True).tolist():
            of, what = some[one].nonzero(), them[one].nonzero()[:, 0]
            if sizes[one] > 0 and left[of, what].all():
                left[of, what] = 0.0
                yield of[:, 0].tolist(), what.tolist()
