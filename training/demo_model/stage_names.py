"""Names of the stages that train the demo model, in their order, for `--help` to list without torch."""

from typing import Literal, get_args

StageName = Literal[
    "crops", "autoencoder", "base-scenes", "base-mixed", "base-final", "base-checked", "decoder"
]
STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)
