"""Objective of a reward model: the better of two pictures shall have the higher reward."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor, nn

from ...models.rewards import (
    RewardModel,
    RewardTokenizer,
    pair_accuracy,
    pairwise_loss,
    prepare_pictures,
    share_with_error,
)
from ..data.comparisons import Ranked, RankedSource
from ..data.pictures import save_grid
from ..engine.batches import OnDemand
from ..engine.checkpoint import write_whole
from ..engine.fingerprint import of_texts
from ..engine.order import sample_numbers
from ..engine.task import BatchPosition, Task

logger = logging.getLogger("instance_composer")

_EXAMPLES, _EXAMPLE_SIDE = 4, 128
# What the numbers of `validation.json` were measured on.
_HELD_OUT = "held_out"
# Squared errors of places, of which a guess of the middle makes 0.06, weigh as much as words at chance do.
_PLACE_WEIGHT = 10.0


class RewardObjective(nn.Module):
    """The pairwise loss over raw rewards.

    With `words` the text tower also has to tell, at each word, whether it is true of the picture: what fresh
    weights learn the meaning of prompts from, where pairs alone leave them at chance. With `places` it also
    has to tell where the thing is that a word is about: which side one thing is on of another follows from
    that, and from a bit a pair is hardly found.
    """

    def __init__(self, model: RewardModel, words: bool = False, places: bool = False) -> None:
        super().__init__()
        self.model = model
        self.probe = nn.Linear(model.config.text_width, 1) if words else None
        self.locate = nn.Linear(model.config.text_width, 2) if places else None

    def forward(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """batch: see `collate`. Dropout draws from torch's own generator, which a checkpoint keeps.

        A batch without a pair sits out: its loss is 0, and so is its gradient, which is one all the same, as
        processes exchange them. Its accuracy is nan.
        """
        read = self.read(batch)
        rewards = self.model.reward(read)
        aspects = batch["pairs"][:, 0]
        better, worse = (rewards[batch["pairs"][:, n], aspects] for n in (1, 2))
        # Every aspect weighs the same, however many pairs it has.
        losses = [pairwise_loss(better[aspects == n], worse[aspects == n]) for n in aspects.unique()]
        loss = torch.stack(losses).mean() if losses else 0.0 * rewards.sum()
        report = {"loss": loss, "accuracy": pair_accuracy(better, worse).detach()}
        if self.probe is not None:
            truths, said = batch["words"], self.probe(read)[..., 0]
            known = ~truths.isnan()
            words = (
                F.binary_cross_entropy_with_logits(said[known], truths[known])
                if known.any()
                else 0.0 * said.sum()
            )
            report |= {"loss": report["loss"] + words, "pairs": report["loss"].detach(), "words": words}
        if self.locate is not None:
            known, said = ~batch["places"].isnan().any(dim=-1), self.locate(read)
            places = F.mse_loss(said[known], batch["places"][known]) if known.any() else 0.0 * said.sum()
            report |= {"loss": report["loss"] + _PLACE_WEIGHT * places, "places": places.detach()}
        return report

    def read(self, batch: dict[str, Tensor]) -> Tensor:
        """Prompts in sight of pictures (C, T, width); a picture is seen once, however many its prompts."""
        seen = self.model.see(batch["pixels"])[batch["picture"]]
        return self.model.read(seen, batch["input_ids"], batch["attention_mask"])

    def rewards(self, batch: dict[str, Tensor]) -> Tensor:
        """Raw rewards (C, aspects) of all candidates."""
        return self.model.reward(self.read(batch))


def collate(comparisons: Sequence[Ranked], tokenizer: RewardTokenizer, side: int) -> dict[str, Tensor]:
    """Comparisons as tensors: I pictures, C candidates, each a picture with a prompt, and N pairs of those.

    pixels (I, 3, side, side); picture (C,), the picture of each candidate; input_ids and attention_mask
    (C, T); words (C, T) and places (C, T, 2), what is known of each token, else nan; pairs (N, 3): aspect,
    better candidate, worse candidate. Candidates without a pair are left out, but for one where there is no
    pair at all, of which nothing is known: a model has to read something.
    """
    pictures: list[Image.Image] = []
    candidates: dict[tuple[int, str], int] = {}
    words: list[Sequence[float]] = []
    places: list[Sequence[tuple[float, float]]] = []
    pairs: list[tuple[int, int, int]] = []
    for comparison in comparisons:
        for aspect, prompt, *two in comparison.pairs:
            for number in two:
                key = len(pictures) + number, comparison.prompts[prompt]
                if key not in candidates:
                    candidates[key] = len(candidates)
                    words.append(comparison.words.get((prompt, number), ()))
                    places.append(comparison.places.get((prompt, number), ()))
            better, worse = (candidates[len(pictures) + n, comparison.prompts[prompt]] for n in two)
            pairs.append((aspect, better, worse))
        pictures.extend(comparison.pictures)
    if not candidates:
        candidates[0, comparisons[0].prompts[0]] = 0
        words.append(())
        places.append(())
    prompts = tokenizer([prompt for _, prompt in candidates])
    truths = torch.full(prompts.input_ids.shape, math.nan)
    centers = torch.full((*prompts.input_ids.shape, 2), math.nan)
    for table, told in ((truths, words), (centers, places)):
        for row, own in zip(table, told, strict=True):
            # The first token is the start.
            values = torch.tensor(own[: len(row) - 2])
            row[1 : 1 + len(values)] = values.view(-1, *row.shape[1:])
    return {
        "pixels": prepare_pictures(pictures, side),
        "picture": torch.tensor([picture for picture, _ in candidates], dtype=torch.long),
        "input_ids": prompts.input_ids,
        "attention_mask": prompts.attention_mask,
        "words": truths,
        "places": centers,
        "pairs": torch.tensor(pairs, dtype=torch.long).view(-1, 3),
    }


class RewardTask(Task[RewardObjective]):
    """A reward model for one or several aspects, what it is trained on, and what it is chosen by."""

    def __init__(
        self,
        model: RewardModel,
        tokenizer: RewardTokenizer,
        source: RankedSource,
        validation: RankedSource,
        aspects: tuple[str, ...],
        frozen: float = 0.0,
        words: bool = False,
        places: bool = False,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.source, self.validation = source, validation
        self.aspects, self.frozen = aspects, frozen
        self.objective = RewardObjective(model.requires_grad_(True), words, places)
        freeze(model, frozen)

    def batch(self, position: BatchPosition, size: int, seed: int) -> dict[str, Tensor]:
        """`size` comparisons with all their pairs."""
        numbers = sample_numbers(len(self.source), size, position.number, seed)
        return self._collate([self.source[number] for number in numbers])

    @property
    def samples(self) -> int:
        return len(self.source)

    def account(self) -> Iterable[str]:
        yield f"comparisons: {len(self.source)}, and {len(self.validation)} to choose the best model by"
        if self.frozen:
            yield f"the first {self.frozen:.0%} of both towers' layers are not trained"

    @property
    def held_out_count(self) -> int:
        return len(self.validation)

    def validation_batches(self, size: int) -> Sequence[dict[str, Tensor]]:
        """What the best model is chosen by, without comparisons that nobody wins."""
        source = self.validation
        told = [number for number in range(len(source)) if source.has_pair(number)]

        def batch(first: int) -> dict[str, Tensor]:
            return self._collate([source[number] for number in told[first : first + size]])

        return OnDemand(batch, range(0, len(told), size))

    def held_out_mark(self) -> str:
        """The held-out comparisons: a run may go on with others, people's answers since."""
        return of_texts([json.dumps(self.validation.describe(), sort_keys=True)])

    def describe(self) -> dict[str, Any]:
        return {"task": "reward", "data": self.source.describe(), "frozen": self.frozen}

    def sample(self, path: Path) -> None:
        """Pictures of the first held-out prompts, the best by the mean of all aspects on the left."""
        comparisons = [self.validation[n] for n in range(min(_EXAMPLES, len(self.validation)))]
        columns = max(len(comparison.pictures) for comparison in comparisons)
        grid = np.full((len(comparisons), columns, _EXAMPLE_SIDE, _EXAMPLE_SIDE, 3), 255, dtype=np.uint8)
        for row, comparison in zip(grid, comparisons, strict=True):
            # Pairs with the first picture make every picture a candidate, in order.
            pairs = [(0, 0, number, 0) for number in range(len(comparison.pictures))]
            rewards = self._score(self._collate([comparison._replace(pairs=pairs)])).mean(dim=1)
            for place, number in enumerate(rewards.argsort(descending=True).tolist()):
                picture = comparison.pictures[number].resize((_EXAMPLE_SIDE, _EXAMPLE_SIDE))
                row[place] = np.asarray(picture.convert("RGB"))
        save_grid(grid.reshape(-1, *grid.shape[2:]), columns, path)

    def export(self, folder: Path) -> None:
        """Write each aspect's model unless one before had more held-out pairs right, and how good it is."""
        folder.mkdir(parents=True, exist_ok=True)
        line = folder / "validation.json"
        best = json.loads(line.read_text(encoding="utf-8")) if line.is_file() else {}
        held_out = self.held_out_mark()
        # Files of before this was noted are of what is held out now, as far as anybody knows.
        if best and best.get(_HELD_OUT, held_out) != held_out:
            logger.info("other pairs are held out than before: what was best on those is measured anew")
            best = {}
        best[_HELD_OUT] = held_out
        for number, (aspect, found) in enumerate(self.validate().items()):
            if found["accuracy"] >= best.get(aspect, {}).get("accuracy", -1.0):
                best[aspect] = found
                model = self.model.one_aspect(number, {"aspect": aspect}, found["mean"], found["std"])
                model.save(folder / f"{aspect}.safetensors", torch.float16)
        write_whole(line, json.dumps(best, indent=1) + "\n")

    def validate(self) -> dict[str, dict[str, float]]:
        """Per aspect: accuracy on held-out pairs, half its 95 % interval, mean and deviation of rewards."""
        shares: list[list[tuple[int, int]]] = [[] for _ in self.aspects]
        rewards: list[Tensor] = []
        for number in range(len(self.validation)):
            batch = self._collate([self.validation[number]])
            if not len(batch["pairs"]):
                continue
            rewards.append(self._score(batch))
            for aspect, own in enumerate(shares):
                pairs = batch["pairs"][batch["pairs"][:, 0] == aspect]
                better, worse = (rewards[-1][pairs[:, n], aspect] for n in (1, 2))
                own.append((int((better > worse).sum()), len(pairs)))
        spread, middle = torch.std_mean(torch.cat(rewards), dim=0)
        return {
            aspect: _facts(own, float(middle[n]), float(spread[n]))
            for n, (aspect, own) in enumerate(zip(self.aspects, shares, strict=True))
        }

    def _collate(self, comparisons: Sequence[Ranked]) -> dict[str, Tensor]:
        return collate(comparisons, self.tokenizer, self.model.config.image_size)

    @torch.no_grad()
    def _score(self, batch: dict[str, Tensor]) -> Tensor:
        device = next(self.model.parameters()).device
        return self.objective.rewards({key: value.to(device) for key, value in batch.items()}).cpu()


def _facts(shares: Sequence[tuple[int, int]], mean: float, std: float) -> dict[str, float]:
    accuracy, error = share_with_error(shares)
    return {
        "accuracy": round(accuracy, 4),
        "error": round(1.96 * error, 4),
        "pairs": sum(count for _, count in shares),
        "comparisons": len(shares),
        "mean": mean,
        "std": std,
    }


def freeze(model: RewardModel, share: float) -> None:
    """Freeze the embeddings and the first `share` of the layers of both towers; 0 freezes nothing.

    Source: IterComp freezes 0.7, the text tower up to its 8th layer and the vision tower up to its 16th.
    """
    if not share:
        return
    towers = (
        (model.vision.encoder.layers, model.vision.embeddings),
        (model.text.encoder.layer, model.text.embeddings),
    )
    for layers, embeddings in towers:
        for module in (embeddings, *layers[: int(share * len(layers))]):
            module.requires_grad_(False)
