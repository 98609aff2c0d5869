"""Objective of a captioner: the likelihood of captions given their pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ...shapes_world import Phrase, join
from ...shapes_world.exchange import exchange_attributes
from ...shapes_world.preferences import describe_phrase
from ..data.patches import IGNORED, PATCH_WORDS, patch_labels
from ..data.pictures import save_grid
from ..engine.checkpoint import write_whole
from ..engine.order import sample_numbers
from ..engine.settings import Settings
from ..engine.task import BatchPosition, Task
from .model import save_captioner
from .pictures import Captioned, OfModel, Source

# Half of the captions that could name a size do, as those of the world.
_SIZED = 0.5
_EXAMPLES, _COLUMNS = 8, 4
_VALIDATION_SEED = 5
_TOGETHER = 25


class CaptionerObjective(nn.Module):
    """Cross-entropy of each next word of a caption, and of the words that name each patch of the picture.

    The second is what fresh weights learn to see from: a caption says what there is, not where. A patch is
    named by the text tower's own word embeddings, the likeliest being the most alike, so that words have the
    directions of what they mean before attention looks for it. `nothing` is what is alike where no thing is.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        self.ids = {k: tokenizer.convert_tokens_to_ids(list(words)) for k, words in PATCH_WORDS.items()}
        self.nothing = nn.Parameter(torch.zeros(model.config.vision_config.hidden_size))

    def forward(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """batch: see `CaptionerTask.batch`."""
        seen = self.model.vision_model(pixel_values=batch["pixels"]).last_hidden_state
        words = self._errors(seen, batch["input_ids"], batch["attention_mask"])
        patches = torch.stack(
            [
                F.cross_entropy(
                    self.name(seen[:, 1:], kind).flatten(0, 1), batch[kind].flatten(), ignore_index=IGNORED
                )
                for kind in PATCH_WORDS
            ]
        ).sum()
        caption = words.sum() / batch["attention_mask"][:, 1:].sum()
        return {"loss": caption + patches, "caption": caption.detach(), "patches": patches.detach()}

    def name(self, patches: Tensor, kind: str) -> Tensor:
        """Logits (B, P, words and nothing) of a kind's words for patches (B, P, width)."""
        embeddings = self.model.text_decoder.get_input_embeddings().weight[self.ids[kind]]
        choices = torch.cat((embeddings, self.nothing[None]))
        # Both are about as long as the root of their width; the root of that leaves room to be sure.
        return patches @ choices.T / choices.shape[1] ** 0.25

    def errors(self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Minus the log-likelihood (B,) of captions given pictures, summed over their words and the end."""
        seen = self.model.vision_model(pixel_values=pixels).last_hidden_state
        return self._errors(seen, input_ids, attention_mask).sum(dim=1)

    def _errors(self, seen: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Of each word (B, T - 1), 0 for padding."""
        logits = self.model.text_decoder(
            input_ids=input_ids, attention_mask=attention_mask, encoder_hidden_states=seen
        ).logits
        known = attention_mask[:, 1:].bool()
        targets = input_ids[:, 1:].masked_fill(~known, IGNORED)
        return F.cross_entropy(
            logits[:, :-1].transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
        )


class CaptionerTask(Task[CaptionerObjective]):
    """A captioner, the pictures it learns from, and those it is measured on.

    `turns` are sources in the order in which the pictures of a batch are taken from them, over and over; a
    source may come several times. `held_out` are measured by name. `of_model` are those of them that a model
    makes, and `rests_on` what must not change besides.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        turns: Sequence[Source],
        held_out: Mapping[str, Source],
        of_model: OfModel | None = None,
        rests_on: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.processor = model, processor
        self.of_model, self._rests_on = of_model, rests_on or {}
        self.turns, self.held_out = list(turns), dict(held_out)
        self.objective = CaptionerObjective(model, processor.tokenizer)
        vision = model.config.vision_config
        self._grid = vision.image_size // vision.patch_size

    def batch(self, position: BatchPosition, size: int, seed: int) -> dict[str, Tensor]:
        """`size` pictures, some mirrored, with captions that name their things in any order.

        pixels (B, 3, side, side); input_ids and attention_mask (B, T); labels of patches (B, grid, grid).
        """
        random = np.random.default_rng([seed, position.number])
        pictures: list[Captioned] = []
        for source in {id(source): source for source in self.turns}.values():
            own = sum(self.turns[place % len(self.turns)] is source for place in range(size))
            numbers = sample_numbers(len(source), own, position.number, seed) if own else []
            pictures += [source[number] for number in numbers]
        pictures = [_mirrored(one) if random.random() < 0.5 else one for one in pictures]
        return self._collate(pictures, random)

    def _collate(self, pictures: Sequence[Captioned], random: np.random.Generator) -> dict[str, Tensor]:
        labels = [patch_labels(one.masks, [p.look for p in one.phrases], self._grid) for one in pictures]
        return {
            **self._read([one.image for one in pictures], [_caption(random, one) for one in pictures]),
            **{name: torch.from_numpy(np.stack([one[name] for one in labels])) for name in PATCH_WORDS},
        }

    @property
    def samples(self) -> int:
        return sum(len(source) for source in {id(source): source for source in self.turns}.values())

    def account(self) -> Iterable[str]:
        """How many pictures of each source there are."""
        if self.of_model is not None:
            yield from self.of_model.account()
        own = {id(source): len(source) for source in self.turns}
        yield f"pictures: {' and '.join(map(str, own.values()))}, painted ones first"
        yield "measured on: " + ", ".join(f"{len(one)} of {name}" for name, one in self.held_out.items())

    @property
    def held_out_count(self) -> int:
        return len(next(iter(self.held_out.values())))

    def validation_batches(self, size: int) -> Sequence[dict[str, Tensor]]:
        """The pictures of the first held-out source, with captions that are always the same."""
        source = next(iter(self.held_out.values()))
        random = np.random.default_rng(_VALIDATION_SEED)
        return [
            self._collate([source[n] for n in range(first, min(first + size, len(source)))], random)
            for first in range(0, len(source), size)
        ]

    def prepare(self) -> None:
        """Have the model's pictures made."""
        if self.of_model is not None:
            self.of_model.prepare()

    def before(self, settings: Settings, device: torch.device) -> float | None:
        return 0.0 if self.of_model is None or self.of_model.complete else None

    def rests_on(self) -> Mapping[str, Any]:
        return self._rests_on

    def describe(self) -> dict[str, Any]:
        config = self.model.config
        # How many of the drawn ones have words is known when they are there.
        known = self.of_model is None or self.of_model.complete
        return {
            "task": "captioner",
            "pictures": [len(source) for source in self.turns] if known else None,
            "side": config.vision_config.image_size,
            "width": config.vision_config.hidden_size,
        }

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Held-out pictures, and beside them in a .txt what the captioner says of each, row by row."""
        source = next(iter(self.held_out.values()))
        pictures = [source[number].image for number in range(min(_EXAMPLES, len(source)))]
        pixels = self._read(pictures, [""])["pixels"].to(self._device)
        made = self.model.generate(pixel_values=pixels, max_new_tokens=60, do_sample=False)
        captions = self.processor.batch_decode(made, skip_special_tokens=True)
        path.with_suffix(".txt").write_text("".join(f"{one}\n" for one in captions), encoding="utf-8")
        save_grid(np.stack(pictures), _COLUMNS, path)

    def export(self, folder: Path) -> None:
        """A transformers folder, and `validation.json`: how often it tells held-out captions apart."""
        save_captioner(self.model, self.processor, folder)
        found = {name: self.validate(source) for name, source in self.held_out.items()}
        write_whole(folder / "validation.json", json.dumps(found, indent=1) + "\n")

    @torch.no_grad()
    def validate(self, source: Source) -> dict[str, float]:
        """Share of pictures whose caption is likelier than itself with two attributes exchanged.

        `pairs` is the number of pictures, those with nothing to exchange left out; `nats` the mean
        log-likelihood of the right caption less that of the other.
        """
        random = np.random.default_rng(_VALIDATION_SEED)
        pairs = []
        for number in range(len(source)):
            image, _, phrases, background = source[number]
            other = exchange_attributes(random, phrases)
            if other is not None:
                pairs.append(
                    (image, *(join([*map(describe_phrase, p)], background) for p in (phrases, other)))
                )
        margins: list[Tensor] = []
        for first in range(0, len(pairs), _TOGETHER):
            images, right, wrong = zip(*pairs[first : first + _TOGETHER], strict=True)
            read = self._read([*images, *images], [*right, *wrong])
            errors = self.objective.errors(**{key: value.to(self._device) for key, value in read.items()})
            right_errors, wrong_errors = errors.cpu().chunk(2)
            margins.append(wrong_errors - right_errors)
        if not margins:
            return {"pairs": 0}
        margin = torch.cat(margins)
        share = float((margin > 0).float().mean())
        return {"pairs": len(margin), "accuracy": round(share, 4), "nats": round(float(margin.mean()), 3)}

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _read(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> dict[str, Tensor]:
        """Pictures (height, width, 3) of one size and captions as the processor reads them, unrounded."""
        reader = self.processor.image_processor
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        side = self.model.config.vision_config.image_size
        if pixels.shape[-2:] != (side, side):
            pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (reader.image_mean, reader.image_std))
        text = self.processor.tokenizer(list(captions), padding=True, return_tensors="pt")
        return {
            "pixels": (pixels - mean) / deviation,
            "input_ids": text["input_ids"],
            "attention_mask": text["attention_mask"],
        }


def _caption(random: np.random.Generator, one: Captioned) -> str:
    """A caption that names the things in any order, and some of their sizes."""
    order = [int(n) for n in random.permutation(len(one.phrases))]
    phrases = (one.phrases[n] if random.random() < _SIZED else _unsized(one.phrases[n]) for n in order)
    return join([describe_phrase(phrase) for phrase in phrases], one.background)


def _unsized(phrase: Phrase) -> Phrase:
    return phrase._replace(size="")


def _mirrored(one: Captioned) -> Captioned:
    """Left and right exchanged, of which captions say nothing."""
    return one._replace(image=one.image[:, ::-1], masks=one.masks[:, :, ::-1])
