"""CoMat's attribute concentration (arXiv 2404.03653): attributes stay on their nouns."""

from ..attention.probabilities import token_probabilities
from ..baselines.attend_and_excite import max_attention_loss
from ..entities.extraction import extract_entities
from ..entities.matching import OverrideError, match_entities, read_overrides
from .gradient import logit_gradient
from .local import LocalGuidance, concentrate, concentrate_tokens
from .losses import (
    pixel_loss,
    pixel_loss_official,
    token_loss,
    token_loss_official,
)
from .targets import NOWHERE, Targets

__all__ = [
    "NOWHERE",
    "LocalGuidance",
    "OverrideError",
    "Targets",
    "concentrate",
    "concentrate_tokens",
    "extract_entities",
    "logit_gradient",
    "match_entities",
    "max_attention_loss",
    "pixel_loss",
    "pixel_loss_official",
    "read_overrides",
    "token_loss",
    "token_loss_official",
    "token_probabilities",
]
