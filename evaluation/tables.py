"""Numbers and tables as reports print them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .statistics import Estimate


def percent(estimate: Estimate) -> str:
    """A share with its interval, in per cent."""
    return plain(Estimate(*(100 * one for one in estimate)), 1)


def plain(estimate: Estimate, digits: int = 3) -> str:
    """A value with its interval if it has one; a dash where there is none: a share of nothing."""
    if not np.isfinite(estimate.value):
        return "–"
    if not np.isfinite(estimate.low):
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def write_parts(parts: Iterable[str], target: Path) -> None:
    """Write those parts of a report that are not empty."""
    target.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
