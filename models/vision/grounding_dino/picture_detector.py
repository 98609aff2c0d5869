"""Grounding DINO (arXiv 2303.05499) as a `Detector` of words in Pillow pictures, for annotation.

The model is the transformers library's, from a folder, from the hub or from a file of the original code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

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
from .backend_transformers import Network
from .detector import NounDetector
from .noun_rules import NounRule, highest_average
from .original import load_original

# Thresholds of the demonstration in Grounding DINO's repository; IFAdapter's are not published.
BOX_THRESHOLD, TEXT_THRESHOLD = 0.35, 0.25
# Decimal digits of boxes, which are fractions of the picture's sides: enough for any picture's pixels.
DIGITS = 5
_KINDS = ("grounding-dino", "mm-grounding-dino")
_ORIGINAL_ENDINGS = (".pth", ".pt", ".safetensors")
_VOCABULARIES = ("vocab.txt", "tokenizer.json")


class GroundingDino:
    """A `Detector` that goes by a rule: by default a box's word is the one whose tokens score highest."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        box_threshold: float = BOX_THRESHOLD,
        text_threshold: float = TEXT_THRESHOLD,
        batch: int = 1,
        rule: NounRule = highest_average,
    ) -> None:
        self.model, self.processor = model.eval().requires_grad_(False), processor
        self.box_threshold, self.text_threshold = box_threshold, text_threshold
        self.batch = batch
        tokenizer = processor.tokenizer
        self._detector = NounDetector(
            Network(model),
            self._tokenize,
            (tokenizer.cls_token_id, tokenizer.sep_token_id),
            rule,
            model.config.max_text_len,
        )

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
        """Boxes of each picture's words. More words than fit into one text take several passes.

        Only pictures of one size run together: what fills up smaller ones would change what is found.
        """
        found: list[list[Detection]] = [[] for _ in pictures]
        for batch in self._batches(pictures, words):
            groups = [group for _, group in batch]
            pixels = self._pixels([pictures[index] for index, _ in batch])
            results = self._detector.find(pixels, groups, self.box_threshold, self.text_threshold)
            for (index, group), some in zip(batch, results, strict=True):
                found[index] += [Detection(group[one.noun], _rounded(one.box), one.score) for one in some]
        return found

    def _batches(
        self, pictures: Sequence[Image], words: Sequence[Sequence[str]]
    ) -> Iterator[list[tuple[int, list[str]]]]:
        """Indices of pictures with the words of one pass."""
        tasks = [
            (index, [some[word] for word in group])
            for index, some in enumerate(words)
            for group in self._detector.groups(some)
        ]
        tasks.sort(key=lambda task: pictures[task[0]].size)
        for _, same in groupby(tasks, key=lambda task: pictures[task[0]].size):
            while batch := list(islice(same, self.batch)):
                yield batch

    def _pixels(self, pictures: list[Image]) -> Tensor:
        """Pictures prepared as the folder of the model says, on the model's device."""
        prepared = self.processor.image_processor(images=pictures, return_tensors="pt")
        return prepared["pixel_values"].to(self.model.device)

    def _tokenize(self, text: str) -> list[int]:
        return self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]


def _rounded(box: tuple[float, float, float, float]) -> Box:
    return Box(*(round(value, DIGITS) for value in box))


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
