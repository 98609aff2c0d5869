"""A run of CoMat's training on tiny models, with a function for a captioner and one for masks.

`comat_run.py MODEL FOLDER ACCUMULATE STEPS …` trains to each of these numbers of steps, in as many processes
as it is started in, continuing from the number before.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from instance_composer.models.vision.likelihood import FunctionScorer
from instance_composer.training.comat.options import COMAT_SETTINGS, CoMatRun
from instance_composer.training.comat.run import train_comat
from instance_composer.training.engine.settings import read_settings

PROMPTS = "a red cat and a blue dog\na red dog\na picture of this\na blue light\na green bird\n"
CHANGES: dict[str, Any] = {
    "steps": 2, "batch": 2, "learning_rate": 1e-3, "every_log": 1, "every_sample": 0, "every_checkpoint": 1,
}  # fmt: skip


class LeftHalf:
    """The left half of a picture is the mask of its first noun; the others are not there."""

    def masks(self, pictures, nouns):
        found = []
        for words in nouns:
            masks = torch.zeros(len(words), *pictures.shape[-2:], dtype=torch.bool)
            masks[:1, :, : pictures.shape[-1] // 2] = True
            found.append(masks)
        return found


def brightness(pictures, captions):
    """Likes what is dark, more so the longer a caption is."""
    lengths = torch.tensor([float(len(one)) for one in captions], device=pictures.device)
    return lengths * pictures.square().mean((1, 2, 3))


def options(model: Path, folder: Path, **changes: Any) -> CoMatRun:
    folder.mkdir(parents=True, exist_ok=True)
    prompts = folder / "prompts.txt"
    prompts.write_text(PROMPTS)
    values = {
        "model": model, "prompts": prompts, "size": (64, 64), "rank": 2,
        "sampling_steps": 3, "gradient_steps": 2,
    }  # fmt: skip
    return CoMatRun(**{**values, **changes})


def train(model: Path, folder: Path, settings: dict[str, Any] | None = None, **changes: Any) -> None:
    train_comat(
        options(model, folder, **changes),
        read_settings({**CHANGES, **(settings or {})}, COMAT_SETTINGS),
        folder,
        FunctionScorer(brightness),
        LeftHalf(),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    model, folder, accumulate, *ends = sys.argv[1:]
    for end in ends:
        train(Path(model), Path(folder), {"steps": int(end), "accumulate": int(accumulate)})
