"""What reward models say of a gallery's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ...models.rewards import RewardModel, find_tokenizer, prepare_pictures
from ...pictures.reading import read_picture
from ...rankings.gallery import Prompt
from ...rankings.pictures import picture_file
from ..engine.processes import this_process

_BATCH = 16

# (member, number of the prompt)
Shown = tuple[str, int]


def scores(
    run: Path, reward: Path, prompts: Sequence[Prompt], members: Mapping[int, Sequence[str]]
) -> dict[Shown, float]:
    """Normalised rewards by member and number of one aspect's prompts; `members` are those of each number."""
    asked = [(member, prompt) for prompt in prompts for member in members.get(prompt.number, ())]
    files = [(picture_file(run, member, prompt), prompt.text) for member, prompt in asked]
    keys = [(member, prompt.number) for member, prompt in asked]
    return dict(zip(keys, score_pictures(reward, files), strict=True))


def score_pictures(reward: Path, pictures: Sequence[tuple[Path, str]]) -> list[float]:
    """Normalised rewards of picture files, each with its prompt."""
    device = this_process().device or torch.device("cpu")
    model = RewardModel.load(reward).to(device)
    config = model.config
    tokenizer = find_tokenizer(reward, model.metadata, config.vocabulary, config.tokens)
    found: list[float] = []
    for first in range(0, len(pictures), _BATCH):
        some = pictures[first : first + _BATCH]
        words = tokenizer([text for _, text in some])
        pixels = prepare_pictures([read_picture(file) for file, _ in some], config.image_size).to(device)
        with torch.no_grad():
            values = model.score(pixels, words.input_ids.to(device), words.attention_mask.to(device))
        found += values.tolist()
    return found
