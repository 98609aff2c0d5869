"""Metrics on their way to trackers."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from accelerate import tracking
from accelerate.tracking import GeneralTracker
from line_task import LineTask, settings

from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.metrics import trackers_of
from instance_composer.training.engine.settings import SettingsError


class Lines(GeneralTracker):
    """A tracker of accelerate's own kind that remembers."""

    name, requires_logging_directory = "lines", False
    seen: ClassVar[list] = []

    def __init__(self, run_name, **options):
        super().__init__()
        self.seen.append(run_name)

    @property
    def tracker(self):
        return self.seen

    def store_init_configuration(self, values):
        self.seen.append(values["steps"])

    def log(self, values, step, **options):
        self.seen.append((step, values))

    def finish(self):
        self.seen.append("finished")


def test_a_tracker_gets_the_metrics_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "lines", Lines)
    Lines.seen.clear()
    Trainer(LineTask(), settings(trackers="lines"), tmp_path).run()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert Lines.seen[:2] == ["instance-composer", 8]
    assert Lines.seen[-1] == "finished"
    assert [{"step": step, **values} for step, values in Lines.seen[2:-1]] == lines


def test_trackers_there_are_not_and_those_not_installed_are_refused(monkeypatch):
    with pytest.raises(SettingsError, match=r"no tracker 'paper'; there are .*tensorboard"):
        trackers_of(settings(trackers="paper"))
    monkeypatch.setattr(tracking, "_available_trackers", [])
    with pytest.raises(SettingsError, match="pip install wandb"):
        trackers_of(settings(trackers="wandb"))
