"""Processes of a run wait for each other as long as it takes, and an error of one ends all, in words."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import processes_ending
import pytest


def started(kind: str) -> list[subprocess.Popen[str]]:
    """Two processes as SLURM starts them: nobody looks after them but themselves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, str(processes_ending.__file__), kind],
            env={**os.environ, **shared, "RANK": str(n), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]


def ended(kind: str) -> list[tuple[int, str]]:
    """Exit code and words of each; the first ends not long after the second."""
    first, second = started(kind)
    try:
        last = second.communicate(timeout=120)
        since = time.monotonic()
        ends = [first.communicate(timeout=30), last]
        assert time.monotonic() - since < 20
    finally:
        for process in (first, second):
            process.kill()
    return [(p.returncode, "".join(words)) for p, words in zip((first, second), ends, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reducing", "busy"])
def test_an_error_of_one_process_ends_the_other_in_its_words(kind):
    (code, words), (other_code, own) = ended(kind)
    assert "ValueError: the second has no room on its disk" in own
    assert "process 1 has failed: the second has no room on its disk" in words
    assert "Traceback" not in words
    assert (code, other_code) == (2, 2)


@pytest.mark.slow
def test_a_process_that_is_killed_is_missed():
    (code, words), _ = ended("killed")
    assert (code, "another process is gone without a word" in words) == (2, True), words


@pytest.mark.slow
def test_processes_wait_longer_than_a_barrier_would():
    for code, words in ended("slow"):
        assert (code, "both are here" in words) == (0, True), words
