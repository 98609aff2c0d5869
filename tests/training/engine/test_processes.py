"""Training in several processes, and in mixed precision."""

from __future__ import annotations

import gan_task
import line_task
import pytest
import slow_encoding
import torch
from accelerate.state import AcceleratorState
from line_task import LineTask, settings
from two_processes import run_in_two

from instance_composer.training.engine.checkpoint import ResumeError, read_run, shared_parts, write_run
from instance_composer.training.engine.loop import Trainer


@pytest.mark.slow
def test_two_processes_make_one_large_batch_and_continue(tmp_path):
    """Two processes see what one sees in two parts; interrupted in between, they end at the same weights."""
    run_in_two(line_task, tmp_path / "two", 4, 8)
    two = read_run(tmp_path / "two")
    one = Trainer(LineTask(), settings(accumulate=2), tmp_path / "one")
    one.run()
    assert two["step"] == 8
    assert two["processes"] == 2
    for name, weight in one.state()["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_slow_encoding_outlasts_no_barrier(tmp_path):
    """Two processes of which one has much more to encode than a barrier would wait for."""
    run_in_two(slow_encoding, tmp_path)
    assert sorted(file.read_text() for file in tmp_path.glob("done-*")) == ["3 by 2 processes"] * 2


@pytest.mark.slow
def test_one_process_continues_what_two_began(tmp_path, caplog):
    run_in_two(line_task, tmp_path / "run", 4)
    trainer = Trainer(LineTask(), settings(steps=6), tmp_path / "run")
    assert "accumulate is 2 instead of 1" in caplog.text
    trainer.run()
    # Again, by the same command: how it was shared out is remembered.
    last = Trainer(LineTask(), settings(), tmp_path / "run")
    last.run()
    one = Trainer(LineTask(), settings(accumulate=2), tmp_path / "one")
    one.run()
    for name, weight in one.state()["weights"].items():
        torch.testing.assert_close(last.state()["weights"][name], weight, atol=1e-6, rtol=1e-5)


def test_a_step_that_processes_cannot_share_is_refused(tmp_path):
    Trainer(LineTask(), settings(steps=1, accumulate=3), tmp_path).run()
    state = read_run(tmp_path)
    write_run(tmp_path, {**state, "processes": 2, "settings": {**state["settings"], "accumulate": 1}})
    # Two batches a step were made; one process shares them, in two parts.
    assert Trainer(LineTask(), settings(steps=2, accumulate=1), tmp_path).step == 1
    with pytest.raises(ResumeError, match="3 batches a step, which 2 processes cannot share evenly"):
        shared_parts(3, 1, 2)


@pytest.mark.slow
def test_two_processes_make_one_large_batch_for_both_players(tmp_path):
    run_in_two(gan_task, tmp_path / "two", 4, 8)
    two = read_run(tmp_path / "two")
    one = Trainer(gan_task.PairTask(), gan_task.settings(accumulate=2), tmp_path / "one")
    one.run()
    assert two["step"] == 8
    assert two["weights"].keys() == one.state()["weights"].keys()
    for name, weight in one.state()["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, atol=1e-6, rtol=1e-5)


@pytest.fixture
def _fresh_accelerator():
    """Accelerate keeps one precision for a process; a test of another one starts from nothing."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("_fresh_accelerator")
def test_mixed_precision_computes_in_halves_and_keeps_whole_weights(tmp_path):
    seen: list[torch.dtype] = []
    task = LineTask()
    task.objective.head.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    chosen = settings(steps=200, batch=16, learning_rate=3e-2, mixed_precision="bf16")
    trainer = Trainer(task, chosen, tmp_path)
    losses = [trainer.advance()["loss"] for _ in range(200)]
    assert set(seen) == {torch.bfloat16}
    assert all(weight.dtype == torch.float32 for weight in trainer.trained)
    assert sum(losses[-10:]) / 10 < 0.1 * losses[0]


@pytest.mark.usefixtures("_fresh_accelerator")
@pytest.mark.parametrize("precisions", [("no", "bf16"), ("bf16", "no")])
def test_runs_of_one_process_have_precisions_of_their_own(tmp_path, precisions):
    """A command trains several models one after the other, rewards in float32 and then what they judge."""
    for precision in precisions:
        seen: list[torch.dtype] = []
        task = LineTask()
        task.objective.head.register_forward_hook(lambda module, args, output: seen.append(output.dtype))  # noqa: B023
        trainer = Trainer(task, settings(steps=2, mixed_precision=precision), tmp_path / precision)
        trainer.run()
        assert trainer.accelerator.mixed_precision == precision
        assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float32}


@pytest.mark.usefixtures("_fresh_accelerator")
def test_a_resumed_run_in_mixed_precision_equals_a_straight_one(tmp_path):
    whole = Trainer(LineTask(), settings(mixed_precision="bf16"), tmp_path / "straight")
    whole.run()
    Trainer(LineTask(), settings(mixed_precision="bf16", steps=3), tmp_path / "resumed").run()
    second = Trainer(LineTask(), settings(mixed_precision="bf16"), tmp_path / "resumed")
    second.run()
    for name, weight in whole.state()["weights"].items():
        assert torch.equal(second.state()["weights"][name], weight), name
