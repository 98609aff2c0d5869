"""`train ifadapter --text-features` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from instance_composer.cli import main
from instance_composer.training.engine.checkpoint import read_run

LAYOUT = (
    '{"version": 1, "canvas": {"width": 64, "height": 64}, "prompt": "p", "negative": "n", "instances": '
    '[{"id": "1", "caption": "a", "negative": "b", "box": [0, 0, 0.5, 0.5]}]}\n'
)


def trained(model: Path, run: Path, *words: str) -> int:
    command = ["train", "ifadapter", str(run), "--model", str(model), "--size", "64x64", "--small"]
    command += ["--pictures", "4", "--examples", str(run.parent / "layout.json"), *words]
    return main([*command, "--set", "batch=2", "--set", "every_sample=0", "--set", "every_log=1"])


@pytest.mark.slow
def test_a_run_without_text_encoders_goes_on_bit_for_bit(tiny_model, tmp_path, caplog, capsys):
    """Samples with negatives are drawn without encoders; features are the run's own, or shared."""
    caplog.set_level("INFO")
    (tmp_path / "layout.json").write_text(LAYOUT)
    shared = ["--text-features", "--latents", str(tmp_path / "shared")]
    assert trained(tiny_model, tmp_path / "whole", *shared, "--dry-run") == 0
    assert "captions of things are encoded first and take about" in caplog.text
    assert not (tmp_path / "shared").exists()
    assert trained(tiny_model, tmp_path / "whole", *shared, "--set", "steps=2") == 0
    features = {file: file.stat().st_mtime_ns for file in (tmp_path / "shared").rglob("*.safetensors")}
    caplog.clear()
    assert trained(tiny_model, tmp_path / "halves", *shared, "--set", "steps=1") == 0
    assert trained(tiny_model, tmp_path / "halves", *shared, "--set", "steps=2") == 0
    assert "are encoded first and take" not in caplog.text
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "shared").rglob("*.safetensors")} == features
    one, two = (read_run(tmp_path / name)["weights"] for name in ("whole", "halves"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    # With text encoders the numbers would be others in their last digits.
    assert trained(tiny_model, tmp_path / "halves", "--set", "steps=3") == 2
    assert "text_features was 'text-float32-" in capsys.readouterr().err
