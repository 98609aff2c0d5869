"""CoMat's training (arXiv 2404.03653): a LoRA that makes a model draw what its prompts say."""

from .attention_losses import attribute_concentration, concentratable
from .concept_matching import Likelihood, concept_loss, likelihood_of, rival_loss
from .fidelity import LatentHead, fooling_loss, telling_loss
from .sampling import NoiseSchedule, ancestral_step, clean_prediction
from .schedule import Schedule, draw_schedule, random_crop

__all__ = [
    "LatentHead",
    "Likelihood",
    "NoiseSchedule",
    "Schedule",
    "ancestral_step",
    "attribute_concentration",
    "clean_prediction",
    "concentratable",
    "concept_loss",
    "draw_schedule",
    "fooling_loss",
    "likelihood_of",
    "random_crop",
    "rival_loss",
    "telling_loss",
]
