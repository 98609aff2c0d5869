"""What reward models say of a gallery's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from ...models.rewards import RewardModel, find_tokenizer, prepare_pictures
from ...pictures.reading import read_picture
from ...rankings.gallery import Prompt
from ...rankings.pictures import picture_file

_BATCH = 16

# (member, number of the prompt)
Shown = tuple[str, int]


def scores(
    run: Path, reward: Path, prompts: Sequence[Prompt], members: Mapping[int, Sequence[str]]
) -> dict[Shown, float]:
    """Normalised rewards by member and number of one aspect's prompts; `members` are those of each number."""
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    device = state.device or torch.device("cpu")
    model = RewardModel.load(reward).to(device)
    config = model.config
    tokenizer = find_tokenizer(reward, model.metadata, config.vocabulary, config.tokens)
    asked = [(member, prompt) for prompt in prompts for member in members.get(prompt.number, ())]
    found: dict[Shown, float] = {}
    for first in range(0, len(asked), _BATCH):
        some = asked[first : first + _BATCH]
        pictures = [read_picture(picture_file(run, member, prompt)) for member, prompt in some]
        words = tokenizer([prompt.text for _, prompt in some])
        pixels = prepare_pictures(pictures, config.image_size).to(device)
        with torch.no_grad():
            values = model.score(pixels, words.input_ids.to(device), words.attention_mask.to(device))
        keys = ((member, prompt.number) for member, prompt in some)
        found |= dict(zip(keys, values.tolist(), strict=True))
    return found
