"""Order of samples and noise: functions of the seed and the position in the run."""

from __future__ import annotations

import hashlib
import json
import tracemalloc

import torch

from instance_composer.training.engine.order import generator_at, sample_numbers, seed_masks
from instance_composer.training.engine.task import BatchPosition


def test_an_epoch_has_every_sample_once():
    numbers = [n for batch in range(5) for n in sample_numbers(10, 4, batch, seed=1)]
    assert sorted(numbers[:10]) == sorted(numbers[10:]) == list(range(10))
    assert numbers[:10] != numbers[10:]


def test_the_order_is_that_of_earlier_versions():
    assert sample_numbers(7, 4, 0, seed=3) == [5, 6, 2, 1]
    assert sample_numbers(7, 4, 1, seed=3) == [4, 3, 0, 2]
    assert sample_numbers(3, 8, 2, seed=0) == [1, 2, 2, 1, 0, 2, 0, 1]
    text = json.dumps([sample_numbers(1000, 64, number, 5) for number in range(60)])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "5c359e707831914a"


def test_one_epoch_of_a_data_set_is_kept():
    """Four bytes a sample, however many epochs have gone by."""
    count = 500_000
    tracemalloc.start()
    for epoch in range(4):
        sample_numbers(count, 10, epoch * count // 10, seed=1)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4.1 * count


def test_noise_is_new_at_every_position_and_the_same_again():
    def noise(*position):
        return torch.rand(3, generator=generator_at(BatchPosition(*position), seed=1)).tolist()

    positions = [(0, 0, 0, 2, 2), (0, 0, 1, 2, 2), (0, 1, 0, 2, 2), (1, 0, 0, 2, 2)]
    assert len({tuple(noise(*position)) for position in positions}) == 4
    assert noise(1, 0, 0, 2, 2) == noise(1, 0, 0, 2, 2)


def test_masks_are_those_of_the_position_and_not_the_noise():
    """However a step is shared out; equal numbers would tie what is dropped to the noise."""

    def masks(*position):
        seed_masks(BatchPosition(*position), 1)
        return torch.rand(3).tolist()

    shared = [(3, part, rank, 2, 2) for part in (0, 1) for rank in (0, 1)]
    alone = [(3, part, 0, 4, 1) for part in range(4)]
    found = [masks(*position) for position in shared]
    assert found == [masks(*position) for position in alone]
    assert len({tuple(one) for one in found}) == 4
    noise = [torch.rand(3, generator=generator_at(BatchPosition(*p), seed=1)).tolist() for p in shared]
    assert not any(one in noise for one in found)
