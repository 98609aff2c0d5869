"""Options of feedback learning, and the settings it was published with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..engine.settings import Settings
from ..options import flag

# The released code's: 4 x 4 pictures on each of four devices, 200 steps at a constant rate.
FEEDBACK_SETTINGS = Settings(
    steps=200, batch=4, accumulate=4, learning_rate=1e-5, warm_up=0, every_checkpoint=50, every_sample=100
)


@dataclass(frozen=True)
class FeedbackRun:
    """The model that is tuned, the rewards it is tuned by, and its prompts.

    `size` is (width, height) in pixels; IterComp tuned at 512 x 512.
    """

    model: Path = field(metadata=flag("diffusers folder or .safetensors of SDXL"))
    rewards: Path = field(metadata=flag("folder of reward models, one for each aspect"))
    prompts: Path | None = field(
        default=None, metadata=flag("text file, one prompt a line (default: captions of Shapes World)")
    )
    size: tuple[int, int] = field(default=(512, 512), metadata=flag("width x height (%(default)s)"))
    gradient_checkpointing: bool = field(default=False, metadata=flag("less memory, about a third more time"))
