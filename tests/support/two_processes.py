"""Processes beside the tests' own: a function in one, or a script in two on the CPU, as torchrun starts them.

Importing torch, diffusers and transformers takes a process longer than its work. A server that has
them already forks the processes: the "forkserver" of `multiprocessing`, one for all tests of a run.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from torch.distributed import TCPStore

IMPORTED = [
    "instance_composer.hosts.diffusers_sdxl.pipeline",
    "instance_composer.training.engine.loop",
    "peft",
]


def forked(function: Callable[..., object], *arguments: object, said: Path) -> BaseProcess:
    """A process, not yet started, that calls a function of a module; what it prints is written to `said`."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(IMPORTED)
    return server.Process(target=_call, args=(said, function, *arguments))


def run_in_two(script: ModuleType, *arguments: object, timeout: int = 400) -> None:
    """A module as a script in two processes that talk over gloo; their words where they fail."""
    # Theirs until the last has ended, whichever that is.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    words = [script.__name__, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / f"{rank}.txt" for rank in range(2)]
        processes = [forked(_run, words, rank, store.port, said=said[rank]) for rank in range(2)]
        try:
            for process in processes:
                process.start()
            ends = time.monotonic() + timeout
            # One that has failed leaves the other waiting.
            while any(p.exitcode is None for p in processes) and not any(p.exitcode for p in processes):
                assert time.monotonic() < ends, f"not done after {timeout} s"
                time.sleep(0.05)
            failed = [n for n, process in enumerate(processes) if process.exitcode]
            assert not failed, "\n".join(said[n].read_text(errors="replace")[-3000:] for n in failed)
        finally:
            for process in processes:
                process.kill()
                process.join()


def _call(said: Path, function: Callable[..., object], *arguments: object) -> None:
    log = os.open(said, os.O_WRONLY | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ["OMP_NUM_THREADS"] = "1"
    function(*arguments)


def _run(words: list[str], rank: int, port: int) -> None:
    """The script, with torchrun's environment; a failed one ends with another code than 0."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "ACCELERATE_USE_CPU": "true",
    }
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
