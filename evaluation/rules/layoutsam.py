"""LayoutSAM-Eval's scores (CreatiLayout, arXiv 2412.03859): a judge is asked about each region's crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .boxes import PixelBox

# In the order in which they are asked; the last three only after a yes to the first.
QUESTIONS = ("spatial", "color", "texture", "shape")
_DECIMALS = 3


def fractions(box: PixelBox, width: float, height: float) -> list[float]:
    """A box of source pixels in fractions of the picture, with three decimals."""
    sides = (width, height, width, height)
    return [round(value / side, _DECIMALS) for value, side in zip(box, sides, strict=True)]


def crop(box: Sequence[float], side: int) -> tuple[int, int, int, int]:
    """What is cut out of a square picture for a box in fractions: whole pixels, cut off in float32."""
    x0, y0, x1, y1 = (np.array(box, dtype=np.float32) * np.float32(side)).astype(int).tolist()
    return x0, y0, x1, y1


def caption(text: str) -> str:
    """A caption as it goes into a question: without slashes."""
    return text.replace("/", "")


def is_yes(answer: str) -> bool:
    """Whether an answer counts as yes: "Yes" or "yes" anywhere in it."""
    return "Yes" in answer or "yes" in answer


def verdicts(answers: Mapping[str, str]) -> dict[str, bool]:
    """What a region gets for each question; a no to the first is a no to all."""
    there = is_yes(answers.get("spatial", ""))
    return {name: there and is_yes(answers.get(name, "")) for name in QUESTIONS}


def record(regions: Sequence[Mapping[str, bool]]) -> dict[str, Any]:
    """The record of a picture: number of boxes and sums, as the official scorer names them."""
    sums = {f"score_{name}": float(sum(one[name] for one in regions)) for name in QUESTIONS}
    return {"bbox_count": len(regions), **sums}


def averages(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Sums over all boxes of all pictures, over their number, with four decimals."""
    boxes = sum(one["bbox_count"] for one in records)
    return {
        name: round(sum(one[f"score_{name}"] for one in records) / boxes, 4) if boxes else 0.0
        for name in QUESTIONS
    }
