"""Grounding DINO under ComfyUI's memory management: nouns in, boxes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.vision.grounding_dino import backend_groundingdino, backend_transformers
from ....models.vision.grounding_dino.conversion import STOP, TEXT_POSITIONS, boxes_of_nouns
from .files import vocabulary_path

START, END = "[CLS]", "[SEP]"
# The published models' preparation of pictures: the shorter side 800, the longer at most 1333, ImageNet's
# mean and deviation.
SHORTER_SIDE, LONGEST_SIDE = 800, 1333
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Each makes a module of a file or folder, on the CPU. It gives logits (Q, T) and boxes (Q, 4), cx cy
# w h, of a picture (1, 3, h, w) and a caption's tokens.
BACKENDS: Mapping[str, Callable[[Path], nn.Module]] = {
    "transformers": backend_transformers.build,
    "groundingdino-py": backend_groundingdino.build,
}
DEFAULT_BACKEND = "transformers"


@dataclass(frozen=True)
class Detection:
    """A noun found in a picture: index of the noun, box (x0, y0, x1, y1) in 0..1, score in 0..1."""

    noun: int
    box: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True, eq=False)
class Detector:
    """`patcher` holds what a backend made; `tokenizer` is that of `read_vocabulary`."""

    patcher: Any
    tokenizer: Any

    def detect(
        self,
        picture: Tensor,
        nouns: Sequence[str],
        box_threshold: float,
        text_threshold: float,
        on_caption: Callable[[], None] = lambda: None,
    ) -> list[Detection]:
        """Where nouns are in a picture (H, W, 3) of values 0..1. `on_caption` is called after every pass."""
        tokens = [self.tokenizer.encode(noun, add_special_tokens=False).ids for noun in nouns]
        comfy.model_management.load_models_gpu([self.patcher])
        pixels = prepare(picture).to(self.patcher.load_device)
        found: list[Detection] = []
        for group in _captions(tokens):
            comfy.model_management.throw_exception_if_processing_interrupted()
            ids = self._ids([tokens[index] for index in group])
            with torch.no_grad():
                logits, boxes = self._run(pixels, ids)
            names = [tokens[index] for index in group]
            for index, box, score in boxes_of_nouns(logits, boxes, ids, names, box_threshold, text_threshold):
                x0, y0, x1, y1 = box.tolist()
                found.append(Detection(group[index], (x0, y0, x1, y1), score))
            on_caption()
        return found

    def count_passes(self, nouns: Sequence[str]) -> int:
        """How often `detect` calls `on_caption`."""
        return len(_captions([self.tokenizer.encode(noun, add_special_tokens=False).ids for noun in nouns]))

    def _ids(self, nouns: Sequence[Sequence[int]]) -> list[int]:
        """The caption "noun . noun ." between start and end."""
        words = [token for noun in nouns for token in (*noun, STOP)]
        return [self.tokenizer.token_to_id(START), *words, self.tokenizer.token_to_id(END)]

    def _run(self, pixels: Tensor, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        logits, boxes = self.patcher.model(pixels, ids)
        return logits.float().cpu(), boxes.float().cpu()


def prepare(picture: Tensor) -> Tensor:
    """A picture (H, W, 3) as the network reads it: (1, 3, h, w), resized and normalised."""
    height, width = picture.shape[:2]
    scale = min(SHORTER_SIDE / min(height, width), LONGEST_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    pixels = picture[..., :3].float().cpu().movedim(-1, 0)[None]
    resized = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (resized - mean) / deviation


def _captions(nouns: Sequence[Sequence[int]]) -> list[list[int]]:
    """Nouns by index, as many in one caption as the network reads tokens."""
    groups: list[list[int]] = []
    used = TEXT_POSITIONS
    for index, noun in enumerate(nouns):
        if used + len(noun) + 1 > TEXT_POSITIONS:
            groups.append([])
            used = len((START, END))
        groups[-1].append(index)
        used += len(noun) + 1
    return groups


def load_detector(path: Path, backend: str = DEFAULT_BACKEND) -> Detector:
    """A Grounding DINO of original weights or a folder of the transformers library; the last one is kept.

    Raises `CheckpointError` for weights the backend does not read, `MissingWeightsError` if the vocabulary is
    not there, `BackendError` if the backend does not run.
    """
    vocabulary = vocabulary_path(path)
    return _load(path, backend, vocabulary, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _load(path: Path, backend: str, vocabulary: Path, _changed: int) -> Detector:
    with torch.inference_mode(False):
        network = BACKENDS[backend](path)
    patcher = comfy.model_patcher.ModelPatcher(
        network.eval().requires_grad_(False),
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    return Detector(patcher, read_vocabulary(vocabulary))


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
