"""Words found in pictures by Grounding DINO (arXiv 2303.05499) in transformers' implementation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
    BertTokenizerFast,  # pyright: ignore[reportAttributeAccessIssue]  # transformers 5 has it as another name
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
)

from ....layout import Box
from ..interfaces import Detection, ModelError
from ..loading import find_model, loaded
from .original import load_original

# The authors' own, in the demonstration of their repository; IFAdapter's are not published.
BOX_THRESHOLD, TEXT_THRESHOLD = 0.35, 0.25
# Boxes are written to a hundred-thousandth of the picture's side.
DIGITS = 5
_KINDS = ("grounding-dino", "mm-grounding-dino")
_ORIGINAL_ENDINGS = (".pth", ".pt", ".safetensors")
_VOCABULARIES = ("vocab.txt", "tokenizer.json")


class GroundingDino:
    """A `Detector`. A box counts if one token of its text is above the box threshold; its word is the one
    whose tokens score highest on average, which has to be above the text threshold.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        box_threshold: float = BOX_THRESHOLD,
        text_threshold: float = TEXT_THRESHOLD,
        batch: int = 1,
    ) -> None:
        self.model, self.processor = model.eval().requires_grad_(False), processor
        self.box_threshold, self.text_threshold = box_threshold, text_threshold
        self.batch = batch

    @classmethod
    def load(cls, name: str, device: str = "cpu", **settings: Any) -> GroundingDino:
        """Read a folder or a file of the original code, or fetch a name from the hub.

        `ModelError` for what is not there or no such model, `CheckpointError` for a file of other weights.
        Always in float32: the model is small, and boxes are to be exact.
        """
        path = Path(name)
        if path.is_file() and path.suffix in _ORIGINAL_ENDINGS:
            processor = GroundingDinoProcessor(GroundingDinoImageProcessor(), _find_tokenizer(path))
            return cls(load_original(path).float().to(device), processor, **settings)
        source = find_model(name, "--detector")
        kind = loaded(name, "--detector", lambda: AutoConfig.from_pretrained(source)).model_type
        if kind not in _KINDS:
            raise ModelError(f"--detector: {name} is a {kind} model; a {' or '.join(_KINDS)} is needed")
        model = loaded(
            name, "--detector", lambda: AutoModelForZeroShotObjectDetection.from_pretrained(source)
        )
        processor = loaded(name, "--detector", lambda: AutoProcessor.from_pretrained(source))
        return cls(model.float().to(device), processor, **settings)

    def detect(self, pictures: Sequence[Image], words: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """What was found of each picture's words. More words than fit into one text take several passes.

        Only pictures of one size run together: what fills up smaller ones would change what is found.
        """
        found: list[list[Detection]] = [[] for _ in pictures]
        for batch in self._batches(pictures, words):
            logits, boxes, ids = self._run(
                [pictures[index] for index, _ in batch], [text for _, text in batch]
            )
            for row, (index, group) in enumerate(batch):
                places = token_places(ids[row], self._separators())
                results = boxes_of_words(
                    logits[row], boxes[row], places, self.box_threshold, self.text_threshold
                )
                found[index] += [Detection(group[word], box, score) for word, box, score in results]
        return found

    def _batches(
        self, pictures: Sequence[Image], words: Sequence[Sequence[str]]
    ) -> Iterator[list[tuple[int, list[str]]]]:
        """Indices of pictures with the words of one pass."""
        tasks = [(index, group) for index, some in enumerate(words) for group in self._groups(some)]
        tasks.sort(key=lambda task: pictures[task[0]].size)
        for _, same in groupby(tasks, key=lambda task: pictures[task[0]].size):
            while batch := list(islice(same, self.batch)):
                yield batch

    @torch.inference_mode()
    def _run(self, pictures: list[Image], words: list[list[str]]) -> tuple[Tensor, Tensor, list[list[int]]]:
        texts = [". ".join(group) + "." for group in words]
        inputs = self.processor(images=pictures, text=texts, padding=True, return_tensors="pt")
        outputs = self.model(**inputs.to(self.model.device))
        return outputs.logits.float().cpu(), outputs.pred_boxes.float().cpu(), inputs["input_ids"].tolist()

    def _groups(self, words: Sequence[str]) -> Iterator[list[str]]:
        """Words, as many at a time as the text of one pass holds with its stops, start and end."""
        group: list[str] = []
        room = self.model.config.max_text_len - 2
        for word in words:
            length = len(self.processor.tokenizer(word, add_special_tokens=False)["input_ids"]) + 1
            if group and length > room:
                yield group
                group, room = [], self.model.config.max_text_len - 2
            group.append(word)
            room -= length
        if group:
            yield group

    def _separators(self) -> tuple[int, int, int]:
        tokenizer = self.processor.tokenizer
        return tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.convert_tokens_to_ids(".")


def _find_tokenizer(weights: Path) -> BertTokenizerFast:
    """BERT's tokenizer from a vocabulary in the folder of the weights, or in bert-base-uncased near it."""
    around = weights.parent, weights.parent / "bert-base-uncased", weights.parent.parent / "bert-base-uncased"
    found = next((place for place in around for name in _VOCABULARIES if (place / name).is_file()), None)
    if found is None:
        raise ModelError(
            f"--detector: {weights.name} needs the vocabulary of bert-base-uncased, which is not there; put "
            f"its vocab.txt (huggingface.co/google-bert/bert-base-uncased) into {weights.parent}"
        )
    return BertTokenizerFast.from_pretrained(str(found))


def token_places(ids: Sequence[int], separators: tuple[int, int, int]) -> list[list[int]]:
    """Each word's positions in "[start] word . word . [end]"; `separators`: tokens of start, end, stop."""
    start, end, stop = separators
    places: list[list[int]] = [[]]
    for place, token in enumerate(ids):
        if token == end:
            break
        if token == stop:
            places.append([])
        elif token != start:
            places[-1].append(place)
    return places[:-1]


def boxes_of_words(
    logits: Tensor,
    boxes: Tensor,
    places: Sequence[Sequence[int]],
    box_threshold: float,
    text_threshold: float,
) -> list[tuple[int, Box, float]]:
    """(index of the word, box, score) of the queries that count.

    logits (Q, T) of each query for each token, boxes (Q, 4) as cx, cy, w, h in fractions, `places` the
    positions of each word's tokens.
    """
    scores = logits.sigmoid()
    tokens = [[place for place in some if place < scores.shape[1]] for some in places]
    known = [index for index, some in enumerate(tokens) if some]
    if not known:
        return []
    highest = torch.stack([scores[:, tokens[index]].amax(1) for index in known], 1).amax(1)
    average, which = torch.stack([scores[:, tokens[index]].mean(1) for index in known], 1).max(1)
    found: list[tuple[int, Box, float]] = []
    for query in torch.nonzero((highest > box_threshold) & (average > text_threshold))[:, 0].tolist():
        x, y, width, height = boxes[query].tolist()
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        box = Box(*(round(value, DIGITS) for value in corners))
        found.append((known[int(which[query])], box, float(highest[query])))
    return found
