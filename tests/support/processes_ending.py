"""What becomes of two processes when one of them is slow, fails, or is killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist

from instance_composer.training.engine.processes import ending_together, wait_for_all

LIMIT, PAUSE = 2, 4


def work(kind: str, second: bool) -> None:
    if kind == "slow":
        if second:
            time.sleep(PAUSE)
        wait_for_all()
        # Those that leave first do not take the others' notes with them.
        time.sleep(PAUSE / 4 if second else 0)
        wait_for_all()
        print("both are here", flush=True)
    elif second and kind == "killed":
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    elif second:
        time.sleep(1)
        raise ValueError("the second has no room on its disk")
    elif kind == "busy":
        time.sleep(600)
    else:
        dist.all_reduce(torch.zeros(1))


def end(kind: str, rank: int, port: int) -> None:
    """One of two processes as SLURM starts them: nobody looks after them but themselves."""
    os.environ |= {
        "WORLD_SIZE": "2",
        "RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    limit = timedelta(seconds=LIMIT if kind == "slow" else 120)
    try:
        with ending_together():
            dist.init_process_group("gloo", timeout=limit)
            work(kind, dist.get_rank() == 1)
    except ValueError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        # As the command line ends, and without taking leave of the other process.
        os._exit(2)
