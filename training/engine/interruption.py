"""Ctrl-C and SIGTERM: a run ends behind the step it is in, and nothing that it has learned is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate import Accelerator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A run that was asked to end, and has saved what it had."""


class Interruption:
    """Whether the process was asked to end."""

    def __init__(self) -> None:
        self.asked = False

    def of_any(self, accelerator: Accelerator) -> bool:
        """Whether any process was asked to end: they stop behind the same step."""
        if accelerator.num_processes == 1:
            return self.asked
        asked = torch.tensor([float(self.asked)], device=accelerator.device)
        return bool(accelerator.reduce(asked).item())  # pyright: ignore[reportAttributeAccessIssue]

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Inside the block the first signal is only noted; a second one ends the process at once."""
        if threading.current_thread() is not threading.main_thread():
            # Handlers can be set in the main thread alone.
            yield
            return
        # What was started to outlive its terminal (nohup) goes on ignoring what it ignores.
        found = {number: signal.getsignal(number) for number in _SIGNALS}
        before = {number: handler for number, handler in found.items() if handler is not signal.SIG_IGN}

        def note(number: int, frame: FrameType | None) -> None:
            self.asked = True
            for one, handler in before.items():
                signal.signal(one, handler)

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
