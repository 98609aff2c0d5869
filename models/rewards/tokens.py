"""Prompts as token ids of BERT's uncased vocabulary, or of a small model's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..weights import CheckpointError

VOCABULARY_FILE, TOKENIZER_FILE = "vocab.txt", "tokenizer.json"
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


class Prompts(NamedTuple):
    """Token ids and their mask, both (B, T), padded to the longest; `cut` is what did not fit of each."""

    input_ids: Tensor
    attention_mask: Tensor
    cut: tuple[str, ...]


class RewardTokenizer:
    """Word pieces in lower case between [CLS] and [SEP], as BERT's own tokenizer makes them.

    `tokenizer` is a `tokenizers.Tokenizer` that adds nothing around the words.
    """

    def __init__(self, tokenizer: Any, most: int) -> None:
        missing = [word for word in _SPECIAL if tokenizer.token_to_id(word) is None]
        if missing:
            raise CheckpointError(f"the vocabulary of the reward model lacks {', '.join(missing)}")
        self._tokenizer, self._most = tokenizer, most
        self._pad, _, self._start, self._end = (tokenizer.token_to_id(word) for word in _SPECIAL)

    @classmethod
    def of_words(cls, words: Sequence[str], most: int) -> RewardTokenizer:
        """A tokenizer of these words and word pieces (`##` inside a word), the first being id 0."""
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        ids = {word: number for number, word in enumerate(words)}
        tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return cls(tokenizer, most)

    @classmethod
    def read(cls, path: str | PathLike[str], most: int) -> RewardTokenizer:
        """A tokenizer from BERT's `vocab.txt`, one word a line, or from a `tokenizer.json`."""
        from tokenizers import Tokenizer

        path = Path(path)
        try:
            if path.suffix == ".json":
                tokenizer = Tokenizer.from_file(str(path))
                tokenizer.no_padding()
                tokenizer.no_truncation()
                return cls(tokenizer, most)
            # Some vocabularies have words that other programs end lines with (U+2028).
            words = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            return cls.of_words(words, most)
        except OSError:
            raise
        except Exception as error:  # the library raises plain Exception
            raise CheckpointError(f"{path.name} is no vocabulary of a reward model: {error}") from error

    @property
    def size(self) -> int:
        """Number of ids."""
        return self._tokenizer.get_vocab_size()

    def __call__(self, prompts: Sequence[str]) -> Prompts:
        """Ids of prompts, cut to the number of tokens the model was trained with."""
        rows: list[list[int]] = []
        cut: list[str] = []
        for prompt in prompts:
            encoded = self._tokenizer.encode(prompt, add_special_tokens=False)
            room = self._most - 2
            rows.append([self._start, *encoded.ids[:room], self._end])
            cut.append(prompt[encoded.offsets[room][0] :] if len(encoded.ids) > room else "")
        longest = max(map(len, rows), default=0)
        ids = torch.tensor([[*row, *[self._pad] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return Prompts(ids, mask, tuple(cut))


def find_tokenizer(
    path: str | PathLike[str], metadata: Mapping[str, Any], vocabulary: int, most: int
) -> RewardTokenizer:
    """The tokenizer of a reward model file: by the words in its metadata, or by a vocabulary beside it.

    Looked for in the folder of the weights, in `bert-base-uncased` inside it, then in both of the folder
    above: `vocab.txt`, else `tokenizer.json`. Raises `CheckpointError` that says what to put where.
    """
    if "words" in metadata:
        words = metadata["words"]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise CheckpointError(f"the metadata of {Path(path).name} says words that are no list of texts")
        if len(words) > vocabulary:
            raise CheckpointError(
                f"the metadata of {Path(path).name} says {len(words)} words; the weights know {vocabulary}"
            )
        return RewardTokenizer.of_words(words, most)
    folder = Path(path).parent
    places = [place / inner for place in (folder, folder.parent) for inner in ("", "bert-base-uncased")]
    files = [place / name for place in places for name in (VOCABULARY_FILE, TOKENIZER_FILE)]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise CheckpointError(
            f"{Path(path).name} needs the vocabulary of bert-base-uncased, which is not there. Put its "
            f"{VOCABULARY_FILE} (or {TOKENIZER_FILE}) into {folder}, or a folder bert-base-uncased there."
        )
    tokenizer = RewardTokenizer.read(found, most)
    if tokenizer.size > vocabulary:
        raise CheckpointError(
            f"{found} has {tokenizer.size} words, but {Path(path).name} knows {vocabulary}; the published "
            "models need the vocabulary of bert-base-uncased, 30522 words"
        )
    return tokenizer
