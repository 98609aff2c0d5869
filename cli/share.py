"""Work shared by processes: those of `torchrun` and `accelerate launch`, or named with `--share`."""

from __future__ import annotations

import argparse
import os
from typing import NamedTuple


class Share(NamedTuple):
    """This process's number, from 0, and how many there are; each takes every total-th piece of work."""

    place: int
    total: int

    def of(self, pieces: list) -> list:  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
        """The pieces that are this process's."""
        return pieces[self.place :: self.total]

    def __str__(self) -> str:
        return f"{self.place}/{self.total}"


def add_share(parser: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add `--share`."""
    parser.add_argument(
        "--share",
        type=_share,
        metavar="N/COUNT",
        help="do only the N-th of COUNT shares, from 0 (from torchrun or accelerate launch, else all)",
    )


def share_of(arguments: argparse.Namespace) -> Share:
    """The share that was asked for, else the one a launcher gives this process, else everything."""
    return launched_share() if arguments.share is None else arguments.share


def launched_share() -> Share:
    """What torchrun and accelerate launch tell every process they start; everything where nothing does.

    ValueError for what no launcher says.
    """
    index, count = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if not (index and count):
        return Share(0, 1)
    try:
        return _share(f"{index}/{count}")
    except argparse.ArgumentTypeError:
        raise ValueError(
            f'RANK is "{index}" and WORLD_SIZE "{count}" in the environment; a launcher sets the number of a '
            "process, from 0, and how many there are. Unset both where none started this"
        ) from None


def own_device(name: str) -> str:
    """The graphics card that a launcher means for this process, where there are several."""
    local = os.environ.get("LOCAL_RANK", "")
    return f"{name}:{local}" if name == "cuda" and local.isdecimal() else name


def _share(text: str) -> Share:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(
            f'a share like "0/4" is needed, the first number below the second, got "{text}"'
        )
    return Share(int(index), int(count))
