"""Questions about pictures by BLIP (arXiv 2201.12086), as a probability of yes against no."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, islice
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import AutoConfig, AutoProcessor, BlipForQuestionAnswering

from .interfaces import ModelError
from .loading import DTYPE, find_model, loaded

# Side in pixels at which BLIP's authors look at pictures for questions; the aspect is not kept.
SIDE = 480
MOST_TOKENS = 35
_OPTION = "--blip-vqa"


class BlipYesScorer:
    """A `YesScorer`: how likely the first word of the answer is yes, of the two words yes and no.

    As T2I-CompBench's BLIP-VQA asks: pictures of 480 × 480 pixels, bicubic, questions of at most 35 tokens
    whose first is the encoder's own.
    """

    def __init__(self, model: Any, processor: Any, side: int = SIDE, batch: int = 1) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.side, self.batch = processor.tokenizer, side, batch
        self._mean, self._std = (
            torch.tensor(values)[:, None, None]
            for values in (processor.image_processor.image_mean, processor.image_processor.image_std)
        )
        unknown = self.tokenizer.unk_token_id
        self._words = self.tokenizer.convert_tokens_to_ids(["yes", "no"])
        if unknown in self._words:
            raise ModelError(f"{_OPTION}: its tokenizer has no word yes or no; BERT's uncased one has")
        # The two words that BLIP adds after BERT's vocabulary: of the decoder, then of the encoder.
        self._decoder_start = self.model.config.text_config.bos_token_id
        self._encoder_start = self.model.config.text_config.vocab_size - 1

    @classmethod
    def load(
        cls, name: str, device: str = "cpu", dtype: torch.dtype = torch.float32, **settings: Any
    ) -> BlipYesScorer:
        """Read a folder or fetch a name from the hub; `ModelError` for what is not there or no such model."""
        source = find_model(name, _OPTION)
        config = loaded(name, _OPTION, lambda: AutoConfig.from_pretrained(source))
        architectures = config.architectures or []
        if config.model_type != "blip" or BlipForQuestionAnswering.__name__ not in architectures:
            raise ModelError(
                f"{_OPTION}: {name} is no BLIP for questions; Salesforce/blip-vqa-capfilt-large is one"
            )
        kind: Any = BlipForQuestionAnswering
        model = loaded(name, _OPTION, lambda: kind.from_pretrained(source, **{DTYPE: dtype}))
        processor = loaded(name, _OPTION, lambda: AutoProcessor.from_pretrained(source))
        return cls(model.to(device), processor, **settings)

    def yes(self, pictures: Sequence[Image], questions: Sequence[str]) -> list[float]:
        """A probability for each picture's own question."""
        found = [0.0] * len(pictures)
        asked = [self._tokens(question) for question in questions]
        # Questions of one length run together: what fills up shorter ones would change their answer.
        order = sorted(range(len(asked)), key=lambda index: len(asked[index]))
        for _, same in groupby(order, key=lambda index: len(asked[index])):
            while some := list(islice(same, self.batch)):
                values = self._yes([pictures[index] for index in some], [asked[index] for index in some])
                for index, value in zip(some, values, strict=True):
                    found[index] = value
        return found

    def _tokens(self, question: str) -> list[int]:
        ids = self.tokenizer(question, truncation=True, max_length=MOST_TOKENS)["input_ids"]
        return [self._encoder_start, *ids[1:]]

    @torch.inference_mode()
    def _yes(self, pictures: Sequence[Image], questions: Sequence[Sequence[int]]) -> list[float]:
        device, dtype = self.model.device, self.model.dtype
        pixels = torch.stack([self._pixels(picture) for picture in pictures]).to(device, dtype)
        asked = torch.tensor(questions, device=device)
        seen = self.model.vision_model(pixel_values=pixels, interpolate_pos_encoding=True)[0]
        question = self.model.text_encoder(
            input_ids=asked,
            attention_mask=torch.ones_like(asked),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:-1], dtype=torch.long, device=device),
            return_dict=False,
        )[0]
        start = torch.full((len(question), 1), self._decoder_start, device=device)
        logits = self.model.text_decoder(
            input_ids=start,
            encoder_hidden_states=question,
            encoder_attention_mask=torch.ones_like(asked),
            return_dict=True,
        ).logits[:, 0]
        return logits[:, self._words].float().softmax(dim=-1)[:, 0].tolist()

    def _pixels(self, picture: Image) -> Tensor:
        resized = picture.resize((self.side, self.side), resample=3)  # Pillow's number of bicubic
        values = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
        pixels = values.view(self.side, self.side, 3).permute(2, 0, 1).float() / 255
        return (pixels - self._mean) / self._std
