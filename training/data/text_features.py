"""Text features of captions, kept on disk by what the captions say, so that steps do without text encoders.

A folder is of one pair of text encoders in one precision and holds files of up to 2048 captions, each with
its keys. Files are mapped into memory: processes share what they read, and none holds a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ...models.ifadapter.phrases import Phrases
from .errors import SourceError
from .keys import NOWHERE, KeyIndex, as_rows, key_of
from .text import EncodedPhrases, EncodedPrompts

PROMPT, PHRASE = KINDS = ("prompt", "phrase")
# Files that stay open: a mapping costs no memory, and captions are asked for in any order.
_OPEN = 1024
_SHOWN = 80


class TextFeatures(Protocol):
    """What the text encoders make of captions, on the CPU."""

    @property
    def name(self) -> str:
        """Which encoders they are of, and in which precision."""
        ...

    def prompts(self, captions: Sequence[str]) -> EncodedPrompts: ...

    def phrases(self, captions: Sequence[str]) -> EncodedPhrases: ...


class TextShard(NamedTuple):
    """A file: prompts (n, T, D) with their pooled output (n, E), and tokens (m, K, D) of all phrases end to
    end, with the places (p + 1) between them."""

    prompts: Tensor
    pooled: Tensor
    tokens: Tensor
    bounds: Tensor


class KeptTextFeatures:
    """The features in a folder; `SourceError` for a caption that was not encoded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self._files = files_in(folder)
        self._index = {
            kind: KeyIndex.of_files(self._files, lambda file, kind=kind: keys_in(file, kind), folder / kind)
            for kind in KINDS
        }
        self._read = lru_cache(maxsize=_OPEN)(read_shard)

    def prompts(self, captions: Sequence[str]) -> EncodedPrompts:
        """Conditions (B, T, D) and pooled output (B, E) of whole captions."""
        found = [(self._read(file), row) for file, row in self._find(PROMPT, captions)]
        return EncodedPrompts(
            torch.stack([shard.prompts[row] for shard, row in found]),
            torch.stack([shard.pooled[row] for shard, row in found]),
        )

    def phrases(self, captions: Sequence[str]) -> EncodedPhrases:
        """Hidden states (P, K, T, D) and mask (P, T) of captions of instances, T that of the longest."""
        tokens = [self._tokens(file, row) for file, row in self._find(PHRASE, captions)]
        return EncodedPhrases.of_tokens(tokens)

    def _tokens(self, file: Path, row: int) -> Tensor:
        shard = self._read(file)
        start, end = shard.bounds[row : row + 2].tolist()
        return shard.tokens[start:end]

    def _find(self, kind: str, captions: Sequence[str]) -> list[tuple[Path, int]]:
        places = self._index[kind].find(as_rows(key_of(kind, caption) for caption in captions))
        for caption, (file, _) in zip(captions, places, strict=True):
            if file == NOWHERE:
                raise SourceError(
                    f"{self.folder} has no features of the {kind} {caption[:_SHOWN]!r}: it was changed while "
                    "the run went on; start the run again, which encodes what is new"
                )
        return [(self._files[file], int(row)) for file, row in places]


class BlankTextFeatures:
    """Zeros in place of features, as many as there would be: what a dry run takes a step with."""

    def __init__(
        self, name: str, prompt: tuple[int, int], pooled: int, layers: int, length: int, dtype: torch.dtype
    ) -> None:
        """prompt (T, D) and pooled E, numbers of a prompt; layers and tokens of a phrase."""
        self.name = name
        self._prompt, self._pooled = torch.zeros(prompt, dtype=dtype), torch.zeros(pooled, dtype=dtype)
        self._tokens = torch.zeros(length, layers, prompt[1], dtype=dtype)

    def prompts(self, captions: Sequence[str]) -> EncodedPrompts:
        number = len(captions)
        return EncodedPrompts(torch.stack([self._prompt] * number), torch.stack([self._pooled] * number))

    def phrases(self, captions: Sequence[str]) -> EncodedPhrases:
        return EncodedPhrases.of_tokens([self._tokens] * len(captions))


class SampleTexts:
    """Features as sampling asks for them: `Texts` of hosts.diffusers_sdxl."""

    def __init__(self, features: TextFeatures) -> None:
        self._features = features

    def prompt(self, text: str) -> tuple[Tensor, Tensor]:
        hidden, pooled = self._features.prompts([text])
        return hidden, pooled

    def phrases(self, captions: Sequence[str], names: Sequence[str]) -> Phrases:
        return self._features.phrases(captions).as_phrases()


def files_in(folder: Path) -> list[Path]:
    """The files of features in a folder, in order."""
    return sorted(folder.glob("*.safetensors"))


def keys_in(file: Path, kind: str) -> np.ndarray:
    """Keys (n, 16) of the captions of a kind in a file."""
    return load_file(file)[f"{kind}_keys"].numpy()


def read_shard(file: Path) -> TextShard:
    """A file, mapped."""
    said = load_file(file)
    return TextShard(*(said[name] for name in TextShard._fields))
