"""Damaged documents and weight files, wrong inputs of nodes and interrupted commands, as many as it takes.

`python scripts/robustness.py` tries 100,000 documents, 1,000 weight files, every input of every node with
wrong types, and every command interrupted at every stage of writing, and prints a table for
docs/measured/robustness.md: how they end, the slowest, the most memory. The tests try a few hundred of the
same (`tests/support/malformed_documents.py` and its neighbours). Exit code 1 if anything ends in another way
than it should; what did is printed with the number that makes it again.
"""

from __future__ import annotations

import argparse
import logging
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

REPOSITORY = Path(__file__).resolve().parents[1]
SUPPORT = (REPOSITORY / "tests" / "support", REPOSITORY / "tests" / "support" / "host")
SECTIONS = ("documents", "weights", "nodes", "commands")
# One reading; the number of seconds is of the processor, so that a busy machine does not count.
MOST_SECONDS, MOST_BYTES = 2.0, 500 * 2**20
# After this a reading is broken off.
ENDLESS = 20.0

# What is tried, and what says how it ended.
Trial = tuple[str, Callable[[], str]]


@dataclass
class Tried:
    """How trials of one kind ended."""

    name: str
    count: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")

    def row(self) -> str:
        endings = ", ".join(f"{count:,} {ending}" for ending, count in self.endings.most_common())
        seconds, memory = f"{self.slowest[0]:.2f} s", f"{self.largest[0] / 2**20:.0f} MB"
        return f"| {self.name} | {self.count:,} | {endings} | {len(self.failures)} | {seconds} | {memory} |"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", default=SECTIONS, help=f"of {', '.join(SECTIONS)} (all)")
    parser.add_argument("--documents", type=int, default=100_000, help="how many (100,000)")
    parser.add_argument("--weights", type=int, default=1_000, help="how many (1,000)")
    parser.add_argument("--start", type=int, default=0, help="number of the first (0)")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"{', '.join(sorted(unknown))} is none of {', '.join(SECTIONS)}")
    sys.path[:0] = map(str, SUPPORT)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGPROF, _stop)
    with tempfile.TemporaryDirectory() as folder:
        trials = {
            "documents": lambda: documents(arguments.start, arguments.documents),
            "weights": lambda: weights(arguments.start, arguments.weights, Path(folder)),
            "nodes": lambda: nodes(Path(folder)),
            "commands": lambda: commands(Path(folder)),
        }
        tried = [attempt(name, *trials[name]()) for name in SECTIONS if name in arguments.sections]
    print("| what | tried | ended as | otherwise | slowest | most memory |\n|---|---|---|---|---|---|")
    for one in tried:
        print(one.row())
    for one in tried:
        print(f"\n{one.name}: slowest {one.slowest[1]}, most memory {one.largest[1]}")
        print("\n".join(one.failures[:20]))
    return int(any(one.failures for one in tried))


def documents(start: int, count: int) -> tuple[int, Iterator[Trial]]:
    """Every document as it is detected, one in ten also by every reader."""
    from malformed_documents import document, outcome, readers

    def trials() -> Iterator[Trial]:
        for number in range(start, start + count):
            data = document(number)
            yield f"document {number}", lambda data=data: _kind(outcome(data, None))
            if number % 10 == 0 and len(data) < 10_000:
                for name in readers()[1:]:
                    yield (
                        f"document {number} as {name}",
                        lambda data=data, name=name: _kind(outcome(data, name)),
                    )

    return count, trials()


def _kind(ending: str) -> str:
    return "layout" if ending == "layout" else "documented error"


def weights(start: int, count: int, folder: Path) -> tuple[int, Iterator[Trial]]:
    import shutil

    from malformed_weights import kinds, outcome, write

    (folder / "whole").mkdir()
    known = list(kinds(folder / "whole").items())

    def trials() -> Iterator[Trial]:
        for number in range(start, start + count):
            name, kind = known[number % len(known)]
            place = folder / "damaged"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            path = write(number, kind, place)
            yield f"{name} {number}: {path.name}", lambda path=path, kind=kind: outcome(path, kind)

    return count, trials()


def nodes(folder: Path) -> tuple[int, Iterator[Trial]]:
    from comfyui_location import HOW_TO_GET_COMFYUI, find_comfyui

    if not find_comfyui():
        raise SystemExit(HOW_TO_GET_COMFYUI)
    from comfyui_process import start_comfyui

    start_comfyui()
    from wrong_inputs import trials

    found = list(trials(folder))
    return len(found), iter(found)


def commands(folder: Path) -> tuple[int, Iterator[Trial]]:
    from interrupted_commands import trials

    found = list(trials(folder))
    return len(found), iter(found)


def attempt(name: str, count: int, trials: Iterable[Trial]) -> Tried:
    """Try everything, with a bar that tells the time left."""
    tried = Tried(name)
    with tqdm(total=count, desc=name, smoothing=0.02, miniters=1) as bar:
        last = ""
        for label, run in trials:
            before = _reset_peak()
            start = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, ENDLESS)
            try:
                ending = run()
            except Exception as error:
                ending = type(error).__name__
                tried.failures.append(f"{label}: {ending}: {str(error)[:300]} ({_place(error)})")
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            seconds, used = time.process_time() - start, max(0, _peak() - before)
            tried.endings[ending] += 1
            tried.slowest = max(tried.slowest, (seconds, label))
            tried.largest = max(tried.largest, (used, label))
            if seconds > MOST_SECONDS or used > MOST_BYTES:
                tried.failures.append(f"{label}: {seconds:.1f} s, {used / 2**20:.0f} MB")
            # What is read in several ways counts once.
            if (this := label.partition(" as ")[0]) != last:
                tried.count += 1
                bar.update()
            last = this
    return tried


def _stop(_number: int, _frame: object) -> NoReturn:
    raise TimeoutError(f"no end in {ENDLESS:g} s")


def _place(error: Exception) -> str:
    """Where in the pack it was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "tests" not in frame.filename]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(REPOSITORY)]
    return f"{Path(own[-1].filename).relative_to(REPOSITORY)}:{own[-1].lineno}" if own else "elsewhere"


def _reset_peak() -> int:
    """Bytes in use now, the most so far forgotten where Linux can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(key: str) -> int:
    try:
        found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
