"""Latents of the original model for a run's prompts: what its discriminator takes for real.

Made once, each from noise of its own, and kept in a folder; an interruption loses one file of them at most.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ...models.weights import save_weights
from ..data.errors import SourceError
from ..data.shards import Shards
from ..engine.processes import this_process, wait_for_all
from ..engine.progress import progress_bar

# Latents in one file: what an interruption can lose.
_SHARD = 64
# Numbers of a tensor that its digest looks at: an SDXL has gigabytes.
_LOOKED_AT = 64

# Noise generators of some prompts -> their latents (B, C, h, w).
Make = Callable[[Sequence[int], Sequence[torch.Generator]], Tensor]


class OriginalLatents:
    """Latents by the number of their prompt."""

    def __init__(self, folder: Path, count: int) -> None:
        files = [folder / _name(shard) for shard in range(-(-count // _SHARD))]
        if missing := [file.name for file in files if not file.is_file()]:
            raise SourceError(f"{folder} is not complete: {', '.join(missing)} missing; start again to go on")
        self._shards = Shards(files, _SHARD, lambda file: load_file(file)["latents"])

    def __call__(self, numbers: Sequence[int]) -> Tensor:
        """Latents (B, C, h, w) of these prompts, in half precision."""
        found = (self._shards.find(number) for number in numbers)
        return torch.stack([shard[row] for shard, row in found])


def missing_latents(folder: Path, count: int) -> int:
    """How many latents of `count` prompts are still to be made."""
    shards = range(-(-count // _SHARD))
    return sum(min(_SHARD, count - n * _SHARD) for n in shards if not (folder / _name(n)).is_file())


def make_once(
    folder: Path, prompts: Sequence[str], description: dict[str, Any], seed: int, batch: int, make: Make
) -> OriginalLatents:
    """The latents of these prompts, made now or earlier, each process its share of the files.

    `SourceError` for a folder made for other prompts, by another model or with other settings.
    """
    state = this_process()
    device = torch.device(state.device or "cpu")
    index = {**description, "seed": seed, "prompts": len(prompts), "digest": _digest_of_text(prompts)}
    _check_index(folder, index)
    # Shared out before looking what is missing: others may be writing already.
    shares = range(state.process_index, -(-len(prompts) // _SHARD), state.num_processes)
    mine = [n for n in shares if not (folder / _name(n)).is_file()]
    total = sum(len(_numbers(shard, len(prompts))) for shard in mine)
    with progress_bar("original", "picture", total, shown=state.is_main_process and total > 0) as progress:
        for shard in mine:
            numbers = _numbers(shard, len(prompts))
            parts: list[Tensor] = []
            for first in range(0, len(numbers), batch):
                some = numbers[first : first + batch]
                noise = [_noise(seed, number, device) for number in some]
                parts.append(make(some, noise).half().cpu())
                progress.update(len(some))
            latents = torch.cat(parts)
            if not bool(latents.isfinite().all()):
                raise SourceError(
                    "the original model makes latents that are not finite, so there is nothing to compare "
                    "with; choose another precision (mixed_precision=bf16, or no)"
                )
            beginning = folder / f"{_name(shard)}.part"
            save_weights({"latents": latents.contiguous()}, beginning)
            os.replace(beginning, folder / _name(shard))
    wait_for_all()
    return OriginalLatents(folder, len(prompts))


def model_digest(model: nn.Module) -> str:
    """A digest of a model's weights, by a few numbers and the sum of each."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        flat = value.detach().flatten()
        some = flat[:: max(1, flat.numel() // _LOOKED_AT)]
        digest.update(name.encode())
        digest.update(some.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _check_index(folder: Path, index: dict[str, Any]) -> None:
    file = folder / "index.json"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Another process may be reading: it must find all of it or nothing.
        beginning = folder / f"index-{os.getpid()}.part"
        beginning.write_text(json.dumps(index), encoding="utf-8")
        os.replace(beginning, file)
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    if before != index:
        changed = sorted(name for name in {*before, *index} if before.get(name) != index.get(name))
        raise SourceError(
            f"{folder} holds latents of another run ({', '.join(changed)} differ); choose another folder for "
            "this run, or delete that one"
        )


def _numbers(shard: int, count: int) -> list[int]:
    return list(range(shard * _SHARD, min((shard + 1) * _SHARD, count)))


def _noise(seed: int, number: int, device: torch.device) -> torch.Generator:
    # Not the numbers of `engine.order.generator_at`: the original's noise is unrelated to the run's.
    state = np.random.SeedSequence([seed, 3, number]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) >> 1)


def _digest_of_text(prompts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(prompts).encode()).hexdigest()


def _name(shard: int) -> str:
    return f"original-{shard:05d}.safetensors"
