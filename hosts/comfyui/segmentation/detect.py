"""Grounding DINO under ComfyUI's memory management: nouns in, boxes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ....models.vision.grounding_dino import backend_groundingdino, backend_transformers
from ....models.vision.grounding_dino.detector import FoundNoun, NounDetector
from ....models.vision.grounding_dino.noun_rules import exact_phrase
from ....models.vision.grounding_dino.pixels import prepare
from ..loading import LastLoaded, load_whole
from .files import vocabulary_path

START, END = "[CLS]", "[SEP]"
# Bytes of activations for each pixel of the prepared picture, measured with both published models.
BYTES_PER_PIXEL = 1700
# Functions that build the `Network` of a `NounDetector` from a file or folder, on the CPU.
BACKENDS: Mapping[str, Callable[[Path], nn.Module]] = {
    "transformers": backend_transformers.build,
    "groundingdino-py": backend_groundingdino.build,
}
DEFAULT_BACKEND = "transformers"


@dataclass(frozen=True, eq=False)
class Detector:
    """`patcher` holds what a backend made; `finder` finds nouns with it, by the rule of CoMat."""

    patcher: Any
    finder: NounDetector

    def detect(
        self,
        picture: Tensor,
        nouns: Sequence[str],
        box_threshold: float,
        text_threshold: float,
        on_caption: Callable[[], None] = lambda: None,
    ) -> list[FoundNoun]:
        """Boxes, inside the picture, of nouns in a picture (H, W, 3) of values 0..1.

        `on_caption` is called after every pass of the network.
        """
        pixels = prepare(picture)
        pixels = pixels.to(load_whole(self.patcher, BYTES_PER_PIXEL * pixels[0, 0].numel()))
        detections: list[FoundNoun] = []
        for group in self.finder.groups(nouns):
            comfy.model_management.throw_exception_if_processing_interrupted()
            names = [nouns[index] for index in group]
            (found,) = self.finder.find(pixels, [names], box_threshold, text_threshold)
            detections += [FoundNoun(group[one.noun], _inside(one.box), one.score) for one in found]
            on_caption()
        return detections

    def count_passes(self, nouns: Sequence[str]) -> int:
        """The number of times that `detect` calls `on_caption`."""
        return len(self.finder.groups(nouns))


def _inside(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The part of a box that is in the picture."""
    x0, y0, x1, y1 = (min(max(value, 0.0), 1.0) for value in box)
    return x0, y0, x1, y1


def load_detector(path: Path, backend: str = DEFAULT_BACKEND) -> Detector:
    """A Grounding DINO of original weights or a folder of transformers, kept until it is unloaded.

    Raises `CheckpointError` for weights the backend does not read, `MissingWeightsError` if the vocabulary is
    not there, `BackendError` if the backend does not run.
    """
    vocabulary = vocabulary_path(path)
    key = (path, backend, vocabulary, path.stat().st_mtime_ns)
    return _last.get(key, lambda: read_detector(path, backend, vocabulary))


def read_detector(path: Path, backend: str, vocabulary: Path) -> Detector:
    """As `load_detector`, read anew."""
    with torch.inference_mode(False):
        network = BACKENDS[backend](path)
    patcher = comfy.model_patcher.ModelPatcher(
        network.eval().requires_grad_(False),
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    tokenizer = read_vocabulary(vocabulary)
    around = tokenizer.token_to_id(START), tokenizer.token_to_id(END)

    def tokenize(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    return Detector(patcher, NounDetector(network, tokenize, around, exact_phrase))


_last: LastLoaded[Detector] = LastLoaded(lambda detector: detector.patcher)


def read_vocabulary(path: Path) -> Any:
    """BERT's uncased word pieces from its vocab.txt or tokenizer.json, as a `tokenizers.Tokenizer`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    if path.suffix == ".json":
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer
    words = path.read_text(encoding="utf-8").splitlines()
    pieces = models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    tokenizer = Tokenizer(pieces)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
