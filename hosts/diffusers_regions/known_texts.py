"""Whether calls of a transformer had the prompt's text, by which rows that are drawn are known."""

from __future__ import annotations

import logging
from collections.abc import Sequence

logger = logging.getLogger("instance_composer")


class KnownTexts:
    """What was seen of calls' texts; `prompt` is the prompt's number of tokens."""

    def __init__(self, prompt: int) -> None:
        self._prompt = prompt
        self._found = False
        self._lengths: set[int] = set()

    def see(self, drawn: Sequence[bool], lengths: Sequence[int]) -> None:
        """Note a call: which of its rows are the prompt's, and their numbers of tokens."""
        self._found = self._found or any(drawn)
        self._lengths.update(lengths)

    def tell(self) -> None:
        """Warn where there were calls, and none had the prompt: nothing was drawn."""
        if self._found or not self._lengths:
            return
        lengths = ", ".join(map(str, sorted(self._lengths)))
        logger.warning(
            "No instance was drawn: no text that the transformer was given is prompt_embeds. That has %d "
            "tokens, the texts have %s. Give the pipeline the same prompt_embeds as draw_regions, encoded "
            "once: max_sequence_length, LoRAs and weights of words change what comes out.",
            self._prompt,
            lengths,
        )
