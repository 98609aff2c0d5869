"""A script run in two processes on the CPU, as torchrun starts them.

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
from pathlib import Path
from types import ModuleType

from torch.distributed import TCPStore

IMPORTED = [
    "instance_composer.hosts.diffusers_sdxl.pipeline",
    "instance_composer.training.engine.loop",
    "peft",
]


def run_in_two(script: ModuleType, *arguments: object, timeout: int = 400) -> None:
    """Two processes that talk over gloo; their words where they fail."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(IMPORTED)
    # Theirs until the last has ended, whichever that is.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    words = [str(script.__file__), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / f"{rank}.txt" for rank in range(2)]
        processes = [
            server.Process(target=_run, args=(words, rank, store.port, said[rank])) for rank in range(2)
        ]
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


def _run(words: list[str], rank: int, port: int, said: Path) -> None:
    """The script, with torchrun's environment; a failed one ends with another code than 0."""
    log = os.open(said, os.O_WRONLY | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
