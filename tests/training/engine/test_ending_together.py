"""Processes of a run wait for each other as long as it takes, and an error of one ends all, in words."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import processes_ending
import pytest
from two_processes import forked


def ended(kind: str, folder: Path) -> list[tuple[int | None, str]]:
    """Exit code and words of each of two; the first ends not long after the second."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = [folder / f"{rank}.txt" for rank in range(2)]
    processes = [forked(processes_ending.end, kind, rank, port, said=said[rank]) for rank in range(2)]
    try:
        for process in processes:
            process.start()
        first, second = processes
        second.join(120)
        since = time.monotonic()
        first.join(30)
        assert time.monotonic() - since < 20
        return [(one.exitcode, file.read_text()) for one, file in zip(processes, said, strict=True)]
    finally:
        for process in processes:
            process.kill()
            process.join()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reducing", "busy"])
def test_an_error_of_one_process_ends_the_other_in_its_words(kind, tmp_path):
    (code, words), (other_code, own) = ended(kind, tmp_path)
    assert "ValueError: the second has no room on its disk" in own
    assert "process 1 has failed: the second has no room on its disk" in words
    assert "Traceback" not in words
    assert (code, other_code) == (2, 2)


@pytest.mark.slow
def test_a_process_that_is_killed_is_missed(tmp_path):
    (code, words), _ = ended("killed", tmp_path)
    assert (code, "another process is gone without a word" in words) == (2, True), words


@pytest.mark.slow
def test_processes_wait_longer_than_a_barrier_would(tmp_path):
    for code, words in ended("slow", tmp_path):
        assert (code, "both are here" in words) == (0, True), words
