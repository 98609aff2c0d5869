"""Options of the loop, and where it stops."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..itercomp.feedback_options import FeedbackTuning
from ..options import flag

ALL, NEW = "all", "new"
LAST, BASE = "last", "base"


@dataclass(frozen=True, kw_only=True)
class LoopRun(FeedbackTuning):
    """A gallery, the rewards to begin with, who ranks, and how rewards and the base are tuned."""

    rewards: Path = field(metadata=flag("folder of reward models to begin with, one for each aspect"))
    gallery: Path | None = field(default=None, metadata=flag("the gallery's file (RUN/gallery.toml)"))
    judge: str | None = field(
        default=None,
        metadata=flag("who ranks instead of people: world, or a vision-language model that chats"),
    )
    prompts: Path | None = field(
        default=None,
        metadata=flag("text file of prompts to tune on (the gallery's that are not held out)"),
    )
    own_pictures: int = field(
        default=0,
        metadata=flag(
            "pictures of each prompt that the model draws before it is tuned; their ranking, by the judge or "
            "else the rewards, teaches in place of the gallery's (0: the gallery's)"
        ),
    )
    pairs: str = field(
        default=ALL,
        metadata=flag("pairs that rewards go on with: all, or new, those with a new member (%(default)s)"),
    )
    tune_from: str = field(
        default=LAST, metadata=flag("each iteration tunes the last tuned model, or the base (%(default)s)")
    )
    frozen: float = field(
        default=0.7, metadata=flag("share of the rewards' layers that is not trained (%(default)g)")
    )
