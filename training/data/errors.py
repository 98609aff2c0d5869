"""Error of data that cannot be trained on."""

from __future__ import annotations


class SourceError(ValueError):
    """Pictures, latents, prompts or preferences that cannot be trained on."""
