"""What is said about a weight file that is not what it should be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

TRUNCATED = "It may be truncated: compare its size with the source and download it again."


class CheckpointError(ValueError):
    """A file that is not what it should be, said in the user's words."""


def listing(names: Iterable[str], most: int = 20) -> str:
    """Names in one line, the first of many."""
    names = list(names)
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown or "none"


@contextmanager
def sizes_read_from(file: str, kind: str) -> Iterator[None]:
    """Reading sizes off names and shapes; `CheckpointError` where those are not the shapes of a `kind`."""
    try:
        yield
    except CheckpointError:
        raise
    except (LookupError, ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise CheckpointError(
            f"{file} has names of {kind}, but its shapes do not fit together ({type(error).__name__}: "
            f"{error}). It may be damaged or only part of a model: compare it with the source and download "
            "it again."
        ) from error
