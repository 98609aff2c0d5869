"""Captioners that say how likely a caption is given a picture, with a gradient to its pixels."""

from .loading import load_caption_scorer
from .scorer import CaptionScorer, FunctionScorer

__all__ = ["CaptionScorer", "FunctionScorer", "load_caption_scorer"]
