"""Weights, moments and averages shared out to two processes: the numbers and files of a plain run."""

from __future__ import annotations

import json

import pytest
import sharded_task
import torch
from gan_task import PairTask
from line_task import LineTask, settings
from sharded_task import GatedTask, of_gated, tensors
from two_processes import run_in_two

from instance_composer.training.engine.checkpoint import BEST, read_run
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.settings import SettingsError


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("runs")
    run_in_two(sharded_task, folder, tiny_model)
    return folder


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["", "-adapter"])
def test_losses_and_checkpoints_are_those_of_a_run_that_is_not_shared_out(runs, kind):
    """Interrupted in between, too. A norm is summed in another order, hence not every bit."""
    plain, shared = (read_run(runs / f"{name}{kind}") for name in ("plain", "shared"))
    expected, found = dict(tensors(plain)), dict(tensors(shared))
    assert expected.keys() == found.keys()
    assert any("exp_avg_sq" in name for name in found)
    for name, value in expected.items():
        assert type(found[name]) is torch.Tensor
        torch.testing.assert_close(
            found[name], value, atol=1e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
    for one, other in zip(*(metrics(runs / f"{name}{kind}") for name in ("plain", "shared")), strict=True):
        for name in one.keys() - {"seconds_per_step"}:
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-6), name


@pytest.mark.slow
def test_samples_are_of_the_averages_and_the_best_is_kept(runs):
    for step in (4, 8):
        plain, shared = (
            torch.load(runs / name / "samples" / f"{step:06d}.pt") for name in ("plain", "shared")
        )
        assert plain.keys() == shared.keys()
        for name, weight in plain.items():
            torch.testing.assert_close(shared[name], weight, atol=1e-6, rtol=1e-4)
    assert read_run(runs / "shared")["best"]["step"] == read_run(runs / "plain")["best"]["step"]
    assert (runs / "shared" / BEST).is_file()


@pytest.mark.slow
def test_a_process_that_goes_on_holds_its_part_and_no_more(runs):
    """A part of what was read whole must not keep the whole in memory."""
    averages = moments = 0
    for rank in range(2):
        held = json.loads((runs / f"held-{rank}.json").read_text())
        assert held["step"] == 8
        for name, (own, storage) in held["parts"].items():
            assert storage == own, name
        averages += sum(own for name, (own, _) in held["parts"].items() if name.startswith("average"))
        moments += sum(own for name, (own, _) in held["parts"].items() if name.startswith("moments"))
    # Of both processes together: body and head, without the gate, which is not shared out.
    assert (averages, moments) == (4 * 26, 2 * 4 * 26)


@pytest.mark.slow
def test_the_main_process_alone_gathers_a_state(runs):
    """On the CPU, which has room for all of it; the other has the single numbers that nobody shares."""
    first, second = (json.loads((runs / f"held-{rank}.json").read_text())["state"] for rank in range(2))
    assert first.keys() == {name for name, _ in tensors(read_run(runs / "shared"))}
    assert {device for device, _ in first.values()} == {"cpu"}
    whole = {name for name, (_, dimensions) in first.items() if dimensions}
    assert sum(name.startswith("weights") for name in whole) == 4
    assert second.keys() == first.keys() - (whole - {"random"})


@pytest.mark.slow
def test_one_process_goes_on_from_what_two_shared(runs, caplog):
    ends = []
    for name in ("plain", "shared"):
        trainer = Trainer(GatedTask(), of_gated(steps=10, fsdp=name == "shared"), runs / name)
        trainer.run()
        ends.append(trainer.state()["weights"])
    assert "fsdp has no effect: there is one process" in caplog.text
    for name, weight in ends[0].items():
        torch.testing.assert_close(ends[1][name], weight, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("task", "changes", "complaint"),
    [
        (LineTask, {"mixed_precision": "fp16"}, "train in bf16"),
        (LineTask, {"optimizer": "adamw8bit"}, "take optimizer adamw"),
        (PairTask, {}, "trains several models against each other"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(tmp_path, task, changes, complaint, monkeypatch):
    from instance_composer.training.engine import sharding

    with pytest.raises(SettingsError, match=complaint):
        sharding._check(settings(fsdp=True, **changes), len(task().players))
