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


@dataclass(frozen=True, kw_only=True)
class FeedbackTuning:
    """How feedback learning tunes, whatever the model; the defaults are the released code's."""

    gradient_checkpointing: bool = field(default=False, metadata=flag("less memory, about a third more time"))
    rank: int = field(
        default=0, metadata=flag("of a LoRA that is tuned instead of the whole UNet (%(default)g: the UNet)")
    )
    guidance: float = field(default=1.0, metadata=flag("while sampling (%(default)g: none)"))
    cap: float = field(
        default=2.0, metadata=flag("deviations above the mean up to which a reward counts (%(default)g)")
    )
    attribute_weight: float = field(default=1.0, metadata=flag("of the aspect (%(default)g)"))
    spatial_weight: float = field(default=1.0, metadata=flag("of the aspect (%(default)g)"))
    non_spatial_weight: float = field(default=1.0, metadata=flag("of the aspect (%(default)g)"))
    reward_weight: float = field(
        default=1.0,
        metadata=flag("of all rewards together (%(default)g; 0: nothing is sampled, rankings alone teach)"),
    )
    ranking_weight: float = field(
        default=0.0,
        metadata=flag("of what rankings say of their pictures, beside one aspect's shortfall (%(default)g)"),
    )
    ranking_reach: float = field(
        default=1.0, metadata=flag("how far a picture's place may move what is predicted (%(default)g)")
    )
    fidelity_weight: float = field(
        default=0.0, metadata=flag("of CoMat's discriminator, beside one aspect's shortfall (%(default)g)")
    )
    distance_weight: float = field(
        default=0.0,
        metadata=flag("of the distance from the original's predictions, likewise (%(default)g)"),
    )
    discriminator_rate: float = field(
        default=2.5, metadata=flag("of the discriminator's learning rate to the run's (%(default)g)")
    )


@dataclass(frozen=True, kw_only=True)
class FeedbackRun(FeedbackTuning):
    """The model that is tuned, the rewards it is tuned by, and its prompts.

    `size` is (width, height) in pixels; IterComp tuned at 512 x 512. The defaults are the released code's.
    """

    model: Path = field(metadata=flag("diffusers folder or .safetensors of SDXL"))
    rewards: Path = field(metadata=flag("folder of reward models, one for each aspect"))
    config: Path | None = field(
        default=None,
        metadata=flag("diffusers folder: configuration and tokenizers for a model that is a single file"),
    )
    prompts: Path | None = field(
        default=None, metadata=flag("text file, one prompt a line (default: captions of Shapes World)")
    )
    rankings: Path | None = field(
        default=None, metadata=flag("JSON Lines of ranked pictures of the run's size, for --ranking-weight")
    )
    size: tuple[int, int] = field(default=(512, 512), metadata=flag("width x height (%(default)s)"))
    init: Path | None = field(
        default=None,
        metadata=flag("start from what an earlier run learned: its model/unet, or with --rank its LoRA"),
    )
    held_out: int = field(
        default=0, metadata=flag("prompts that are not trained on, to measure the loss on (%(default)g)")
    )
