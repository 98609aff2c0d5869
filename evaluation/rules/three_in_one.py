"""T2I-CompBench's 3-in-1 score of complex prompts: attributes, relation and action, as a prompt has them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

Kind = Literal["attribute+spatial", "attribute+action", "all three"]


def key(prompt: str) -> str:
    """What prompts of the lists of kinds are compared by: lower case, up to the first full stop."""
    return prompt.partition(".")[0].strip().lower()


def kind(prompt: str, spatial: Collection[str], action: Collection[str]) -> Kind:
    """What a prompt is scored by; `spatial` and `action` hold the keys of the official lists."""
    if key(prompt) in spatial:
        return "attribute+spatial"
    return "attribute+action" if key(prompt) in action else "all three"


def score(of: Kind, attribute: float, spatial: float, action: float) -> float:
    """The mean of the scores that count for this kind of prompt."""
    if of == "attribute+spatial":
        return (spatial + attribute) / 2
    if of == "attribute+action":
        return (action + attribute) / 2
    return (attribute + spatial + action) / 3


def action_text(doc: Any) -> str:
    """The prompt, parsed by spaCy, without its adjectives: what CLIP compares the picture with."""
    return " ".join(token.text for token in doc if token.pos_ != "ADJ")
