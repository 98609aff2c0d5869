"""Several processes that look at pictures for one: a run has a process a card, and a node many more cores."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ..errors import SourceError
from .picture import Entry, Look, Looker

# Fewer pictures are looked at in less time than a helper takes to start.
_WORTH = 10_000
# Pictures that a helper is given at once.
_PORTION = 512
_MOST = 64

Found = Look | str


def looked_at(
    entry: Callable[[int], Entry],
    numbers: np.ndarray,
    sizes: Sequence[tuple[int, int]],
    processes: int = 1,
) -> Iterator[Found]:
    """What is found at these entries, in their order; `processes` of the run share the cores of a machine."""
    helpers = min(_MOST, cores() // max(1, processes), len(numbers) // _WORTH)
    if helpers < 2:
        with Looker(sizes) as looker:
            for number in numbers.tolist():
                yield looker.look(entry(number))
        return
    portions = (numbers[first : first + _PORTION] for first in range(0, len(numbers), _PORTION))
    with _Helpers(helpers, sizes) as crew:
        waiting: deque[Future[list[Found]]] = deque()
        for portion in portions:
            waiting.append(crew.look([entry(number) for number in portion.tolist()]))
            if len(waiting) > 2 * helpers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


class _Helpers:
    """Processes of this interpreter that know this file's folder and nothing of torch.

    They are started by their module's name and not as copies of this process, which may hold threads and a
    card, nor by its main script, which may have no guard against being run again.
    """

    def __init__(self, count: int, sizes: Sequence[tuple[int, int]]) -> None:
        # What is imported here is found there too.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(one or os.getcwd() for one in sys.path)}
        command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
        self._all = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            for _ in range(count)
        ]
        self._free: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for one in self._all:
            self._send(one, list(sizes))
            self._free.put(one)
        self._threads = ThreadPoolExecutor(count)

    def __enter__(self) -> _Helpers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            for one in self._all:
                one.kill()
        self._threads.shutdown(cancel_futures=True)
        for one in self._all:
            one.communicate()

    def look(self, entries: Sequence[Entry]) -> Future[list[Found]]:
        """What is found at these entries, by the next helper that is free."""
        return self._threads.submit(self._look, entries)

    def _look(self, entries: Sequence[Entry]) -> list[Found]:
        helper = self._free.get()
        try:
            self._send(helper, entries)
            assert helper.stdout is not None  # it is a pipe
            return pickle.load(helper.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise SourceError(
                f"a process that looked at pictures has ended with {helper.wait()}; what it said is above. "
                "Start again: what was found is kept"
            ) from error
        finally:
            self._free.put(helper)

    def _send(self, helper: subprocess.Popen[bytes], what: Any) -> None:
        assert helper.stdin is not None  # it is a pipe
        pickle.dump(what, helper.stdin, pickle.HIGHEST_PROTOCOL)
        helper.stdin.flush()


def serve() -> None:
    """What a helper does until its input ends."""
    # Ctrl-C is the run's, which lets its helpers go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inward, outward = sys.stdin.buffer, sys.stdout.buffer
    with Looker(pickle.load(inward)) as looker:
        while True:
            try:
                entries = pickle.load(inward)
            except EOFError:
                return
            pickle.dump([looker.look(entry) for entry in entries], outward, pickle.HIGHEST_PROTOCOL)
            outward.flush()
