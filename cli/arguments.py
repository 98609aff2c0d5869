"""Values of the command line that more than one command reads."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

# What a namespace calls the options that were noted.
_GIVEN = "given"
# The largest whole number that JSON and other programs keep exactly.
_MOST_WHOLE = 2**53
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu|hip|npu|hpu|mlu|xla|privateuseone)(:[0-9]{1,3})?")


class Given(argparse.Action):
    """A value that is noted as given: one that was typed may be that of the default."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: object
    ) -> None:
        setattr(namespace, self.dest, values)
        given(namespace).add(self.dest)


def given(namespace: argparse.Namespace) -> set[str]:
    """The options with the action `Given` that have been read so far, as the namespace calls them."""
    return namespace.__dict__.setdefault(_GIVEN, set[str]())


def refuse_given(arguments: argparse.Namespace, names: Sequence[str], purpose: str) -> None:
    """ValueError names those of some options (`Given`) that were typed, though nothing reads them here.

    `purpose` is what they are for, and why that is not so now.
    """
    if found := [f"--{name.replace('_', '-')}" for name in names if name in given(arguments)]:
        raise ValueError(f"{' and '.join(found)} {'is' if len(found) == 1 else 'are'} for {purpose}")


def size(text: str) -> tuple[int, int]:
    """Width and height in pixels from "1024x768"."""
    width, _, height = text.lower().replace("×", "x").partition("x")
    if not (width.strip().isdecimal() and height.strip().isdecimal() and int(width) > 0 and int(height) > 0):
        raise argparse.ArgumentTypeError(f'a size like "1024x768" is needed, got "{text}"')
    if max(int(width), int(height)) > 16_384:
        raise argparse.ArgumentTypeError(f"at most 16384 pixels a side are possible, got {text}")
    return int(width), int(height)


def number(lowest: float, highest: float = math.inf, whole: bool = False) -> Callable[[str], float]:
    """A reader of numbers in a range, both ends allowed; whole ones have one in any case."""
    if whole and highest == math.inf:
        highest = _MOST_WHOLE

    def read(text: str) -> float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        # Compared and not asked with isinf, which knows no whole number of hundreds of digits.
        if not lowest <= value <= highest or value == math.inf:
            kind = "a whole number" if whole else "a number"
            limits = f"from {_shown(lowest)}" + (f" to {_shown(highest)}" if highest < math.inf else "")
            raise argparse.ArgumentTypeError(f'{kind} {limits} is needed, got "{text}"')
        return value

    return read


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def numbers(lowest: int, highest: int, most: int) -> Callable[[str], list[int]]:
    """A reader of whole numbers and ranges, such as 1,7,20-23; each may be there once."""

    def read(text: str) -> list[int]:
        found: list[int] = []
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                raise argparse.ArgumentTypeError(f'whole numbers such as 1,7,20-23 are needed, got "{text}"')
            start, end = int(first), int(last if dash else first)
            if not lowest <= start <= end <= highest:
                raise argparse.ArgumentTypeError(
                    f'numbers from {lowest} to {highest}, a range\'s smaller first, are needed, got "{part}"'
                )
            if end - start >= most or len(found) + end - start >= most:
                raise argparse.ArgumentTypeError(f"at most {most} numbers are possible, got {text}")
            found.extend(range(start, end + 1))
        if len(set(found)) < len(found):
            raise argparse.ArgumentTypeError(f'"{text}" names a number twice')
        return found

    return read


def file_with_strength(text: str) -> tuple[str, float]:
    """A path and a strength from "path" or "path:strength"; the colon of a Windows drive is left alone."""
    path, colon, strength = text.rpartition(":")
    try:
        value = float(strength) if colon and path else math.nan
    except ValueError:
        value = math.nan
    return (path, value) if math.isfinite(value) else (text, 1.0)


def finite(text: str) -> float:
    """A reader of any number that is one."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f'a number is needed, got "{text}"')
    return value


def device(text: str) -> str:
    """The name of a device as torch has them, such as cpu, cuda, cuda:1 or mps."""
    if not _DEVICE.fullmatch(text):
        raise argparse.ArgumentTypeError(f'a device such as cpu, cuda, cuda:1 or mps is needed, got "{text}"')
    return text


def usable_device(name: str) -> str:
    """The device itself; ValueError where torch cannot compute on it here."""
    import torch

    try:
        torch.zeros(1, device=name).sum().item()
    # What torch raises where a kind of device or its driver is missing.
    except (RuntimeError, AssertionError, ImportError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"--device {name} cannot be used here ({reason}); cpu can") from error
    return name


def best_device() -> str:
    """The device to compute on: cuda, else mps, else cpu."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
