"""Text of a conditioning, as the layers of a model have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

# Mark in model_options of ComfyUI-ppm's CLIP NegPip: its texts have two rows for each token, the first of
# which makes the key and the second the value.
NEGPIP = "ppm_negpip"


class Text(NamedTuple):
    """A conditioning's text: how many tokens, the rows that they take in its tensor, whether
    ConditioningZeroOut made it all zeros, and how many rows of padding a model has put before them. Of
    models that read several texts `tokens` counts all, `rows` those of the first.
    """

    tokens: int
    rows: int
    zeroed: bool = False
    before: int = 0

    @classmethod
    def of(
        cls,
        text: Tensor,
        model_options: Mapping[str, Any],
        zeroed: bool = False,
        before: int = 0,
        beside: int = 0,
    ) -> Text:
        """Of a text (1, before + rows, width), as a MODEL with these options reads it.

        `beside`: tokens of the other texts that the MODEL reads.
        """
        rows = text.shape[1] - before
        doubled = bool(model_options.get(NEGPIP)) and rows % 2 == 0
        return cls((rows // 2 if doubled else rows) + beside, rows, zeroed, before)

    def own_keys(self, keys: int, rows: int) -> int:
        """The first keys in a layer that are this text's own, of all those it has.

        `rows` is the length of all texts in the call: ComfyUI repeats a shorter text up to that of the others
        in the batch, which changes no attention, and the first repeat stands for all. Where a pack halves or
        cuts texts inside the UNet there are fewer keys than rows.
        """
        expected = max(rows, self.rows) * self.tokens // self.rows
        return self.tokens if keys >= expected else self.tokens * keys // expected


def is_zero(text: Tensor | None) -> bool:
    """True for a text of zeros alone, as ConditioningZeroOut makes it: an unconditional prompt."""
    return text is not None and not bool(text.any())
