"""Latents of pictures, encoded once, so that training never waits for the autoencoder."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor

from ...layout import Layout
from ...models.weights import save_weights
from ..engine.order import sample_numbers
from ..engine.processes import this_process
from ..engine.progress import progress_bar
from ..engine.task import BatchPosition
from .errors import SourceError
from .json_array import JsonArray
from .pictures import posterior, to_tensor
from .shards import Shards

# Pictures in one file: what an interruption can lose.
SHARD = 512
BATCH = 16
# Pixels in one pass of the autoencoder, of 2 kB each: 16 pictures of 512 × 512, 4 of 1024 × 1024.
_PIXELS = 16 * 512 * 512
# How often a process looks whether the others have encoded their share.
_LOOK = 0.5
# The one shard of stand-ins, which is no file.
_BLANK = Path("blank")


class Picture(Protocol):
    """A picture (height, width, 3) of bytes with its layout; all of one source have one size."""

    @property
    def image(self) -> np.ndarray: ...

    @property
    def layout(self) -> Layout: ...


class Source(Protocol):
    """Numbered pictures."""

    def __getitem__(self, number: int) -> Picture: ...


class Encoded(NamedTuple):
    """Latents (n, 4, h, w) of half precision, ready for the UNet, and the layouts' JSON of n pictures."""

    latents: Tensor
    documents: Sequence[dict[str, Any]]


class Described(Protocol):
    """What is known of pictures beside their latents, where it is not kept with them."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def things(self) -> np.ndarray:
        """How many instances take part in each."""
        ...

    @property
    def stamps(self) -> np.ndarray | None:
        """Stamps (n, 16) that change when a layout does, where they are known."""
        ...

    def document(self, number: int) -> dict[str, Any]: ...

    def conditioning(self, number: int) -> tuple[float, ...]: ...


class LatentSet:
    """Encoded pictures of one size, by number; those of a folder stay on disk until they are asked for.

    `numbers` are the numbers in the shards of the pictures that belong to the set, in its order. `source` has
    their layouts, numbered by `entries` (default: in order); without one layouts are in the shards. What the
    pictures are is told by its fingerprint, else by `fingerprint`; `notes` say for people what was left out
    and what is not made yet.
    """

    def __init__(
        self,
        shards: Shards[Encoded],
        numbers: Sequence[int] | np.ndarray,
        source: Described | None = None,
        entries: Sequence[int] | np.ndarray | None = None,
        fingerprint: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        self._shards, self._source = shards, source
        self._numbers = np.asarray(numbers, np.uint32)
        self._entries = np.asarray(range(len(numbers)) if entries is None else entries, np.uint32)
        self.fingerprint = fingerprint if source is None else source.fingerprint
        self.notes = tuple(notes)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def is_blank(self) -> bool:
        """Whether these are stand-ins for pictures that are not encoded yet."""
        return self._shards.files == [_BLANK]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures in pixels."""
        shard, _ = self._find(0)
        height, width = shard.latents.shape[-2:]
        return 8 * height, 8 * width

    def latents(self, numbers: Iterable[int]) -> Tensor:
        """Latents (B, 4, h, w) of these pictures."""
        found = (self._find(number) for number in numbers)
        return torch.stack([shard.latents[row] for shard, row in found])

    def document(self, number: int) -> dict[str, Any]:
        """The JSON of a picture's layout."""
        if self._source is not None:
            return self._source.document(int(self._entries[number]))
        shard, row = self._find(number)
        return shard.documents[row]

    def conditioning(self, number: int) -> tuple[float, ...]:
        """SDXL's six numbers: height and width of the original, top and left of the crop, size aimed at."""
        if self._source is not None:
            return self._source.conditioning(int(self._entries[number]))
        height, width = self.size
        return (height, width, 0, 0, height, width)

    def layout(self, number: int) -> Layout:
        return Layout.from_dict(self.document(number))

    def things(self) -> np.ndarray:
        """How many instances of each picture take part (n)."""
        if self._source is not None:
            return self._source.things[self._entries]
        return np.array([len(self.layout(number).active) for number in range(len(self))])

    def stamps(self) -> np.ndarray | None:
        """Stamps (n, 16) that change when a picture's layout does, where they are known."""
        stamps = None if self._source is None else self._source.stamps
        return None if stamps is None else stamps[self._entries]

    def select(self, numbers: Iterable[int] | np.ndarray) -> LatentSet:
        """The set of these pictures alone."""
        chosen = np.fromiter(numbers, np.int64)
        rows, entries = self._numbers[chosen], self._entries[chosen]
        return LatentSet(self._shards, rows, self._source, entries, self.fingerprint, self.notes)

    def _find(self, number: int) -> tuple[Encoded, int]:
        return self._shards.find(int(self._numbers[number]))

    @classmethod
    def load(cls, folder: Path) -> LatentSet:
        """The pictures that `encode` wrote; `SourceError` for a folder that is not complete."""
        index = _read_index(folder)
        count = index["count"]
        files = [folder / _name(number) for number in range(-(-count // SHARD))]
        there = {entry.name for entry in os.scandir(folder)}
        if missing := [file.name for file in files if file.name not in there]:
            raise SourceError(f"{folder} is not complete: {', '.join(missing)} missing; encode it again")
        described = json.dumps(index.get("source"), sort_keys=True)
        return cls(Shards(files, SHARD, _Reader()), range(count), fingerprint=described)


def blank_shards(width: int, height: int, documents: Sequence[dict[str, Any]] = ()) -> Shards[Encoded]:
    """One shard whose every latent is zero, of pictures of this size: what takes as much as real ones."""
    zeros = torch.zeros(1, 4, height // 8, width // 8, dtype=torch.float16)
    one = Encoded(zeros.expand(max(1, len(documents)), -1, -1, -1), documents)
    return Shards([_BLANK], one.latents.shape[0], lambda _: one)


class _Reader:
    """Opens shards, and remembers the bounds of their documents, so that no shard is parsed whole again."""

    def __init__(self) -> None:
        self._bounds: dict[Path, np.ndarray] = {}

    def __call__(self, file: Path) -> Encoded:
        # The file is mapped into memory, not read: a row costs what it holds.
        latents = load_file(file)["latents"]
        text = file.with_suffix(".json").read_text(encoding="utf-8")
        documents = JsonArray(text, self._bounds.get(file))
        self._bounds[file] = documents.bounds
        return Encoded(latents, documents)


class Buckets:
    """Latent sets of several sizes; every batch comes from one of them, in proportion to their numbers.

    Batches that processes make at the same time come from the same one, so that none waits for another's
    larger pictures. In an epoch each set has as many turns as its pictures fill, in a new order, and goes on
    in its own order where its last turn ended: every picture is seen once in it, but for those of a last turn
    that is not full. With another number of processes a step has the same pictures as with the first one.
    """

    def __init__(self, sets: Sequence[LatentSet]) -> None:
        self.sets = sets
        self._counts = np.array([len(one) for one in sets], dtype=np.int64)
        self._shares = self._counts / self._counts.sum()
        self._epoch: tuple[tuple[int, int, int], np.ndarray] | None = None

    def choose(self, position: BatchPosition, batch: int, seed: int) -> tuple[LatentSet, list[int]]:
        """The set and the samples of a batch, a function of the arguments alone."""
        which, number = self._turn(position, batch, seed)
        return self.sets[which], sample_numbers(len(self.sets[which]), batch, number, seed + which)

    def _turn(self, position: BatchPosition, batch: int, seed: int) -> tuple[int, int]:
        """Which set a batch comes from, and the batch's number among those of the set."""
        if not position.together:
            # Runs that earlier versions began go on as they did.
            drawn = np.random.default_rng([seed, 2, position.number // position.num_processes])
            return int(drawn.choice(len(self.sets), p=self._shares)), position.number
        turn, place = divmod(position.number, position.together)
        samples = batch * position.together
        epoch, before = self._epoch_of(turn, samples)
        order = self._order(epoch, samples, seed)
        now = turn - int(before.sum())
        which = int(order[now])
        earlier = int(before[which]) + int(np.count_nonzero(order[:now] == which))
        return which, earlier * position.together + place

    def _turns(self, epochs: int, samples: int) -> np.ndarray:
        """Turns of so many samples that each set has had after so many epochs: what its pictures fill."""
        return -(-epochs * self._counts // samples)

    def _epoch_of(self, turn: int, samples: int) -> tuple[int, np.ndarray]:
        """The epoch a turn belongs to, and the turns of each set in those before."""
        total = int(self._counts.sum())
        # The last epoch that begins with this turn or earlier. Sets are rounded up, by less than a turn each.
        low, high = max(0, (turn - len(self.sets)) * samples // total), turn * samples // total
        while low < high:
            middle = (low + high + 1) // 2
            if int(self._turns(middle, samples).sum()) <= turn:
                low = middle
            else:
                high = middle - 1
        return low, self._turns(low, samples)

    def _order(self, epoch: int, samples: int, seed: int) -> np.ndarray:
        """The sets of an epoch's turns, of which the last one asked for is kept."""
        asked = (epoch, samples, seed)
        if self._epoch is None or self._epoch[0] != asked:
            turns = self._turns(epoch + 1, samples) - self._turns(epoch, samples)
            order = np.repeat(np.arange(len(self.sets), dtype=np.uint16), turns)
            self._epoch = asked, np.random.default_rng([seed, 3, epoch]).permutation(order)
        return self._epoch[1]


@torch.no_grad()
def encode(
    source: Source,
    count: int,
    autoencoder: AutoencoderKL,
    folder: Path,
    description: dict[str, Any],
    on_pictures: Callable[[int], object] = lambda count: None,
    process: int = 0,
    processes: int = 1,
) -> None:
    """Encode the first `count` pictures into `folder`; what is there already is not done again.

    Of several processes each does its share of the files, and waits for the others' to appear.

    `description` says in plain values what the source is: a folder made from another source or by another
    autoencoder is refused with `SourceError`. `on_pictures` is called with the number of pictures done.
    """
    index = _index(count, autoencoder, description)
    if not (folder / "index.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Another process may be reading: it must find all of it or nothing.
        beginning = folder / f"index-{os.getpid()}.part"
        beginning.write_text(json.dumps(index), encoding="utf-8")
        os.replace(beginning, folder / "index.json")
    else:
        _check_index(folder, index)
    shards = [range(first, min(first + SHARD, count)) for first in range(0, count, SHARD)]
    for shard in range(process, len(shards), processes):
        file = folder / _name(shard)
        if not file.is_file():
            _encode_shard(source, shards[shard], autoencoder, file)
        on_pictures(len(shards[shard]))
    # A barrier would end the run where encoding takes longer than its limit; looking for files does not.
    while not all((folder / _name(shard)).is_file() for shard in range(len(shards))):
        time.sleep(_LOOK)


def is_encoded(folder: Path, count: int, autoencoder: AutoencoderKL, description: dict[str, Any]) -> bool:
    """Whether all of it is in `folder`; `SourceError` as `encode` raises it for other latents there."""
    if not (folder / "index.json").is_file():
        return False
    _check_index(folder, _index(count, autoencoder, description))
    return all((folder / _name(shard)).is_file() for shard in range(-(-count // SHARD)))


def _index(count: int, autoencoder: AutoencoderKL, description: dict[str, Any]) -> dict[str, Any]:
    return {"count": count, "source": description, "encoder": encoder_digest(autoencoder)}


def _check_index(folder: Path, index: dict[str, Any]) -> None:
    if _read_index(folder) != index:
        raise SourceError(
            f"{folder} holds latents of other pictures or of another autoencoder; choose another folder or "
            "delete it"
        )


def _encode_shard(source: Source, numbers: range, autoencoder: AutoencoderKL, file: Path) -> None:
    latents, documents = [], []
    for first in range(0, len(numbers), BATCH):
        pictures = [source[number] for number in numbers[first : first + BATCH]]
        latents.append(latents_of(autoencoder, np.stack([picture.image for picture in pictures])))
        documents += [picture.layout.to_dict() for picture in pictures]
    file.with_suffix(".json").write_text(json.dumps(documents), encoding="utf-8")
    beginning = file.with_suffix(".part")
    save_weights({"latents": torch.cat(latents).contiguous()}, beginning)
    os.replace(beginning, file)


def latents_of(autoencoder: AutoencoderKL, pictures: np.ndarray) -> Tensor:
    """Latents (B, 4, h, w) of half precision, on the CPU, of pictures (B, H, W, 3) of bytes."""
    together = max(1, _PIXELS // (pictures.shape[1] * pictures.shape[2]))
    found: list[Tensor] = []
    for first in range(0, len(pictures), together):
        pixels = to_tensor(pictures[first : first + together]).to(autoencoder.device)
        means = posterior(autoencoder, pixels).mode() * autoencoder.config["scaling_factor"]
        found.append(means.half().cpu())
    return torch.cat(found)


def encode_once(
    source: Source, count: int, autoencoder: AutoencoderKL, folder: Path, description: dict[str, Any]
) -> LatentSet:
    """The first `count` pictures encoded, now or earlier, by all processes together, with a progress bar."""
    state = this_process()
    autoencoder.to(state.device)  # pyright: ignore[reportArgumentType]
    # Shares are of whole files, the first process's of the larger ones.
    firsts = range(state.process_index * SHARD, count, state.num_processes * SHARD)
    share = sum(min(SHARD, count - first) for first in firsts)
    with progress_bar("encode", "picture", share, shown=state.is_main_process) as progress:
        encode(
            source,
            count,
            autoencoder,
            folder,
            description,
            progress.update,
            state.process_index,
            state.num_processes,
        )
    return LatentSet.load(folder)


def encoder_digest(autoencoder: AutoencoderKL) -> str:
    """A digest of the weights that latents depend on; the decoder may be trained on without spoiling them."""
    digest = hashlib.sha256()
    for name, value in sorted(autoencoder.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _name(shard: int) -> str:
    return f"latents-{shard:05d}.safetensors"


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "index.json"
    if not path.is_file():
        raise SourceError(f"{folder} holds no encoded pictures")
    return json.loads(path.read_text(encoding="utf-8"))
