"""torch's attention while a model is called, with each row of a batch computed by groups of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...models.attention.row_groups import RowGroups


class RowAttention(TorchFunctionMode, ABC):
    """In a `with` block `scaled_dot_product_attention` lets every row see what `groups` say of it.

    `reached` is for the groups to set, so that a model which computes attention otherwise can be told of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reached = False

    @abstractmethod
    def groups(self, query: Tensor, key: Tensor, *rest: Any, **options: Any) -> Sequence[RowGroups] | None:
        """Those of each row of a call, which has `rest` and `options` behind its values; None leaves it."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        return self._attend(func, *args, **kwargs)

    def _attend(
        self, func: Any, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any
    ) -> Tensor:
        groups = self.groups(query, key, *rest, **options)
        if groups is None:
            return func(query, key, value, *rest, **options)
        rows = [
            one.attend(query[n : n + 1], key[n : n + 1], value[n : n + 1]) for n, one in enumerate(groups)
        ]
        return torch.cat(rows)
