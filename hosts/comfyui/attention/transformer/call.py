"""Call of one attention in which a transformer's picture reads text, in one sequence with it or across."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .....models.attention.log_sum_exp import attend
from .....models.attention.row_groups import RowGroups, for_heads
from ..errors import ModelMismatchError
from ..layer_call import Block
from ..text import Text
from .families import who
from .joined import Joined

# Inputs of one chunk: query (rows, heads, L, d), key and value (rows, heads or fewer, T, d).
Inputs = tuple[Tensor, Tensor, Tensor]
# Scores above this, of keys that a row does not see, are as good as any other: their weight is 0.
LARGEST = 60.0
# The prompt's piece among the keys, see `models.attention.seeing`.
PROMPT = 0


class ReadingCall:
    """The `LayerCall` of a transformer.

    `inputs` gives those of a chunk with every token at its place, `attended` (B, L, C) is what the model
    would get; `groups` says who sees whom, None where all see all, and `sums` has the log-sum-exp of a
    chunk's rows if it is known. `masked`: another node hides a part of the keys.
    """

    def __init__(
        self,
        block: Block,
        joined: Joined,
        crossed: bool,
        inputs: Callable[[int], Inputs],
        attended: Tensor,
        groups: Callable[[int], RowGroups | None],
        sums: dict[int, Tensor],
        heads: int,
        masked: bool,
    ) -> None:
        self.block = block
        self.heads = heads
        self.frames, *grid = joined.grid
        self.grid: tuple[int, int] = (grid[0], grid[1])
        self._joined = joined
        self._inputs = inputs
        self._groups = groups
        self._attended = attended
        self._sums = sums
        self._masked = masked
        start = 0 if crossed else joined.picture
        self._picture = slice(start, start + joined.cells)
        self._terms: dict[int, Tensor] = {}

    def unreadable(self, chunk: int, text: Text) -> str | None:
        """A reason where another node hides a part of the keys."""
        return "Another node hides a part of the prompt in a layer; it is left out." if self._masked else None

    def own_tokens(self, text: Text) -> int:
        """All of the text's: transformers read prompts of one length together."""
        return text.tokens

    def probabilities(self, chunk: int, text: Text, tokens: Tensor) -> Tensor:
        """Of the softmax over prompt, captions and picture, as far as each place sees them."""
        if self._masked:
            raise ModelMismatchError(
                f"{who(False)} cannot be used where another node hides a part of the prompt. Take one of the "
                "two off."
            )
        query, key, value = self._inputs(chunk)
        groups = self._groups(chunk)
        if chunk not in self._sums:
            self._sums[chunk] = (
                attend(query, *(for_heads(one, query.shape[1]) for one in (key, value)))[1]
                if groups is None
                else groups.attend_with_sums(query, key, value)[1]
            )
        some = for_heads(key.index_select(2, self._places(text, tokens)), query.shape[1]).float()
        rows = query[:, :, self._picture].float() * query.shape[-1] ** -0.5
        scores = some @ rows.transpose(2, 3) - self._sums[chunk][:, :, None, self._picture]
        found = scores.clamp(max=LARGEST).exp()
        if groups is not None:
            found = found * groups.weights_of(PROMPT, self._picture)
        # Each frame by itself.
        return found.unflatten(-1, (self.frames, -1)).permute(0, 3, 1, 2, 4).flatten(0, 1)

    def values(self, chunk: int, text: Text, tokens: Tensor) -> Tensor:
        """(rows, K, C) of these tokens."""
        query, _, value = self._inputs(chunk)
        some = for_heads(value.index_select(2, self._places(text, tokens)), query.shape[1])
        return some.transpose(1, 2).flatten(2).repeat_interleave(self.frames, 0)

    def plain(self, chunk: int) -> Tensor:
        """Attention of the picture's places of one chunk as the model would get it: (rows, L, C)."""
        rows = slice(chunk * self._joined.rows, (chunk + 1) * self._joined.rows)
        return self._attended[rows, self._picture].unflatten(1, (self.frames, -1)).flatten(0, 1)

    def add(self, chunk: int, term: Tensor) -> None:
        """Adds (rows, L, C) to one chunk."""
        # Added up before they meet the attention, so that two give the same bits in either order.
        earlier = self._terms.get(chunk)
        self._terms[chunk] = term if earlier is None else earlier + term

    def result(self) -> Tensor:
        """The attention (B, L, C) with all terms."""
        if not self._terms:
            return self._attended
        whole = self._attended.clone()
        for chunk, term in self._terms.items():
            rows = slice(chunk * self._joined.rows, (chunk + 1) * self._joined.rows)
            whole[rows, self._picture].add_(term.unflatten(0, (-1, self.frames)).flatten(1, 2))
        return whole

    def _places(self, text: Text, tokens: Tensor) -> Tensor:
        """Places of a text's tokens among the keys, behind captions and padding."""
        return self._joined.places[tokens + text.before]
