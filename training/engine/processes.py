"""The processes of a run: they wait for each other without a limit, and end together, in words."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from .interruption import Interrupted

# Seconds between looks at what the others say, and those a process has to come out of what it waits in.
_LOOK, _GRACE = 0.2, 3.0
_FAILED, _LEFT, _WAIT = (f"instance_composer/{name}" for name in ("failed", "left", "wait"))
_GONE = "another process is gone without a word; was it killed, or out of memory?"
_waits = 0


class OthersFailedError(ValueError):
    """Another process of the run has failed, so this one ends as well."""


def this_process() -> PartialState:
    """Which of a run's processes this is, and its device."""
    # Without the flag this would be the first to say that each process on a CPU is alone.
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


def wait_for_all() -> None:
    """Wait until every process has come here, however long that takes.

    A barrier of torch would end a run in which one has more to do than its limit, ten minutes on graphics
    cards; here all count up a number and look at it. `OthersFailedError` if one of them fails.
    """
    global _waits
    store = _store()
    if store is None:
        return
    _waits += 1
    _await(store, f"{_WAIT}/{_waits}")


@contextmanager
def ending_together() -> Iterator[None]:
    """Inside the block an error of one process ends all of them, each with the words of the first.

    One that cannot come out of what it waits in, such as a sum of gradients on graphics cards, is ended after
    seconds. Processes that do not talk to each other are left alone.
    """
    over = threading.Event()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        threading.Thread(target=_watch, args=(over,), daemon=True).start()
    try:
        yield
        store = _store()
        if store is not None and dist.get_rank() == 0:
            # The others' notes may lie in this process.
            _await(store, _LEFT)
        elif store is not None:
            _count(store, _LEFT)
    # An error of its own is told, whatever the others say; what breaks where they were waited for is theirs.
    except (RuntimeError, SystemExit) as error:
        store = _store()
        gone = store is not None and _is_of_others(error)
        said = _first_failure(store) or (_GONE if gone else None)
        if said is not None:
            raise OthersFailedError(said) from error
        _tell(error)
        raise
    except (Exception, KeyboardInterrupt) as error:
        _tell(error)
        raise
    finally:
        over.set()


def _tell(error: BaseException) -> None:
    """Let the others know why this process ends, unless they end for the same reason."""
    store = _store()
    if store is None or isinstance(error, (OthersFailedError, Interrupted, SystemExit)):
        return
    with suppress(RuntimeError):
        if not store.check([_FAILED]):
            words = " ".join(str(error).split()) or type(error).__name__
            store.set(_FAILED, f"process {dist.get_rank()} has failed: {words}")
            # Before whoever started the processes ends the others.
            time.sleep(5 * _LOOK)


def _is_of_others(error: BaseException) -> bool:
    """Whether this is what torch says where the other end of a connection is gone."""
    return any(words in str(error) for words in ("Connection closed by peer", "Connection reset by peer"))


def _watch(over: threading.Event) -> None:
    while not over.wait(_LOOK):
        said = _first_failure(_store())
        if said is not None and not over.wait(_GRACE):
            sys.stderr.write(f"instance-composer: error: {said}\n")
            sys.stderr.flush()
            os._exit(2)


def _await(store: Any, name: str) -> None:
    """Count this process, and wait for all others to be counted."""
    counted = _count(store, name)
    while counted < dist.get_world_size():
        said = _first_failure(store)
        if said is not None:
            raise OthersFailedError(said)
        time.sleep(_LOOK)
        counted = _count(store, name, 0)


def _count(store: Any, name: str, more: int = 1) -> int:
    try:
        return store.add(name, more)
    except RuntimeError as error:
        raise OthersFailedError(_GONE) from error


def _first_failure(store: Any) -> str | None:
    """The words of the process that failed first, None while all are well."""
    if store is None:
        return None
    try:
        return store.get(_FAILED).decode() if store.check([_FAILED]) else None
    except RuntimeError:
        return _GONE


def _store() -> Any:
    """Where processes of a group leave each other notes, None without a group."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() < 2:
        return None
    from torch.distributed import distributed_c10d

    return distributed_c10d._get_default_store()  # pyright: ignore[reportPrivateUsage]
