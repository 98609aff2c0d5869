"""T2I-CompBench's BLIP-VQA score (arXiv 2307.06350): are all the things of a prompt there as it says.

Each noun phrase of the prompt becomes a question; the score of a picture is the product of the probabilities
of "yes".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

# Phrases that name places and not things.
_PLACES = frozenset({"top", "the side", "the left", "the right"})
MOST_QUESTIONS = 8
_MOST_WORDS = 50
_DELETED = re.compile(r'[.!"()*#:;~]')


def questions(doc: Any) -> list[str]:
    """The questions of a prompt, parsed by spaCy: its noun phrases, each with a question mark."""
    phrases = [chunk.text for chunk in doc.noun_chunks if chunk.text not in _PLACES]
    return [f"{phrase}?" for phrase in phrases[:MOST_QUESTIONS]]


def as_asked(question: str) -> str:
    """A question as the model reads it: lower case, without some marks, of at most 50 words."""
    text = _DELETED.sub("", question.lower()).rstrip(" ")
    return " ".join(text.split(" ")[:_MOST_WORDS])


def probability(logit_yes: float, logit_no: float) -> float:
    """The probability of "yes" among the two words, from the logits of the first word of the answer."""
    return 1 / (1 + math.exp(min(700.0, logit_no - logit_yes)))


def printed(value: float) -> str:
    """A value as the scorer keeps it, with four decimals."""
    return f"{value:.4f}"


def score(probabilities: Sequence[float]) -> float:
    """The picture's score, with four decimals, from what `printed` keeps of each answer; 1 without any."""
    product = np.prod(np.array([float(printed(one)) for one in probabilities], dtype=np.float32))
    return float(printed(float(product)))
