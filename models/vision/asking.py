"""A vision-language model that is asked a question of yes or no about pictures."""

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

_OPTION = "--judge"
# Words that an answer may begin with; their tokens' probabilities add up.
_YES, _NO = ("Yes", "yes", " Yes", " yes"), ("No", "no", " No", " no")


class YesNoModel:
    """The probability that a chat model's answer begins with yes and not with no."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model.eval().requires_grad_(False), processor
        yes, no = (self._tokens(words) for words in (_YES, _NO))
        # Tokenizers of Llama-2's form make of " Yes" and of " No" a mark of the space that both begin with.
        self._yes, self._no = sorted(yes - no), sorted(no - yes)
        if not self._yes or not self._no:
            raise ModelError(f"{_OPTION}: the model's tokenizer does not tell yes from no; choose another")

    @classmethod
    def load(cls, name: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> YesNoModel:
        """Read a folder or fetch a name from the hub; `ModelError` for what is not there or does not chat."""
        source = find_model(name, _OPTION)
        config = loaded(name, _OPTION, lambda: AutoConfig.from_pretrained(source))
        processor = loaded(name, _OPTION, lambda: AutoProcessor.from_pretrained(source))
        known = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        if not known or not getattr(processor, "chat_template", None):
            raise ModelError(
                f"{_OPTION}: {name} is a {config.model_type} model that cannot be asked a question about a "
                "picture; a vision-language model with a chat template is needed, such as LLaVA or Qwen-VL"
            )
        model = loaded(
            name, _OPTION, lambda: AutoModelForImageTextToText.from_pretrained(source, **{DTYPE: dtype})
        )
        return cls(model.to(device), processor)

    @torch.inference_mode()
    def ask(self, picture: Image, question: str) -> float:
        """The probability of yes, given that the answer is yes or no."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        message = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        start = self.processor.tokenizer.bos_token
        inputs = self.processor(
            images=[picture.convert("RGB")],
            text=[text],
            return_tensors="pt",
            # A template that writes the token of the beginning itself must not get a second one.
            add_special_tokens=not (start and text.startswith(start)),
        ).to(self.model.device, self.model.dtype)
        following = self.model(**inputs).logits[0, -1].float()
        # Not by the probabilities among all words, which may both be too small to be told from 0.
        yes, no = (following[tokens].logsumexp(0) for tokens in (self._yes, self._no))
        return float((yes - no).sigmoid())

    def _tokens(self, words: Sequence[str]) -> set[int]:
        """The first token of each word, unless it is the unknown one."""
        tokenizer = self.processor.tokenizer
        ids = (tokenizer(word, add_special_tokens=False)["input_ids"] for word in words)
        return {one[0] for one in ids if one and one[0] != tokenizer.unk_token_id}
