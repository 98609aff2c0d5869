"""Sets of encoded pictures that are made up."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from instance_composer.training.data.latents import Encoded, LatentSet
from instance_composer.training.data.shards import Shards


def latent_set(latents: Tensor, documents: list[dict]) -> LatentSet:
    """One shard that is in memory already."""
    one = Encoded(latents, documents)
    return LatentSet(Shards([Path("memory")], len(documents), lambda _: one), range(len(documents)))
