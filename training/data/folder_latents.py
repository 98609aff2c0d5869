"""Latents of the pictures of a folder, found by what is in the pictures, so that runs can share them.

A folder of latents holds files of up to 512 latents, each with the keys of its pictures beside it. What has
no latent yet is encoded, by every process a share; nothing is ever encoded again or removed.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor

from ...models.weights import save_weights
from ..engine.progress import progress_bar
from .errors import SourceError
from .folder import LayoutFolder, told
from .latents import BATCH, SHARD, Encoded, LatentSet, blank_shards, encoder_digest, latents_of, process_state
from .shards import Shards

logger = logging.getLogger("instance_composer")

# How often a process looks whether the others have encoded their share.
_LOOK = 0.5


def encode_folder(
    source: LayoutFolder,
    autoencoder: AutoencoderKL,
    folder: Path,
    leave_out: bool = False,
    *,
    blank: bool = False,
) -> LatentSet:
    """The pictures of a source with their latents in `folder`, encoded now or by any run before.

    With `blank` everything is looked at, and instead of encoding all latents are zero.

    All layouts and the heads of all pictures are looked at first. What cannot be read is a `SourceError` that
    lists it, or is left out with a warning if `leave_out`.
    """
    state = process_state()
    first = state.is_main_process
    given = len(source)
    _judge(source.check(shown=first), source, leave_out, first)
    place = folder / f"{source.width}x{source.height}-{encoder_digest(autoencoder)[:16]}"
    keys = [source.key(number) for number in range(len(source))]
    there, unreadable = _known(place)
    missing = [n for n, key in enumerate(keys) if key not in there and key not in unreadable]
    if blank:
        notes = _left_out(given, len(source))
        if missing:
            notes.append(f"{len(missing)} of {len(keys)} pictures are encoded first")
        zeros = blank_shards(source.width, source.height)
        return LatentSet(zeros, np.zeros(len(keys), np.uint32), source, notes=notes)
    place.mkdir(parents=True, exist_ok=True)
    if missing and there and first:
        logger.info("%d of %d pictures have no latents yet and are encoded", len(missing), len(keys))
    # By key and not by place in the list: processes may find different ones missing while others write.
    own = [n for n in missing if int(keys[n][:8], 16) % state.num_processes == state.process_index]
    autoencoder.to(state.device)  # pyright: ignore[reportArgumentType]
    with progress_bar("encode", "picture", len(own), shown=first) as progress:
        for start in range(0, len(own), SHARD):
            _encode(source, own[start : start + SHARD], keys, autoencoder, place)
            progress.update(len(own[start : start + SHARD]))
    there, unreadable = _awaited(place, {keys[number] for number in missing})
    wrong = {name: unreadable[key] for name, key in zip(source.names, keys, strict=True) if key in unreadable}
    if wrong:
        kept = [key for key in keys if key not in unreadable]
        _judge(wrong, source, leave_out, first)
        keys = kept
    return _latent_set(source, place, keys, _left_out(given, len(source)))


def encode_buckets(
    source: LayoutFolder,
    autoencoder: AutoencoderKL,
    folder: Path,
    leave_out: bool = False,
    *,
    blank: bool = False,
) -> list[LatentSet]:
    """As `encode_folder`, each picture at the size whose proportion is nearest to its own."""
    first = process_state().is_main_process
    _judge(source.check(shown=first), source, leave_out, first)
    parts = source.by_proportion()
    return [encode_folder(part, autoencoder, folder, leave_out, blank=blank) for part in parts]


def _left_out(given: int, kept: int) -> list[str]:
    return [f"{given - kept} of {given} pictures are left out: they cannot be read"] if kept < given else []


def _judge(wrong: dict[str, str], source: LayoutFolder, leave_out: bool, shown: bool) -> None:
    if not wrong:
        return
    said = f"{len(wrong)} of {len(source)} pictures of {source.folder} cannot be used:\n{told(wrong)}"
    if not leave_out:
        raise SourceError(f"{said}\nMend them, take them away, or leave them out with --leave-out")
    if shown:
        logger.warning("%s\nThey are left out.", said)
    source.leave_out(wrong)


def _known(place: Path) -> tuple[dict[str, tuple[Path, int]], dict[str, str]]:
    """Key -> file of latents and row in it, and key -> why its picture cannot be decoded."""
    there: dict[str, tuple[Path, int]] = {}
    unreadable: dict[str, str] = {}
    for file in sorted(place.glob("*.safetensors")):
        said = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        there |= {key: (file, row) for row, key in enumerate(said["keys"])}
        unreadable |= said["unreadable"]
    return there, unreadable


def _awaited(place: Path, wanted: set[str]) -> tuple[dict[str, tuple[Path, int]], dict[str, str]]:
    """What is known once all `wanted` keys are: looking has no limit that slow encoding could run into."""
    while True:
        there, unreadable = _known(place)
        if wanted <= {*there, *unreadable}:
            return there, unreadable
        time.sleep(_LOOK)


@torch.no_grad()
def _encode(
    source: LayoutFolder, numbers: Sequence[int], keys: Sequence[str], autoencoder: AutoencoderKL, place: Path
) -> None:
    """Write one file of latents and, before it, the keys that belong to it."""
    found: list[Tensor] = []
    unreadable: dict[str, str] = {}
    readable: list[int] = []
    for start in range(0, len(numbers), BATCH):
        images: list[np.ndarray] = []
        for number in numbers[start : start + BATCH]:
            try:
                images.append(source[number].image)
                readable.append(number)
            except SourceError as error:
                unreadable[keys[number]] = str(error)
        if images:
            found.append(latents_of(autoencoder, np.stack(images)))
    latents = torch.cat(found) if found else torch.zeros(0, 4, source.height // 8, source.width // 8).half()
    file = place / f"{keys[numbers[0]][:16]}-{len(numbers)}.safetensors"
    said = {"keys": [keys[number] for number in readable], "unreadable": unreadable}
    file.with_suffix(".json").write_text(json.dumps(said), encoding="utf-8")
    beginning = file.with_suffix(f".{os.getpid()}.part")
    save_weights({"latents": latents.contiguous()}, beginning)
    os.replace(beginning, file)


def _latent_set(source: LayoutFolder, place: Path, keys: Sequence[str], notes: Sequence[str]) -> LatentSet:
    there, _ = _known(place)
    files = sorted({there[key][0] for key in keys})
    first = {file: SHARD * number for number, file in enumerate(files)}
    rows = np.array([first[there[key][0]] + there[key][1] for key in keys], np.uint32)
    shards = Shards(files, SHARD, lambda file: Encoded(load_file(file)["latents"], ()))
    return LatentSet(shards, rows, source, notes=notes)
