"""Which steps have a gradient: the released code's draws, number for number."""

from __future__ import annotations

import random

import pytest
import torch
from golden_files import REFERENCES, read_facts

from instance_composer.models.comat import draw_schedule, random_crop


@pytest.mark.parametrize("folder", REFERENCES)
def test_draws_are_the_released_codes(folder):
    rows = read_facts(folder / "comat_training" / "schedule.json")["rows"]
    assert len(rows) > 3
    for row in rows:
        numbers = random.Random(row["seed"])
        for wanted in row["iterations"]:
            drawn = draw_schedule(row["total_steps"], row["K"], row["r"], row["resolution"], numbers)
            assert list(drawn.gradient_steps) == wanted["gradient_steps"]
            assert list(drawn.attention_steps) == wanted["attention_steps"]
            assert drawn.offsets == (wanted["row_offset"], wanted["col_offset"])
            side = row["resolution"]
            cut = random_crop(torch.zeros(1, 3, side, side), drawn.offsets)
            assert cut.shape[-2:] == (wanted["crop"], wanted["crop"])


def test_every_step_can_have_a_gradient_and_no_more():
    assert draw_schedule(4, 4, 9, 64, random.Random(0)).gradient_steps == (0, 1, 2, 3)
    with pytest.raises(ValueError, match="5 gradient steps of 4 were asked for; 1 to 4 are allowed"):
        draw_schedule(4, 5, 1, 64, random.Random(0))


def test_a_crop_keeps_a_pictures_proportions_and_what_is_small():
    pictures = torch.rand(1, 3, 512, 768)
    assert random_crop(pictures, (2, 0)).shape[-2:] == (510, 766)
    assert torch.equal(random_crop(pictures[..., :200, :200], (0, 0)), pictures[..., :200, :200])
