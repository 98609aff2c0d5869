"""Moments of 8 bits: refused in words where their package is missing, else learning and going on."""

from __future__ import annotations

from importlib import util

import pytest
import torch
from line_task import LineTask, settings

from instance_composer.training.engine.account.memory import held
from instance_composer.training.engine.checkpoint import ResumeError, read_run, write_run
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.settings import SettingsError

THERE = util.find_spec("bitsandbytes") is not None


@pytest.mark.skipif(THERE, reason="bitsandbytes is installed")
def test_a_package_that_is_missing_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"adamw8bit.*pip install bitsandbytes"):
        Trainer(LineTask(), settings(optimizer="adamw8bit"), tmp_path)
    assert not (tmp_path / "run.toml").exists()


@pytest.mark.skipif(not THERE, reason="bitsandbytes is not installed")
def test_moments_of_8_bits_learn_and_go_on(tmp_path):
    class Wide(LineTask):
        def __init__(self):
            super().__init__()
            # Tensors below 4096 values keep moments of 32 bits.
            self.objective.body = torch.nn.Linear(3, 2048)
            self.objective.head = torch.nn.Linear(2048, 1)

    chosen = {"optimizer": "adamw8bit", "batch": 16, "every_sample": 0}
    whole = Trainer(Wide(), settings(**chosen), tmp_path / "straight")
    losses = [whole.advance()["loss"] for _ in range(8)]
    assert losses[-1] < losses[0]
    Trainer(Wide(), settings(steps=3, **chosen), tmp_path / "resumed").run()
    moments = read_run(tmp_path / "resumed")["optimizer"]["state"]
    assert {one["state1"].dtype for one in moments.values()} == {torch.uint8, torch.float32}
    rest = Trainer(Wide(), settings(**chosen), tmp_path / "resumed")
    rest.run()
    for name, weight in whole.state()["weights"].items():
        assert torch.equal(rest.state()["weights"][name], weight), name


def test_another_optimizer_is_refused_and_earlier_runs_had_adamw(tmp_path):
    Trainer(LineTask(), settings(steps=1), tmp_path).run()
    state = read_run(tmp_path)
    del state["settings"]["optimizer"]
    write_run(tmp_path, state)
    assert Trainer(LineTask(), settings(), tmp_path).step == 1
    state["settings"]["optimizer"] = "adamw8bit"
    write_run(tmp_path, state)
    with pytest.raises(ResumeError, match="optimizer was 'adamw8bit' and is now 'adamw'"):
        Trainer(LineTask(), settings(), tmp_path)


def test_the_account_knows_how_large_moments_are():
    model = LineTask().objective
    assert held(model) - held(model, "adamw8bit") == pytest.approx(2 * 21 * 4 * 0.746, abs=1)
