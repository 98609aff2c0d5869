"""Tags of pictures by a model of the transformers library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoTokenizer,
)

from .interfaces import ModelError
from .loading import DTYPE, find_model, loaded

_OPTION = "--tagger"
# Models that say of a picture and any text whether they belong together, each pair by itself. CLIP only says
# which of several texts fits best.
_PAIRING = ("siglip", "siglip2")
# The question that the library's documentation of these models asks.
_QUESTION = "This is a photo of {}."
_TEXTS = 256


class TransformersTagger:
    """A `Tagger`: the tags whose probability is at least `threshold`, the likeliest first, `most` at most.

    A classifier of several labels knows its tags; a SigLIP looks for those of a list.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        tags: Sequence[str],
        texts: Tensor | None = None,
        *,
        threshold: float = 0.5,
        most: int = 20,
        batch: int = 1,
    ) -> None:
        self.model, self.processor = model.eval().requires_grad_(False), processor
        self.tags, self.texts = tuple(tags), texts
        self.threshold, self.most, self.batch = threshold, most, batch

    @classmethod
    def load(
        cls,
        name: str,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        words: Sequence[str] = (),
        **settings: Any,
    ) -> TransformersTagger:
        """Read a folder or fetch a name from the hub; `words` are the list that a SigLIP looks for.

        `ModelError` for what is not there, gives no tags, or comes with the wrong list.
        """
        source = find_model(name, _OPTION)
        config = loaded(name, _OPTION, lambda: AutoConfig.from_pretrained(source))
        classifies = any("ForImageClassification" in one for one in config.architectures or ())
        if config.model_type in _PAIRING and not classifies:
            if not words:
                raise ModelError(f"{_OPTION}: {name} knows no tags by itself; give it a list with --tag-list")
            return cls._pairing(name, source, device, dtype, words, settings)
        if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING or not classifies:
            raise ModelError(
                f"{_OPTION}: {name} is a {config.model_type} model that gives no tags; a classifier of "
                "several labels or a SigLIP is needed"
            )
        tags = [str(config.id2label[number]).replace("_", " ") for number in range(config.num_labels)]
        if config.problem_type != "multi_label_classification":
            raise ModelError(
                f"{_OPTION}: {name} chooses one of {len(tags)} labels; one whose config.json says "
                '"problem_type": "multi_label_classification" is needed'
            )
        if words:
            raise ModelError(f"{_OPTION}: {name} has {len(tags)} tags of its own; leave --tag-list out")
        model = loaded(
            name, _OPTION, lambda: AutoModelForImageClassification.from_pretrained(source, **{DTYPE: dtype})
        )
        processor = loaded(name, _OPTION, lambda: AutoImageProcessor.from_pretrained(source))
        return cls(model.to(device), processor, tags, **settings)

    @classmethod
    @torch.inference_mode()
    def _pairing(
        cls, name: str, source: str, device: str, dtype: torch.dtype, words: Sequence[str], settings: Any
    ) -> TransformersTagger:
        model = loaded(name, _OPTION, lambda: AutoModel.from_pretrained(source, **{DTYPE: dtype}))
        model = model.to(device).eval()
        tokenizer = loaded(name, _OPTION, lambda: AutoTokenizer.from_pretrained(source))
        processor = loaded(name, _OPTION, lambda: AutoImageProcessor.from_pretrained(source))
        length = model.config.text_config.max_position_embeddings
        made: list[Tensor] = []
        for first in range(0, len(words), _TEXTS):
            questions = [_QUESTION.format(word) for word in words[first : first + _TEXTS]]
            # Filled up to the full length, as these models were trained; nothing marks the padding.
            read = tokenizer(
                questions, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            )
            made.append(_features(model.get_text_features(input_ids=read["input_ids"].to(device))))
        return cls(model, processor, words, torch.cat(made), **settings)

    def tag(self, pictures: Sequence[Image]) -> list[tuple[str, ...]]:
        """The tags of each picture."""
        found: list[tuple[str, ...]] = []
        for first in range(0, len(pictures), self.batch):
            found += map(self._chosen, self.probabilities(pictures[first : first + self.batch]))
        return found

    @torch.inference_mode()
    def probabilities(self, pictures: Sequence[Image]) -> Tensor:
        """The probability of each tag for each picture: (pictures, tags)."""
        inputs = self.processor(images=list(pictures), return_tensors="pt")
        inputs = inputs.to(self.model.device, self.model.dtype)
        if self.texts is None:
            return self.model(**inputs).logits.float().sigmoid()
        similarity = _features(self.model.get_image_features(**inputs)) @ self.texts.t()
        scale, bias = self.model.logit_scale.float().exp(), self.model.logit_bias.float()
        return (similarity * scale + bias).sigmoid()

    def _chosen(self, probabilities: Tensor) -> tuple[str, ...]:
        likeliest = probabilities.argsort(descending=True, stable=True)[: self.most].tolist()
        return tuple(self.tags[one] for one in likeliest if probabilities[one] >= self.threshold)


def _features(found: Any) -> Tensor:
    """Features of length one; newer versions of the library give them inside an output."""
    return F.normalize((found if isinstance(found, Tensor) else found.pooler_output).float(), dim=-1)
