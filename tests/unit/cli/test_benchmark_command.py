"""Which part of a benchmark's cases a process takes."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest
import torch

from instance_composer.cli import main
from instance_composer.cli.benchmark import parts
from instance_composer.cli.benchmark.parts import add_machine, add_shard, chosen_device, chosen_shard
from instance_composer.evaluation.harness.run_folder import Shard


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_shard(parser)
    add_machine(parser)
    return parser.parse_args(words)


def test_the_part_is_what_is_asked_for_or_what_the_launcher_says(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert chosen_shard(parsed()) == Shard(0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert chosen_shard(parsed()) == Shard(2, 4)
    assert chosen_shard(parsed("--shard", "3/3")) == Shard(2, 3)
    # A number without how many there are is no launcher's.
    monkeypatch.delenv("WORLD_SIZE")
    assert chosen_shard(parsed()) == Shard(0, 1)


def test_a_gpu_computes_in_halves_and_each_process_takes_its_own(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(parts, "best_device", lambda: "cuda")
    monkeypatch.setattr(parts, "usable_device", lambda place: place)
    assert chosen_device(parsed()) == ("cuda", torch.float16)
    assert chosen_device(parsed("--dtype", "bf16")) == ("cuda", torch.bfloat16)
    assert chosen_device(parsed("--device", "cpu")) == ("cpu", torch.float32)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert chosen_device(parsed()) == ("cuda:1", torch.float16)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3"])
def test_parts_that_there_are_not_are_refused(text, capsys):
    with pytest.raises(SystemExit):
        parsed("--shard", text)
    assert "1/4 is needed" in capsys.readouterr().err


def test_parts_are_all_cases_and_none_twice():
    cases = tuple(range(11))
    parts = [Shard(index, 3).of(cases) for index in range(3)]
    assert sorted(one for part in parts for one in part) == list(cases)
    assert {len(part) for part in parts} == {3, 4}


def test_cases_of_somebody_else_are_there_whole_or_not_at_all(tmp_path, monkeypatch):
    assert main(["benchmark", "overlap", "prepare", str(tmp_path / "one"), "--tiny", "--limit", "1"]) == 0
    cases, run = tmp_path / "one" / "cases.jsonl", tmp_path / "two"
    words = ["benchmark", "overlap", "prepare", str(run), "--cases", str(cases)]

    def copy_half(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(shutil, "copyfile", copy_half)
        assert main(words) == 130
    assert not list(run.iterdir())
    assert main(words) == 0
    assert (run / "cases.jsonl").read_bytes() == cases.read_bytes()
