"""Options of reward training, and the settings it was published with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..engine.settings import Settings
from ..options import flag

# IterComp trains with Adam at 1e-5 over five epochs; its rate falls as a cosine, ours stays, or falls in a
# straight line over the last `cool_down` steps where that is given.
REWARD_SETTINGS = Settings(
    batch=64, learning_rate=1e-5, warm_up=0, weight_decay=0.0, ema_decay=0.0, every_sample=250
)


@dataclass(frozen=True)
class RewardRun:
    """Preferences in one aspect, those to choose the best model by, and the model to start from."""

    data: Path = field(metadata=flag("preferences, one JSON object a line; docs/rewards.md has the format"))
    validation: Path = field(metadata=flag("preferences to choose the best model by"))
    init: Path = field(metadata=flag("the reward model to start from"))
    aspect: str = field(metadata=flag("attribute, spatial or non-spatial"))
    frozen: float = field(
        default=0.7, metadata=flag("share of both towers' layers that is not trained (%(default)g)")
    )
