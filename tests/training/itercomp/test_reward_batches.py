"""Batches of a reward model: those without a pair, and held-out ones, of which one is in memory at a time."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from tiny_rewards import HEADS, WORDS, tiny_state

from instance_composer.models.rewards import RewardModel, RewardTokenizer
from instance_composer.shapes_world.preferences import FEW_THINGS, Comparisons
from instance_composer.training.data.comparisons import Alternating, Ranked, WorldPreferences
from instance_composer.training.engine.account.measure import measure
from instance_composer.training.engine.held_out import held_out_loss
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.settings import Settings
from instance_composer.training.itercomp.reward_objective import RewardTask, collate

TOKENIZER = RewardTokenizer.of_words([*WORDS, "left", "of"], 35)


class Counted:
    """Comparisons of plain pictures, every third without a pair; which were opened, and how many live."""

    def __init__(self, count: int, pairs: bool = True) -> None:
        self.count, self.pairs = count, pairs
        self.opened: list[int] = []
        self.alive = self.most = 0

    def __len__(self) -> int:
        return self.count

    def has_pair(self, number: int) -> bool:
        return self.pairs and number % 3 != 2

    def __getitem__(self, number: int) -> Ranked:
        self.opened.append(number)
        pictures = [Image.new("RGB", (16, 16), (40 * n, 9 * number, 0)) for n in range(2)]
        # Pictures that nobody holds are gone, but for those in a ring.
        gc.collect()
        for picture in pictures:
            self.alive += 1
            weakref.finalize(picture, self._gone)
        self.most = max(self.most, self.alive)
        return Ranked(pictures, ["a red circle"], [(0, 0, 0, 1)] if self.has_pair(number) else [])

    def _gone(self) -> None:
        self.alive -= 1

    def describe(self):
        return {"count": self.count}


def task_of(source, validation=None, **more) -> RewardTask:
    torch.manual_seed(0)
    model = RewardModel.from_state_dict(tiny_state(), {**HEADS, "words": WORDS})
    return RewardTask(model, TOKENIZER, source, validation or source, ("attribute",), **more)


@pytest.mark.parametrize("more", [{}, {"words": True, "places": True}], ids=["pairs", "words and places"])
def test_a_batch_without_a_pair_sits_out_with_a_gradient_of_zero(more):
    task = task_of(Counted(2, pairs=False), **more)
    batch = collate([task.source[0], task.source[1]], TOKENIZER, 48)
    assert batch["pairs"].shape == (0, 3)
    report = task.objective(batch, torch.Generator())
    assert report["loss"].item() == 0.0
    assert report["accuracy"].isnan()
    report["loss"].backward()
    trained = [p for p in task.objective.parameters() if p.requires_grad]
    assert trained
    # As processes exchange it: none is missing but what no batch reaches.
    other = task_of(Counted(2), **more)
    other.objective(collate([other.source[0]], TOKENIZER, 48), torch.Generator())["loss"].backward()
    reached = {name for name, p in other.objective.named_parameters() if p.grad is not None}
    if not more:
        assert {name for name, p in task.objective.named_parameters() if p.grad is not None} == reached
    assert all(not p.grad.any() for p in trained if p.grad is not None)


def test_a_run_over_batches_without_a_pair_is_measured_and_goes_on(tmp_path):
    """Batches of one, of which every third is empty; with two in a step the mean is over those that tell."""
    chosen = Settings(
        steps=6, batch=1, accumulate=1, warm_up=0, every_sample=0, every_checkpoint=0, every_log=1
    )
    task = task_of(Counted(3))
    assert measure(task, chosen, torch.device("cpu"), lambda batch: batch).seconds > 0
    trainer = Trainer(task, chosen, tmp_path)
    reports = [trainer.advance() for _ in range(6)]
    assert sum(report["loss"] == 0 for report in reports) == 2
    assert all(torch.isfinite(p).all() for p in task.objective.parameters())


def test_world_comparisons_without_a_pair_are_known_without_opening_them():
    world = WorldPreferences(Comparisons(11, figures=FEW_THINGS), 12, ("spatial",))
    both = Alternating((world, world))
    wanted = [bool(world[number].pairs) for number in range(12)]
    assert True in wanted
    assert False in wanted
    assert [world.has_pair(number) for number in range(12)] == wanted
    assert [both.has_pair(number) for number in range(24)] == [one for one in wanted for _ in range(2)]


def test_held_out_batches_are_opened_when_it_is_their_turn_by_the_process_whose_turn_it_is(monkeypatch):
    """Eight of twelve have a pair, in four batches, of which two are the second process's."""
    task = task_of(Counted(1), Counted(12))
    source, accelerator = task.validation, Accelerator()
    batches = task.validation_batches(2)
    assert len(batches) == 4
    assert source.opened == []
    player = task.players[0]
    task.objective.eval()
    whole = held_out_loss(task, player, batches, accelerator, {})
    assert source.opened == [0, 1, 3, 4, 6, 7, 9, 10]
    assert source.most <= 2 * 2, "pictures of more than one batch were in memory"
    # The same numbers as all at once.
    assert held_out_loss(task, player, list(batches), accelerator, {}) == whole
    source.opened.clear()
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: 2))
    monkeypatch.setattr(Accelerator, "process_index", property(lambda self: 1))
    monkeypatch.setattr(Accelerator, "reduce", lambda self, found: found)
    held_out_loss(task, player, batches, accelerator, {})
    assert source.opened == [3, 4, 9, 10]


def test_other_held_out_comparisons_have_another_mark():
    task = task_of(Counted(1), Counted(12))
    before = task.held_out_mark()
    assert before == task_of(Counted(1), Counted(12)).held_out_mark()
    task.validation = Counted(11)
    assert task.held_out_mark() != before
