"""Latents of the pictures of a folder, found by what is in the pictures, so that runs can share them.

A folder of latents holds files of up to 512 latents, each with the keys of its pictures beside it. What has
no latent yet is encoded, by every process a share; nothing is ever encoded again or removed.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor

from ...models.weights import save_weights
from ..engine.processes import this_process
from ..engine.progress import progress_bar
from .errors import SourceError
from .folder import Example, LayoutFolder, proportions, told
from .keys import LENGTH, NOWHERE, KeyIndex, as_rows, share_of
from .latents import BATCH, SHARD, Encoded, LatentSet, blank_shards, encoder_digest, latents_of
from .shards import Shards

logger = logging.getLogger("instance_composer")

# Where in a folder of latents it is kept what was found by looking at pictures and layouts.
_LOOKS = "looked-at"
# How often a process looks whether the others have encoded their share.
_LOOK = 0.5
# Pictures that are decoded while others are encoded; decoders and resampling leave the interpreter to others.
_WORKERS = min(8, os.cpu_count() or 1)


def encode_folder(
    source: LayoutFolder,
    autoencoder: AutoencoderKL,
    folder: Path,
    leave_out: bool = False,
    *,
    blank: bool = False,
    write: bool = True,
) -> LatentSet:
    """The pictures of a source with their latents in `folder`, encoded now or by any run before.

    With `blank` everything is looked at and nothing is encoded: where not all is there, latents are zero.
    Without `write` what is found by looking is not kept either.

    All layouts and the heads of all pictures are looked at first. What cannot be read is a `SourceError` that
    lists it, or is left out with a warning if `leave_out`.
    """
    state = this_process()
    first = state.is_main_process
    wrong = source.check(place=folder / _LOOKS, write=write, shown=first)
    _judge(wrong, source, leave_out, first)
    place = folder / f"{source.width}x{source.height}-{encoder_digest(autoencoder)[:16]}"
    known = _Known(place)
    _judge(_unreadable(source, known), source, leave_out, first)
    missing = np.flatnonzero(known.places(source.keys)[:, 0] == NOWHERE)
    if blank and len(missing):
        notes = [*_left_out(source), f"{len(missing)} of {len(source)} pictures are encoded first"]
        zeros = blank_shards(source.width, source.height)
        return LatentSet(zeros, np.zeros(len(source), np.uint32), source, notes=notes)
    if len(missing):
        place.mkdir(parents=True, exist_ok=True)
        if len(missing) < len(source) and first:
            logger.info("%d of %d pictures have no latents yet and are encoded", len(missing), len(source))
        # By key and not by place in the list: processes may find different ones missing while others write.
        shares = share_of(source.keys[missing], state.num_processes)
        own = missing[shares == state.process_index]
        autoencoder.to(state.device)  # pyright: ignore[reportArgumentType]
        with progress_bar("encode", "picture", len(own), shown=first) as progress:
            for start in range(0, len(own), SHARD):
                _encode(source, own[start : start + SHARD].tolist(), autoencoder, place)
                progress.update(len(own[start : start + SHARD]))
        known.wait_for(source.keys[missing])
        _judge(_unreadable(source, known), source, leave_out, first)
    places = known.places(source.keys)
    rows = (SHARD * places[:, 0].astype(np.int64) + places[:, 1]).astype(np.uint32)
    shards = Shards(known.files, SHARD, lambda file: Encoded(load_file(file)["latents"], ()))
    return LatentSet(shards, rows, source, notes=_left_out(source))


def encode_buckets(
    source: LayoutFolder,
    autoencoder: AutoencoderKL,
    folder: Path,
    leave_out: bool = False,
    *,
    blank: bool = False,
    write: bool = True,
) -> list[LatentSet]:
    """As `encode_folder`, each picture at the size whose proportion is nearest to its own.

    Sizes have about as many pixels as the source's and proportions of 1 : 2 to 2 : 1.
    """
    first = this_process().is_main_process
    sizes = proportions(source.width, source.height)
    _judge(source.check(sizes, folder / _LOOKS, write=write, shown=first), source, leave_out, first)
    left_out = source.left_out
    sets: list[LatentSet] = []
    for part in source.by_proportion(sizes):
        part.left_out, left_out = left_out, 0
        sets.append(encode_folder(part, autoencoder, folder, leave_out, blank=blank, write=write))
    return sets


def _left_out(source: LayoutFolder) -> list[str]:
    left, given = source.left_out, source.left_out + len(source)
    return [f"{left} of {given} pictures are left out: they cannot be read"] if left else []


def _judge(wrong: dict[str, str], source: LayoutFolder, leave_out: bool, shown: bool) -> None:
    if not wrong:
        return
    said = f"{len(wrong)} of {len(source)} pictures of {source.folder} cannot be used:\n{told(wrong)}"
    if not leave_out:
        raise SourceError(f"{said}\nMend them, take them away, or leave them out with --leave-out")
    if shown:
        logger.warning("%s\nThey are left out.", said)
    source.leave_out(wrong)


def _unreadable(source: LayoutFolder, known: _Known) -> dict[str, str]:
    """Pictures that were found to be damaged when they were decoded, with why."""
    if not known.unreadable:
        return {}
    keys = (key.tobytes() for key in source.keys)
    return {
        source.names[number]: known.unreadable[key]
        for number, key in enumerate(keys)
        if key in known.unreadable
    }


class _Known:
    """The latents in a folder, by key, and why pictures of other keys cannot be decoded."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.files: list[Path] = []
        self.unreadable: dict[bytes, str] = {}
        self._keys: list[np.ndarray] = []
        self._read()

    def places(self, keys: np.ndarray) -> np.ndarray:
        """File and row (n, 2) of the latents of keys (n, 16), `NOWHERE` where there are none."""
        return KeyIndex.of_keys(self._keys).find(keys)

    def wait_for(self, keys: np.ndarray) -> None:
        """Return once others have encoded what belongs to these keys, however long that takes them."""
        while True:
            self._read()
            left = keys[self.places(keys)[:, 0] == NOWHERE]
            if all(key.tobytes() in self.unreadable for key in left):
                return
            time.sleep(_LOOK)

    def _read(self) -> None:
        """Look for files that were written since."""
        for file in sorted({*self._place.glob("*.safetensors")} - {*self.files}):
            said = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
            self.files.append(file)
            self._keys.append(as_rows(map(_key, said["keys"])))
            self.unreadable |= {_key(key): reason for key, reason in said["unreadable"].items()}


def _key(written: str) -> bytes:
    """A key from its digits, of which earlier versions wrote twice as many."""
    return bytes.fromhex(written[: 2 * LENGTH])


@torch.no_grad()
def _encode(source: LayoutFolder, numbers: Sequence[int], autoencoder: AutoencoderKL, place: Path) -> None:
    """Write one file of latents and, before it, the keys that belong to it."""
    found: list[Tensor] = []
    unreadable: dict[str, str] = {}
    readable: list[str] = []
    decoded = _decoded_ahead(source, numbers)
    for start in range(0, len(numbers), BATCH):
        images: list[np.ndarray] = []
        for number in numbers[start : start + BATCH]:
            key = source.keys[number].tobytes().hex()
            try:
                images.append(next(decoded).result().image)
                readable.append(key)
            except SourceError as error:
                unreadable[key] = str(error)
        if images:
            found.append(latents_of(autoencoder, np.stack(images)))
    latents = torch.cat(found) if found else torch.zeros(0, 4, source.height // 8, source.width // 8).half()
    file = place / f"{source.keys[numbers[0]].tobytes().hex()[:16]}-{len(numbers)}.safetensors"
    beginning = file.with_suffix(f".{os.getpid()}.part")
    beginning.write_text(json.dumps({"keys": readable, "unreadable": unreadable}), encoding="utf-8")
    os.replace(beginning, file.with_suffix(".json"))
    save_weights({"latents": latents.contiguous()}, beginning)
    os.replace(beginning, file)


def _decoded_ahead(source: LayoutFolder, numbers: Sequence[int]) -> Iterator[Future[Example]]:
    """Pictures in this order, of which two batches are decoded before they are asked for."""
    waiting: deque[Future[Example]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for number in numbers:
            waiting.append(pool.submit(source.__getitem__, number))
            if len(waiting) > 2 * BATCH:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
