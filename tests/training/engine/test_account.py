"""What a run says before its first step, and the checkpoint that was best on what is held out."""

from __future__ import annotations

import json
import logging
import signal

import pytest
import torch
from gan_task import PairTask
from gan_task import settings as pair_settings
from line_task import Line, LineTask, settings

from instance_composer.training.engine.account import announcement
from instance_composer.training.engine.account.memory import OutOfMemoryError, held
from instance_composer.training.engine.account.words import gigabytes, steps_line
from instance_composer.training.engine.checkpoint import BEST, read_run
from instance_composer.training.engine.loop import Trainer, train
from instance_composer.training.engine.task import Cost


class HeldOut(LineTask):
    """The last of its data are not trained on."""

    def validation_batches(self, size):
        x = torch.randn(6, 3, generator=torch.Generator().manual_seed(9))
        return [{"x": part, "y": part @ torch.tensor([1.0, -2.0, 0.5])} for part in x.split(size)]


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, logger="instance_composer")
    return caplog


def test_a_dry_run_tells_and_writes_nothing(tmp_path, told):
    class Told(LineTask):
        samples = 64

        def account(self):
            yield "64 points; 3 are left out: they lie too far away"

    train(Told(), settings(accumulate=2), tmp_path / "run", dry_run=True)
    lines = told.messages
    assert lines[0] == "64 points; 3 are left out: they lie too far away"
    assert "weights: 21 of 27 are trained, in 4 tensors" in lines
    assert "steps: 8 of 8 are left, each of 4 × 2 parts × 1 processes = 8 samples; 1 epochs of 64" in lines
    assert any(line.startswith("memory: about 0.0 MB of ") for line in lines)
    assert any(line.startswith("time: about ") and " for 8 steps of " in line for line in lines)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", [(LineTask, settings), (PairTask, pair_settings)])
def test_telling_changes_no_number_of_the_run(tmp_path, kind):
    task, chosen = kind
    plain, told = (Trainer(task(), chosen(), tmp_path / name) for name in ("plain", "told"))
    before = torch.get_rng_state()
    told.tell()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in told.trained)
    for trainer in (plain, told):
        torch.manual_seed(5)
        trainer.run()
    one, two = (read_run(tmp_path / name)["weights"] for name in ("plain", "told"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_buffers_stand_still_while_telling(tmp_path):
    class Counting(Line):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, batch, generator):
            self.calls += 1
            return super().forward(batch, generator)

    task = LineTask()
    task.objective = Counting()
    trainer = Trainer(task, settings(), tmp_path)
    trainer.tell()
    assert float(task.objective.calls) == 0


def test_memory_counts_gradients_moments_averages_and_the_whole_batch(tmp_path, told):
    """Exactly: four copies of 21 trained weights beside all 27, and what a step keeps for each sample."""
    model = LineTask().objective
    assert held(model) == 4 * (27 + 4 * 21)

    class Known(LineTask):
        def cost(self, settings, device):
            return Cost(2_000_000_000, 3.0, before=60.0)

    train(Known(), settings(accumulate=2), tmp_path, dry_run=True)
    assert any(line.startswith("memory: about 2.2 GB") for line in told.messages)
    assert "time: about 108.0 s for 8 steps of 6.0 s, of it 60.0 s before the first" in told.messages


def test_what_cannot_fit_is_refused_with_ways_out(tmp_path, monkeypatch):
    monkeypatch.setattr(announcement, "memory_of", lambda device: 100)
    with pytest.raises(OutOfMemoryError, match=r"has 0\.0 MB: set batch to 2 and accumulate to 2"):
        train(LineTask(), settings(), tmp_path)
    assert read_run(tmp_path) is None


def test_a_continued_run_tells_what_is_left(tmp_path, told):
    train(LineTask(), settings(steps=5), tmp_path)
    told.clear()
    train(LineTask(), settings(), tmp_path, dry_run=True)
    assert any(line.startswith("steps: 3 of 8 are left, each of 4 samples") for line in told.messages)


def test_the_time_that_is_left_is_told_after_the_first_steps(tmp_path, told):
    train(LineTask(), settings(steps=12), tmp_path)
    assert len([line for line in told.messages if line.startswith("a step takes ")]) == 1


def test_words_for_sizes():
    assert (gigabytes(3.21e9), gigabytes(2.5e6)) == ("3.2 GB", "2.5 MB")
    assert steps_line(settings(), 0, 1, 2, None).endswith("4 × 1 parts × 2 processes = 8 samples")


def test_what_is_held_out_is_measured_with_the_same_noise_and_the_best_checkpoint_stays(tmp_path):
    """At a rate that overshoots later, the best checkpoint is not the last."""
    chosen = settings(steps=40, batch=4, learning_rate=0.5, every_validation=5, every_log=5, ema_decay=0.0)
    trainer = Trainer(HeldOut(), chosen, tmp_path)
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    measured = {line["step"]: line["validation"] for line in lines}
    assert sorted(measured) == list(range(5, 45, 5))
    best = torch.load(tmp_path / BEST, weights_only=True)
    assert best["step"] == min(measured, key=measured.get)
    assert best["best"]["validation"] == pytest.approx(min(measured.values()), abs=1e-6)
    assert best["step"] < 40
    # Again, on the same weights: the same number, bit for bit.
    trainer.validate()
    first = trainer._validation
    trainer.validate()
    assert trainer._validation == first


def test_what_is_measured_stands_at_its_own_step(tmp_path):
    Trainer(HeldOut(), settings(steps=10, every_validation=3, every_log=4), tmp_path).run()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], "validation" in line) for line in lines] == [
        (3, True), (4, False), (6, True), (8, False), (9, True), (10, False),
    ]  # fmt: skip


def test_measuring_changes_no_number_of_the_run_and_the_best_is_remembered(tmp_path):
    chosen = {"every_validation": 2, "every_sample": 0}
    Trainer(LineTask(), settings(**chosen), tmp_path / "plain").run()
    Trainer(HeldOut(), settings(steps=5, **chosen), tmp_path / "measured").run()
    second = Trainer(HeldOut(), settings(**chosen), tmp_path / "measured")
    assert second._best["step"] in (2, 4)
    second.run()
    one, two = (read_run(tmp_path / name)["weights"] for name in ("plain", "measured"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_that_is_asked_to_end_at_its_best_step_keeps_that_checkpoint(tmp_path):
    class Asked(HeldOut):
        def batch(self, position, size, seed):
            if position.step == 1:
                signal.raise_signal(signal.SIGTERM)
            return super().batch(position, size, seed)

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt, match="ended after step 2"):
            Trainer(Asked(), settings(every_validation=2, every_checkpoint=0), tmp_path).run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert read_run(tmp_path)["best"]["step"] == 2
    assert torch.load(tmp_path / BEST, weights_only=True)["step"] == 2
