"""Captions by a vision-language model of the transformers library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from .interfaces import ModelError
from .loading import DTYPE, find_model, loaded

# The questions to a model with a chat template. Those that IFAdapter's authors asked are not published.
PICTURE_PROMPT = (
    "Describe this picture in one sentence. Name the things in it, and nothing that is not in it."
)
INSTANCE_PROMPT = (
    "This is a part of a picture that shows: {word}. Describe it in one short phrase: what it is, its "
    "colours, material, pattern and other details. Leave out the background."
)
# Longest caption in tokens: CLIP, whose features the captions become in training, reads 75.
MOST_TOKENS = 75


class TransformersCaptioner:
    """A `Captioner` and `QuestionAnswerer`: any model that makes text of a picture and a text.

    With a chat template it is asked `picture_prompt` and `instance_prompt`, in which "{word}" stands for what
    the detector found. Without one, as BLIP, prompts are the beginning of the caption, by default empty.
    Captions are the likeliest by the model's own settings, never drawn at random.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        picture_prompt: str | None = None,
        instance_prompt: str | None = None,
        most_tokens: int = MOST_TOKENS,
        batch: int = 1,
    ) -> None:
        self.model, self.processor = model.eval().requires_grad_(False), processor
        self.chats = bool(getattr(processor, "chat_template", None))
        defaults = (PICTURE_PROMPT, INSTANCE_PROMPT) if self.chats else ("", "")
        self.picture_prompt = defaults[0] if picture_prompt is None else picture_prompt
        self.instance_prompt = defaults[1] if instance_prompt is None else instance_prompt
        self.most_tokens, self.batch = most_tokens, batch
        if self.chats:
            # Padding goes before the questions of a batch, since the answer continues the end of its row.
            processor.tokenizer.padding_side = "left"
            if processor.tokenizer.pad_token is None:
                processor.tokenizer.pad_token = processor.tokenizer.eos_token

    @classmethod
    def load(
        cls,
        name: str,
        device: str = "cpu",
        dtype: torch.dtype | str = torch.float32,
        *,
        option: str = "--vlm",
        **settings: Any,
    ) -> TransformersCaptioner:
        """Read a folder or fetch a name from the hub; `ModelError` for what is not there or no such model.

        dtype "auto" is that of the file; `option` is what the user named the model by, for errors.
        """
        source = find_model(name, option)
        config = loaded(name, option, lambda: AutoConfig.from_pretrained(source))
        if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            raise ModelError(
                f"{option}: {name} is a {config.model_type} model, which makes no text of pictures; a BLIP, "
                "or one that transformers lists as image-text-to-text, is needed"
            )
        model = loaded(
            name, option, lambda: AutoModelForImageTextToText.from_pretrained(source, **{DTYPE: dtype})
        )
        processor = loaded(name, option, lambda: AutoProcessor.from_pretrained(source))
        return cls(model.to(device), processor, **settings)

    def caption_pictures(self, pictures: Sequence[Image]) -> list[str]:
        """A caption for each whole picture."""
        return self._caption(pictures, [self.picture_prompt] * len(pictures))

    def caption_instances(self, crops: Sequence[Image], words: Sequence[str]) -> list[str]:
        """A caption for each thing."""
        return self._caption(crops, [self.instance_prompt.replace("{word}", word) for word in words])

    def answer(self, pictures: Sequence[Image], questions: Sequence[str]) -> list[str]:
        """An answer to each picture's own question, by a model that chats: a `QuestionAnswerer`.

        `ModelError` for one without a chat template, which would only go on with the question.
        """
        if not self.chats:
            raise ModelError(
                "--vlm: this model has no chat template, so that it answers no questions; take one that chats"
            )
        return self._caption(pictures, questions)

    def _caption(self, pictures: Sequence[Image], prompts: Sequence[str]) -> list[str]:
        captions: list[str] = []
        for first in range(0, len(pictures), self.batch):
            some = slice(first, first + self.batch)
            captions += self._generate(pictures[some], prompts[some])
        return captions

    @torch.inference_mode()
    def _generate(self, pictures: Sequence[Image], prompts: Sequence[str]) -> list[str]:
        inputs = self._inputs(pictures, prompts).to(self.model.device, self.model.dtype)
        made = self.model.generate(**inputs, max_new_tokens=self.most_tokens, do_sample=False)
        asked = inputs.get("input_ids") if self.chats else None
        # Some models give the question back before the answer; the caption is the answer alone.
        if asked is not None and torch.equal(made[:, : asked.shape[1]], asked):
            made = made[:, asked.shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(made, skip_special_tokens=True)]

    def _inputs(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Any:
        if not self.chats:
            texts = {"text": list(prompts), "padding": True} if any(prompts) else {}
            return self.processor(images=list(pictures), return_tensors="pt", **texts)
        questions = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
            for prompt in prompts
        ]
        texts = self.processor.apply_chat_template(questions, add_generation_prompt=True, tokenize=False)
        start = self.processor.tokenizer.bos_token
        return self.processor(
            images=[[picture] for picture in pictures],
            text=texts,
            padding=True,
            return_tensors="pt",
            # A template that writes the token of the beginning itself must not get a second one.
            add_special_tokens=not (start and texts[0].startswith(start)),
        )
