"""Methods of a model that something else answers for, for the duration of a `with` block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Inside the `with` block an object has another method; afterwards that of its class comes back, or what
    somebody else had put in its place.
    """
    own = owner.__dict__.get(name)
    setattr(owner, name, method)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
