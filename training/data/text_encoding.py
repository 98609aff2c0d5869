"""Captions through the text encoders before the first step: those without features on disk, each once."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file
from torch import Tensor, nn

from ...hosts.diffusers_sdxl import encode_tokens
from ...layout import Layout
from ...models.ifadapter.phrases import LAYERS
from ...models.weights import save_weights
from ..engine.account.words import gigabytes
from ..engine.fingerprint import of_frozen, of_texts
from ..engine.processes import this_process
from ..engine.progress import progress_bar
from .errors import SourceError
from .keys import NOWHERE, KeyIndex, as_rows, distinct, key_of, share_of
from .text import TokenIds, Tokenizer, encode_prompts
from .text_features import (
    KINDS,
    PHRASE,
    PROMPT,
    BlankTextFeatures,
    KeptTextFeatures,
    TextFeatures,
    TextShard,
    files_in,
    keys_in,
)

logger = logging.getLogger("instance_composer")

# Captions in one file: what an interruption can lose.
SHARD = 2048
# Captions in one pass: the encoders hand out all their layers, 13 MB a caption for SDXL.
_BATCH = 16
# Captions looked at together, and phrases whose lengths tell those of all.
_CHUNK, _SAMPLED = 4096, 1000
# Where in a folder of features it is kept whose texts have them.
_KNOWN = "known"
# How often a process looks whether the others have encoded their share.
_LOOK = 0.5

# A kind of features and a caption.
Text = tuple[str, str]


def texts_of(layout: Layout) -> Iterator[Text]:
    """What training reads of a layout: its prompt, and the captions of its instances."""
    yield PROMPT, layout.prompt
    for instance in layout.active:
        yield PHRASE, instance.caption


def texts_of_sample(layout: Layout) -> Iterator[Text]:
    """What drawing a layout reads, negatives too."""
    yield from texts_of(layout)
    if layout.negative.strip():
        yield PROMPT, layout.negative.strip()
    for instance in layout.active:
        if instance.negative.strip():
            yield PHRASE, instance.negative


class TextSource(Protocol):
    """The texts of a run; each may come often."""

    def texts(self, known: KeyIndex) -> Iterable[Text]:
        """All texts but those of pictures whose stamps are `known`."""
        ...

    def stamps(self) -> np.ndarray:
        """Stamps (n, 16) of pictures, which change when their texts do; of those that have one."""
        ...


class TextEncoding:
    """What is to be encoded of a run's texts: features in `folder` are there or made, by each process its
    share.

    `precision` is that of the pipeline's frozen weights, and what features are kept in. Texts are looked at
    when it is made: `notes` says for people what there is and what it takes; `SourceError` where the disk has
    no room for it. The pipeline's text encoders are taken out of it, and let go when all is encoded. Pictures
    whose texts have features are remembered by their stamps, and not looked at again.
    """

    def __init__(
        self,
        pipeline: StableDiffusionXLPipeline,
        source: TextSource,
        folder: Path,
        precision: torch.dtype | None = None,
    ) -> None:
        self._source = source
        self._encoders: _Encoders | None = _Encoders(pipeline, precision)
        pipeline.register_modules(text_encoder=None, text_encoder_2=None)
        self.place = folder / self._encoders.name
        self._known = _read_known(self.place)
        self._missing = _missing(self._texts(), self.place)
        left = {kind: len(one.done) for kind, one in self._missing.items()}
        self._length = 1.0
        if left[PHRASE]:
            self._length = _mean_length(self._encoders, self._texts(), self._missing[PHRASE])
        size = left[PROMPT] * self._encoders.bytes_of_prompt
        size += left[PHRASE] * self._length * self._encoders.bytes_of_token
        self.notes = [
            f"text features: {left[PROMPT]} prompts and {left[PHRASE]} captions of things are encoded first "
            f"and take about {gigabytes(size)} in {folder}"
            if size
            else f"text features: all captions have them in {self.place}"
        ]
        _check_room(folder, size)

    @property
    def complete(self) -> bool:
        """Whether all captions had their features when these were looked at."""
        return not any(len(one.done) for one in self._missing.values())

    def _texts(self) -> Iterable[Text]:
        return self._source.texts(self._known)

    def blank(self) -> TextFeatures:
        """Zeros in place of features, while they are not made yet."""
        if self._encoders is None:
            raise RuntimeError("the texts are encoded already")
        return self._encoders.blank(round(self._length))

    def encode(self) -> TextFeatures:
        """Make what is missing, and let the text encoders go."""
        if self._encoders is not None:
            self.place.mkdir(parents=True, exist_ok=True)
            if not self.complete:
                _encode_share(self._encoders, self._texts(), self._missing, self.place)
            self._encoders = None
            if this_process().is_main_process:
                _write_known(self.place, self._source.stamps(), self._known)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return KeptTextFeatures(self.place)


class _Missing:
    """The captions of a kind that have no features yet, by key, and which of them have some by now."""

    def __init__(self, keys: np.ndarray) -> None:
        self._index = KeyIndex.of_keys([keys])
        self.done = np.zeros(len(keys), bool)

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """The number of each key, `NOWHERE` for those that are not missing."""
        return self._index.find(keys)[:, 1]

    def note(self, keys: np.ndarray) -> None:
        rows = self.rows(keys)
        self.done[rows[rows != NOWHERE]] = True


class _Encoders:
    """Both text encoders of a pipeline, what they make of captions, and how much of it there is."""

    def __init__(self, pipeline: StableDiffusionXLPipeline, precision: torch.dtype | None) -> None:
        first: Any = pipeline.text_encoder
        second: Any = pipeline.text_encoder_2
        self._first, self._second = first.requires_grad_(False), second.requires_grad_(False)
        self.dtype, self._half = precision or torch.float32, precision
        self.tokenizer = Tokenizer(pipeline, kept=SHARD)
        digests = of_frozen(nn.ModuleDict({"first": first, "second": second}))
        words = (str(sorted(t.get_vocab().items())) for t in (pipeline.tokenizer, pipeline.tokenizer_2))
        digest = key_of(*digests.values(), of_texts(words)).hex()
        self.name = f"text-{str(self.dtype).removeprefix('torch.')}-{digest[:16]}"
        self._length: int = pipeline.tokenizer.model_max_length
        self._width: int = first.config.hidden_size + second.config.hidden_size
        self._pooled: int = second.config.projection_dim

    @property
    def bytes_of_prompt(self) -> int:
        return (self._length * self._width + self._pooled) * self.dtype.itemsize

    @property
    def bytes_of_token(self) -> int:
        return len(LAYERS) * self._width * self.dtype.itemsize

    def blank(self, length: int) -> BlankTextFeatures:
        """Zeros of the same sizes."""
        prompt = (self._length, self._width)
        return BlankTextFeatures(self.name, prompt, self._pooled, len(LAYERS), length, self.dtype)

    def to(self, device: torch.device) -> None:
        for encoder in (self._first, self._second):
            encoder.to(device)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], phrases: Sequence[str]) -> TextShard:
        """The features of captions, on the CPU."""
        device = self._first.device
        states: list[Tensor] = []
        pooled: list[Tensor] = []
        tokens: dict[int, Tensor] = {}
        with torch.autocast(device.type, dtype=self._half or torch.float32, enabled=self._half is not None):
            for _, ids in self._batches(prompts):
                one, other = encode_prompts(self._first, self._second, ids)
                states.append(one.to("cpu", self.dtype))
                pooled.append(other.to("cpu", self.dtype))
            for numbers, ids in self._batches(phrases):
                lengths = ids.mask.sum(-1).tolist()
                # Nothing looks beyond its own place in a text.
                short = TokenIds(*(part[:, : max(lengths)] for part in ids))
                encoders, words = (self._first, self._second), (short.first, short.second)
                found = encode_tokens(encoders, words, short.mask).hidden_states.to("cpu", self.dtype)
                for number, length, one in zip(numbers, lengths, found, strict=True):
                    tokens[number] = one[:, :length].transpose(0, 1).contiguous()
        in_order = [tokens[number] for number in range(len(phrases))]
        bounds = np.cumsum([0, *map(len, in_order)])
        return TextShard(
            torch.cat([torch.zeros(0, self._length, self._width, dtype=self.dtype), *states]),
            torch.cat([torch.zeros(0, self._pooled, dtype=self.dtype), *pooled]),
            torch.cat([torch.zeros(0, len(LAYERS), self._width, dtype=self.dtype), *in_order]),
            torch.from_numpy(bounds),
        )

    def _batches(self, captions: Sequence[str]) -> Iterator[tuple[Sequence[int], TokenIds]]:
        """Numbers and token ids of captions, a few at a time."""
        for start in range(0, len(captions), _BATCH):
            numbers = range(start, min(start + _BATCH, len(captions)))
            ids = self.tokenizer([captions[number] for number in numbers])
            yield numbers, TokenIds(*(part.to(self._first.device) for part in ids))


def _missing(texts: Iterable[Text], place: Path) -> dict[str, _Missing]:
    """By kind the captions without features."""
    files = files_in(place)
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for chunk in _chunks(texts):
        for kind, captions in chunk.items():
            found[kind].append(distinct(_keys(kind, captions)))
    missing: dict[str, _Missing] = {}
    for kind, parts in found.items():
        keys = distinct(np.concatenate([_keys(kind, ()), *parts]))
        there = KeyIndex.of_keys([keys_in(file, kind) for file in files]).find(keys)
        missing[kind] = _Missing(keys[there[:, 0] == NOWHERE])
    return missing


def _chunks(texts: Iterable[Text]) -> Iterator[dict[str, list[str]]]:
    """Captions by kind, some thousands at a time: all of them may not fit into memory."""
    rest = iter(texts)
    while some := list(islice(rest, _CHUNK)):
        yield {kind: [caption for own, caption in some if own == kind] for kind in KINDS}


def _keys(kind: str, captions: Iterable[str]) -> np.ndarray:
    return as_rows(key_of(kind, caption) for caption in captions)


def _read_known(place: Path) -> KeyIndex:
    """Stamps of pictures all of whose texts have features."""
    return KeyIndex.of_keys([load_file(file)["stamps"].numpy() for file in files_in(place / _KNOWN)])


def _write_known(place: Path, stamps: np.ndarray, known: KeyIndex) -> None:
    new = stamps[known.find(stamps)[:, 0] == NOWHERE]
    if not len(new):
        return
    folder = place / _KNOWN
    folder.mkdir(exist_ok=True)
    file = folder / f"{new[0].tobytes().hex()}-{len(new)}.safetensors"
    beginning = file.with_suffix(f".{os.getpid()}.part")
    save_weights({"stamps": torch.from_numpy(new.copy())}, beginning)
    os.replace(beginning, file)


def _mean_length(encoders: _Encoders, texts: Iterable[Text], missing: _Missing) -> float:
    """Tokens of a phrase that is missing, of the first of them."""
    for chunk in _chunks(texts):
        captions = chunk[PHRASE]
        rows = missing.rows(_keys(PHRASE, captions))
        own = [caption for caption, row in zip(captions, rows, strict=True) if row != NOWHERE]
        if own:
            return float(encoders.tokenizer(own[:_SAMPLED]).mask.sum(-1).float().mean())
    return 0.0


def _check_room(folder: Path, size: float) -> None:
    there = next(one for one in (folder, *folder.absolute().parents) if one.is_dir())
    free = shutil.disk_usage(there).free
    if size > free:
        raise SourceError(
            f"the text features take about {gigabytes(size)} and {folder} has {gigabytes(free)} left; choose "
            "another folder with --latents, or train without --text-features"
        )


def _encode_share(
    encoders: _Encoders, texts: Iterable[Text], missing: dict[str, _Missing], place: Path
) -> None:
    """Encode this process's share, and wait for the others' to appear."""
    state = this_process()
    encoders.to(state.device or torch.device("cpu"))
    taken = {kind: np.zeros(len(one.done), bool) for kind, one in missing.items()}
    waiting: list[Text] = []
    share = sum(len(one.done) for one in missing.values()) // state.num_processes
    with progress_bar("encode", "caption", share, shown=state.is_main_process) as progress:
        for chunk in _chunks(texts):
            for kind, captions in chunk.items():
                keys = _keys(kind, captions)
                rows, mine = missing[kind].rows(keys), share_of(keys, state.num_processes)
                for caption, row, whose in zip(captions, rows, mine, strict=True):
                    if row != NOWHERE and whose == state.process_index and not taken[kind][row]:
                        taken[kind][row] = True
                        waiting.append((kind, caption))
            while len(waiting) >= SHARD:
                _write(encoders, waiting[:SHARD], place)
                progress.update(SHARD)
                del waiting[:SHARD]
        if waiting:
            _write(encoders, waiting, place)
            progress.update(len(waiting))
    seen: set[Path] = set()
    while True:
        for file in files_in(place):
            if file not in seen:
                seen.add(file)
                for kind, one in missing.items():
                    one.note(keys_in(file, kind))
        if all(one.done.all() for one in missing.values()):
            return
        time.sleep(_LOOK)


def _write(encoders: _Encoders, texts: Sequence[Text], place: Path) -> None:
    """One file with its keys: whole under its name, or not there."""
    captions = {kind: [caption for own, caption in texts if own == kind] for kind in KINDS}
    shard = encoders.encode(captions[PROMPT], captions[PHRASE])
    keys = {f"{kind}_keys": torch.from_numpy(_keys(kind, captions[kind]).copy()) for kind in KINDS}
    file = place / f"{key_of(*texts[0]).hex()}-{len(texts)}.safetensors"
    beginning = file.with_suffix(f".{os.getpid()}.part")
    save_weights({**shard._asdict(), **keys}, beginning)
    os.replace(beginning, file)
