"""CoMat's attribute concentration (arXiv 2404.03653): attributes stay on their nouns."""

from .attention import token_probabilities
from .losses import pixel_loss, pixel_loss_official, token_loss, token_loss_official

__all__ = [
    "pixel_loss",
    "pixel_loss_official",
    "token_loss",
    "token_loss_official",
    "token_probabilities",
]
