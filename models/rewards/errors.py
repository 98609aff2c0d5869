"""What can be wrong with the files of a reward model."""

from __future__ import annotations


class RewardFileError(ValueError):
    """A file that is not a whole reward model, said in the user's words."""
