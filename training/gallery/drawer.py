"""A member at work, whatever it is."""

from __future__ import annotations

from typing import Protocol

from PIL import Image

from ...rankings.gallery import Prompt


class Drawer(Protocol):
    """Draws prompts; ValueError or OSError say in the user's words why there is no picture."""

    def draw(self, prompt: Prompt, seed: int) -> Image.Image:
        """The picture of a prompt, the same one for the same seed."""
        ...
