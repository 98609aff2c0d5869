"""Prompts that are held out: measured by what does not learn itself, and the best checkpoint is kept."""

from __future__ import annotations

import json

import comat_run
import pytest
import torch

from instance_composer.training.data.errors import SourceError
from instance_composer.training.engine.checkpoint import BEST, read_run


@pytest.mark.slow
def test_held_out_prompts_are_measured_without_the_discriminator(tiny_model, tmp_path, caplog):
    caplog.set_level("INFO", "instance_composer")
    chosen = {"every_validation": 1, "batch": 2}
    comat_run.train(tiny_model, tmp_path / "run", chosen, held_out=2)
    assert "prompts: 3, pictures" in caplog.text
    assert "held out: 2, never trained on" in caplog.text
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(
        line["loss"] == pytest.approx(line["judged"] + 0.5 * line["fooling"], abs=1e-5) for line in lines
    )
    measured = [line["validation"] for line in lines]
    best = torch.load(tmp_path / "run" / BEST, weights_only=True)
    assert best["best"]["validation"] == pytest.approx(min(measured), abs=1e-6)
    assert read_run(tmp_path / "run")["task"]["held_out"].startswith("2 of ")
    with pytest.raises(SourceError, match="5 prompts are to be held out and there are 5"):
        comat_run.train(tiny_model, tmp_path / "other", held_out=5)
