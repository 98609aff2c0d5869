"""Vision-language models that chat (LLaVA, Qwen-VL) as captioners that score an answer.

The model's own processor makes the question, with the places of the picture in it; the picture itself comes
to the model from the differentiable pixels instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from ...comat.concept_matching import IGNORED, Likelihood, likelihood_of
from .pixels import Preparation, normalise, resize
from .scorer import CaptionScorer

QUESTION = "Describe this picture in one sentence."


class ChatScorer(CaptionScorer):
    """The likelihood of a caption as the answer to a question about the picture, its end included."""

    def __init__(self, model: Any, processor: Any, pixels: Any, question: str = QUESTION) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.processor, self.pixels, self.question = processor, pixels, question

    def likelihood(self, pictures: Tensor, captions: Sequence[str]) -> Likelihood:
        asked = self._asked(pictures.shape[-2], pictures.shape[-1])
        device = pictures.device
        prompt = asked.pop("input_ids")[0]
        answers = [self._answer(caption) for caption in captions]
        answered = pad_sequence(answers, batch_first=True, padding_value=IGNORED)
        length = answered.shape[1]
        filler = self.processor.tokenizer.pad_token_id or 0
        ids = torch.cat((prompt.expand(len(captions), -1), answered.masked_fill(answered < 0, filler)), 1)
        labels = torch.cat((torch.full((len(captions), len(prompt)), IGNORED), answered), 1)
        inputs = {"input_ids": ids, "attention_mask": pad(torch.ones_like(labels[:, :-length]), (0, length))}
        inputs["attention_mask"][:, -length:] = (answered >= 0).long()
        asked.pop("attention_mask", None)
        for name, value in asked.items():
            if name == "pixel_values":
                continue
            # What there is for each token of the question (kinds of tokens) is 0 for the answer's.
            if value.shape == (1, len(prompt)):
                value = pad(value, (0, length))
            inputs[name] = value.repeat(len(captions), *[1] * (value.ndim - 1))
        values = self.pixels(pictures).to(self.model.dtype)
        found = self.model(
            **{name: value.to(device) for name, value in inputs.items()},
            pixel_values=values,
            use_cache=False,
            return_dict=True,
        )
        return likelihood_of(found.logits[:, -length - 1 :], labels.to(device)[:, -length - 1 :])

    def _asked(self, height: int, width: int) -> dict[str, Tensor]:
        """The question about a picture of this size, as the processor prepares it."""
        content = [{"type": "image"}, {"type": "text", "text": self.question}]
        question = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
        start = self.processor.tokenizer.bos_token
        found = self.processor(
            images=[Image.new("RGB", (width, height))],
            text=[text],
            return_tensors="pt",
            # A template that writes the token of the beginning itself must not get a second one.
            add_special_tokens=not (start and text.startswith(start)),
        )
        return dict(found)

    def _answer(self, caption: str) -> Tensor:
        tokenizer = self.processor.tokenizer
        ids = tokenizer(caption.strip(), add_special_tokens=False)["input_ids"]
        return torch.tensor([*ids, tokenizer.eos_token_id])


class LlavaPixels:
    """Pictures as LLaVA's processor prepares them: CLIP's way."""

    def __init__(self, processor: Any, option: str) -> None:
        self.prepare = Preparation.of(processor.image_processor, option)

    def __call__(self, pictures: Tensor) -> Tensor:
        return self.prepare(pictures)


class QwenPixels:
    """Pictures as Qwen-VL's processor prepares them: sides at multiples of merged patches, within limits of
    the area, cut into patches that come in the order of their merging.
    """

    def __init__(self, processor: Any) -> None:
        self.processor: Any = processor.image_processor

    def __call__(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) -> (patches of all pictures, channels * time * side * side)."""
        one = self.processor
        patch, merge, time = one.patch_size, one.merge_size, one.temporal_patch_size
        height, width = self._size(pictures.shape[-2], pictures.shape[-1], patch * merge)
        values = resize(pictures, (height, width))
        values = normalise(values, tuple(one.image_mean), tuple(one.image_std))
        rows, columns = height // (patch * merge), width // (patch * merge)
        values = values.unflatten(-2, (rows, merge, patch)).unflatten(-1, (columns, merge, patch))
        # (B, C, rows, merge, patch, columns, merge, patch): neighbours that are merged stand together.
        values = values.permute(0, 2, 5, 3, 6, 1, 4, 7)
        # A picture is a film of the same frame, as many times as a patch is long.
        values = values[:, :, :, :, :, :, None].expand(*values.shape[:6], time, *values.shape[6:])
        return values.flatten(5).flatten(0, 4)

    def _size(self, height: int, width: int, multiple: int) -> tuple[int, int]:
        """The processor's own rule, asked with a picture of this size."""
        found = self.processor(images=[Image.new("RGB", (width, height))], return_tensors="pt")
        _, rows, columns = found["image_grid_thw"][0].tolist()
        patch: int = self.processor.patch_size
        return rows * patch, columns * patch
