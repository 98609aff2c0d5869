"""Call of one attention layer, as terms see it, whatever the model family that makes it.

A family fulfils `LayerCall` with a patch of its own, as UNets do in `unet.patch`; what acts in a layer is a
`Group`, which knows no family.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from .text import Text

# Key of one attention layer: kind of block, number of the block, number of the layer in it.
Block = tuple[str, int, int]


@dataclass(frozen=True)
class ModelCall:
    """One call of the diffusion model.

    `running` is the module that is called, None where nobody knows; `labels` are the call's `cond_or_uncond`,
    one for each chunk of `rows` rows; `text_rows` is the length of the texts.
    """

    running: Any
    labels: tuple[int, ...]
    rows: int
    text_rows: int


class AllReadError(Exception):
    """Raised by a group that has read all it wants: the rest of this call of the model is not needed."""


class LayerCall(Protocol):
    """One layer in one call of the model: its inputs, and what is added to its attention.

    The conditionings of the call are numbered chunks of equal size. Methods that take a chunk raise
    `UnexplainedRowsError` where another pack has changed the batch so that chunks cannot be found. Frames of
    a video are rows of their chunk.
    """

    @property
    def block(self) -> Block: ...

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the picture in tokens."""
        ...

    @property
    def frames(self) -> int:
        """How many neighbouring rows are frames of one picture's video."""
        ...

    @property
    def heads(self) -> int: ...

    def unreadable(self, chunk: int, text: Text) -> str | None:
        """Why what a chunk's words attend to cannot be told, as a sentence; None where it can."""
        ...

    def own_tokens(self, text: Text) -> int:
        """How many tokens of a text, from its first one on, the layer has keys of."""
        ...

    def probabilities(self, chunk: int, text: Text, tokens: Tensor) -> Tensor:
        """Attention that K tokens of a chunk's text get, (rows, heads, K, L) in float32.

        A softmax over all that the picture's places see in this layer.
        """
        ...

    def values(self, chunk: int, text: Text, tokens: Tensor) -> Tensor:
        """(rows, K, C) of these tokens."""
        ...

    def plain(self, chunk: int) -> Tensor:
        """Attention of one chunk as it is without any patch: (rows, L, C)."""
        ...

    def add(self, chunk: int, term: Tensor) -> None:
        """Adds (rows, L, C) to the prompt's own rows of one chunk."""
        ...


class CrossedCall(LayerCall, Protocol):
    """The same of a layer whose keys are texts alone."""

    @property
    def text_rows(self) -> int:
        """Length of the texts with which the model was called."""
        ...

    def query(self, chunk: int) -> Tensor:
        """(rows, L, C) of one chunk."""
        ...

    def inputs(self, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
        """Query (rows, L, C), key and value (rows, T, C) of one chunk."""
        ...

    def project(self, for_keys: Tensor, for_values: Tensor) -> tuple[Tensor, Tensor]:
        """Key and value (1, T, C) that the layer makes of a text (1, T, width), given once for each."""
        ...

    def add_to_copies(self, chunk: int, term: Tensor) -> None:
        """Adds (rows, L, C) to one chunk and all copies of it that an attention couple pack made."""
        ...


class Group(Protocol):
    """Terms of one kind in one call of the model, of one or several of its chunks."""

    @property
    def blocks(self) -> Collection[Block]:
        """Keys of the layers it acts on."""
        ...

    @property
    def adds(self) -> bool:
        """Whether it adds to attention, or reads alone and leaves every bit as it is."""
        ...

    def act(self, call: Any) -> None:
        """Adds to the layer what its terms add, or reads what they read.

        `call` is a `LayerCall`, in a UNet a `CrossedCall`.
        """
        ...
