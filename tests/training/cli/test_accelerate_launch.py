"""`accelerate launch` with two processes, as docs/training.md starts a run; one process goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from instance_composer.cli import main
from instance_composer.training.engine.checkpoint import read_run

LAYOUT = '{"version": 1, "canvas": {"width": 64, "height": 64}, "instances": [{"id": "1", "caption": "a", '
LAYOUT += '"box": [0, 0, 0.5, 0.5]}]}'


@pytest.mark.slow
def test_two_processes_train_an_adapter_and_one_goes_on(tiny_model, tmp_path):
    (tmp_path / "layout.json").write_text(LAYOUT)
    words = ["train", "ifadapter", str(tmp_path / "run"), "--model", str(tiny_model), "--size", "64x64"]
    words += ["--small", "--pictures", "4", "--examples", str(tmp_path / "layout.json")]
    for setting in ("batch=1", "every_sample=0", "every_log=1"):
        words += ["--set", setting]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", "0", "-m", "instance_composer.cli"]
    done = subprocess.run(
        [*launch, *words, "--set", "steps=1"],
        # Where there are no graphics cards.
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "each of 1 × 1 parts × 2 processes = 2 samples" in done.stderr
    state = read_run(tmp_path / "run")
    assert (state["step"], state["processes"]) == (1, 2)
    assert main([*words, "--set", "steps=2"]) == 0
    state = read_run(tmp_path / "run")
    assert (state["step"], state["processes"], state["parts"]) == (2, 1, 2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
