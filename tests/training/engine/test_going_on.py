"""A run that goes on: what a dry run leaves alone, what it compares with, and what is done once."""

from __future__ import annotations

import pytest
import torch
from line_task import TRUTH, LineTask, settings

from instance_composer.training.engine.checkpoint import BEST, ResumeError, read_run, write_run
from instance_composer.training.engine.loop import Trainer, train


def content(folder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_dry_run_leaves_the_metrics_of_a_run_that_is_under_way(tmp_path):
    """Lines behind the last checkpoint are another process's; a run that goes on makes them again."""
    chosen = settings(every_log=1, every_checkpoint=4)
    trainer = Trainer(LineTask(), chosen, tmp_path)
    for step in range(7):
        trainer._log([trainer.advance()], 1.0)
        if step == 3:
            trainer.save()
    before = content(tmp_path)
    assert before["metrics.jsonl"].count(b"\n") == 7
    train(LineTask(), chosen, tmp_path, dry_run=True)
    assert content(tmp_path) == before
    train(LineTask(), settings(every_log=1, every_checkpoint=4, steps=4), tmp_path)
    assert content(tmp_path)["metrics.jsonl"].count(b"\n") == 4


def test_a_line_that_is_no_metric_is_told_by_a_dry_run_too(tmp_path):
    train(LineTask(), settings(), tmp_path)
    (tmp_path / "metrics.jsonl").write_text("no metric\n")
    with pytest.raises(ResumeError, match=r"metrics.jsonl holds a line that is no metric"):
        train(LineTask(), settings(), tmp_path, dry_run=True)


class Measured(LineTask):
    """Holds out points whose truth is so many times as large."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def validation_batches(self, size):
        x = torch.randn(6, 3, generator=torch.Generator().manual_seed(9))
        return [{"x": x, "y": self.scale * (x @ TRUTH)}]

    def held_out_mark(self):
        return str(self.scale)


def test_a_run_that_measures_on_something_else_does_not_compare_with_before(tmp_path, caplog):
    """The other set is harder, so that no later loss is below the best one of before."""
    caplog.set_level("INFO", "instance_composer")
    chosen = {"every_validation": 4, "every_sample": 0, "ema_decay": 0.0}
    Trainer(Measured(1.0), settings(steps=8, **chosen), tmp_path).run()
    first = read_run(tmp_path)["best"]
    again = Trainer(Measured(1.0), settings(steps=12, **chosen), tmp_path)
    assert again._best == first
    Trainer(Measured(20.0), settings(steps=12, **chosen), tmp_path).run()
    best = read_run(tmp_path)["best"]
    assert best["step"] == 12
    assert best["validation"] > first["validation"]
    assert torch.load(tmp_path / BEST, weights_only=True)["step"] == 12
    assert f"step {first['step']:.0f}, which was best on those, is not compared with" in caplog.text


def test_a_checkpoint_that_does_not_say_what_it_measured_on_is_compared_with(tmp_path):
    chosen = {"every_validation": 4, "every_sample": 0}
    Trainer(Measured(1.0), settings(**chosen), tmp_path).run()
    state = read_run(tmp_path)
    assert state.pop("held_out") == "1.0"
    write_run(tmp_path, state)
    assert Trainer(Measured(20.0), settings(**chosen), tmp_path)._best == state["best"]


@pytest.mark.parametrize(("asked", "parts"), [(1, 4), (4, 4), (2, None)])
def test_a_run_of_more_processes_takes_the_number_of_parts_that_it_tells(tmp_path, asked, parts):
    """Begun with accumulate = 1 by four processes, it went on with one and says that accumulate is 4."""
    trainer = Trainer(LineTask(), settings(), tmp_path)
    trainer.advance()
    write_run(tmp_path, {**trainer.state(), "parts": 4})
    if parts is None:
        with pytest.raises(ResumeError, match="accumulate was 1 and is now 2"):
            Trainer(LineTask(), settings(accumulate=asked), tmp_path)
        return
    trainer = Trainer(LineTask(), settings(accumulate=asked), tmp_path)
    assert trainer._parts == parts
    trainer.save()
    assert Trainer(LineTask(), settings(accumulate=asked), tmp_path)._parts == parts


@pytest.mark.parametrize("held_out", [False, True], ids=["plain", "best at the end"])
def test_at_the_end_there_is_one_checkpoint_one_picture_and_one_model(tmp_path, held_out):
    """Where the last step is due for all of them; a finished run started again writes no checkpoint."""
    made: list[str] = []

    class Counted(Measured if held_out else LineTask):
        def sample(self, path):
            made.append("picture")
            super().sample(path)

        def export(self, folder):
            made.append("model")
            super().export(folder)

    class Counting(Trainer):
        def state(self):
            made.append("checkpoint")
            return super().state()

    every = {"every_sample": 8, "every_checkpoint": 8, "every_validation": 8}
    task = Counted(1.0) if held_out else Counted()
    Counting(task, settings(steps=8, **every), tmp_path).run()
    assert sorted(made) == ["checkpoint", "model", "picture"]
    assert (tmp_path / BEST).is_file() == held_out
    made.clear()
    Counting(Counted(1.0) if held_out else Counted(), settings(steps=8, **every), tmp_path).run()
    # What was exported may have been cut off.
    assert sorted(made) == ["model", "picture"]
