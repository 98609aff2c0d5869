"""Training of a vision tower to see what lies in every patch of a picture of Shapes World.

Preferences say one bit a pair, too little for fresh weights to learn colours, patterns and outlines from.
The published reward models start from BLIP for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor, nn

from ...models.rewards import RewardModel, prepare_pictures
from ...shapes_world import BACKGROUNDS, Sample, ShapesWorld
from ..data.patches import IGNORED, PATCH_WORDS, patch_labels
from ..data.pictures import save_grid
from ..engine.order import sample_numbers
from ..engine.task import BatchPosition, Task

_COUNT = 3000
_MOST = 8


class PatchObjective(nn.Module):
    """Cross-entropy of shape, colour and pattern in each patch, and of background and number of things."""

    def __init__(self, model: RewardModel) -> None:
        super().__init__()
        self.vision: Any = model.vision
        width = model.config.vision_width
        self.patch_heads = nn.ModuleDict({k: nn.Linear(width, len(v) + 1) for k, v in PATCH_WORDS.items()})
        self.picture_heads = nn.ModuleDict(
            {"background": nn.Linear(width, len(BACKGROUNDS)), "count": nn.Linear(width, _MOST)}
        )

    def forward(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """batch: pixels (B, 3, side, side), labels of patches (B, patches) and of pictures (B,)."""
        seen = self.vision(batch["pixels"]).last_hidden_state
        losses = {
            name: F.cross_entropy(
                head(seen[:, 1:]).flatten(0, 1), batch[name].flatten(), ignore_index=IGNORED
            )
            for name, head in self.patch_heads.items()
        }
        losses |= {
            name: 0.2 * F.cross_entropy(head(seen[:, 0]), batch[name])
            for name, head in self.picture_heads.items()
        }
        return {"loss": torch.stack([*losses.values()]).sum(), **losses}


class PatchTask(Task[PatchObjective]):
    """The vision tower of a reward model, trained on pictures whose every patch is known."""

    def __init__(self, model: RewardModel, world: ShapesWorld) -> None:
        self.model, self.world = model, world
        self.objective = PatchObjective(model.requires_grad_(True))
        self._grid = model.config.image_size // model.config.patch_size

    def batch(self, position: BatchPosition, size: int, seed: int) -> dict[str, Tensor]:
        """`size` pictures and the labels of their patches."""
        samples = [_painted(self.world, n) for n in sample_numbers(_COUNT, size, position.number, seed)]
        labels = [self._labels(sample) for sample in samples]
        pictures = [Image.fromarray(sample.image) for sample in samples]
        return {
            "pixels": prepare_pictures(pictures, self.model.config.image_size),
            **{name: torch.from_numpy(np.stack([one[name] for one in labels])) for name in labels[0]},
        }

    @property
    def samples(self) -> int:
        return _COUNT

    def account(self) -> Iterable[str]:
        yield f"pictures: {_COUNT} of {self.world.width} × {self.world.height} from Shapes World"

    def describe(self) -> dict[str, Any]:
        return {"task": "patches", "seed": self.world.seed, "size": [self.world.width, self.world.height]}

    def sample(self, path: Path) -> None:
        """Four pictures, and the patches in which shape, colour and pattern were all read right."""
        samples = [self.world[_COUNT + number] for number in range(4)]
        pictures = [Image.fromarray(sample.image) for sample in samples]
        device = next(self.objective.parameters()).device
        pixels = prepare_pictures(pictures, self.model.config.image_size).to(device)
        seen = self.objective.vision(pixels).last_hidden_state[:, 1:]
        right = np.ones((len(samples), self._grid**2), dtype=bool)
        for name, head in self.objective.patch_heads.items():
            read = head(seen).argmax(dim=-1).cpu().numpy()
            truth = np.stack([self._labels(sample)[name] for sample in samples])
            right &= (read == truth) | (truth == IGNORED)
        cells = np.kron(right.reshape(-1, self._grid, self._grid), np.ones((1, 16, 16))) * 255
        side = cells.shape[-1]
        shown = [np.asarray(picture.resize((side, side))) for picture in pictures]
        save_grid(
            np.stack([*shown, *np.repeat(cells[..., None], 3, axis=-1).astype(np.uint8)]), len(samples), path
        )

    def export(self, folder: Path) -> None:
        """The reward model with what its vision tower has learnt, and words that mean what it sees."""
        folder.mkdir(parents=True, exist_ok=True)
        self._name_words()
        self.model.save(folder / "reward.safetensors")

    @torch.no_grad()
    def _name_words(self) -> None:
        """Give each word the direction by which its meaning is told in patches.

        As contrastive pretraining does for BLIP: attention of words to patches begins where it has a meaning.
        """
        table = self.model.text.embeddings.word_embeddings.weight
        ids = {word: number for number, word in enumerate(self.model.metadata["words"])}
        heads: list[tuple[Any, tuple[str, ...]]]
        heads = [(head, PATCH_WORDS[name]) for name, head in self.objective.patch_heads.items()]
        heads.append((self.objective.picture_heads["background"], tuple(BACKGROUNDS)))
        for head, words in heads:
            directions = head.weight - head.weight.mean(dim=0)
            for direction, word in zip(directions, words, strict=False):
                if word in ids:
                    # As long as a layer norm leaves it.
                    table[ids[word]] = F.normalize(direction, dim=0) * len(direction) ** 0.5

    def _labels(self, sample: Sample) -> dict[str, np.ndarray]:
        figures = sample.scene.figures
        labels = {
            name: words.flatten()
            for name, words in patch_labels(sample.masks, [f.look for f in figures], self._grid).items()
        }
        labels["background"] = np.array(list(BACKGROUNDS).index(sample.scene.background), dtype=np.int64)
        labels["count"] = np.array(len(figures) - 1, dtype=np.int64)
        return labels


@lru_cache(maxsize=_COUNT)
def _painted(world: ShapesWorld, number: int) -> Sample:
    """Painting takes longer than learning from it, and pictures come again every epoch."""
    return world[number]
