"""Binder of transformers: captions join the prompt, and attention lets each row see what it may."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import comfy.model_base
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..layer_call import Block, Group, ModelCall
from ..placed import PlacedGroup
from .families import Family
from .joined import join
from .override import OURS, OVERRIDE, JoinedAttention
from .presets import preset_blocks

OPTIONS = "transformer_options"


class TransformerBinder:
    """The binder of one family of transformers."""

    def __init__(self, family: Family) -> None:
        self.family = family

    @property
    def wrapper(self) -> str:
        # A class that does not call the wrappers around itself is reached through ComfyUI's model around it.
        return WrappersMP.DIFFUSION_MODEL if self.family.wrapped else WrappersMP.APPLY_MODEL

    def serves(self, model: Any) -> bool:
        return self.family.serves(model.get_model_object("diffusion_model"))

    def options(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return self._named(args, kwargs)[OPTIONS]

    def with_options(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self._changed(args, kwargs, {OPTIONS: options})

    def text_rows(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        return self._named(args, kwargs)[self.family.text].shape[1]

    def following(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AbstractContextManager[Any]:
        ours = self.options(args, kwargs).get(OURS)
        return nullcontext() if ours is None else ours.following()

    def reached(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        ours = self.options(args, kwargs).get(OURS)
        return ours is None or ours.reached

    def text_blocks(self, model: Any) -> Collection[Block]:
        return ()

    def layers(self, model: Any, preset: str) -> tuple[Block, ...]:
        return preset_blocks(self.family.depth(model.get_model_object("diffusion_model")), preset)

    def padding(self, text: Tensor) -> int:
        return self.family.padding(text)

    def beside(self, arguments: Mapping[str, Any]) -> int:
        return self.family.beside(arguments)

    def tokens(self, text: Tensor, values: Mapping[str, Any], model_options: Mapping[str, Any]) -> int:
        return self.family.tokens(text, values)

    def patched(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], groups: Sequence[Group], call: ModelCall
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        placed = {group.chunk: group for group in groups if isinstance(group, PlacedGroup)}
        others = tuple(group for group in groups if not isinstance(group, PlacedGroup))
        given = self._named(args, kwargs)
        running = call.running if self.family.wrapped else call.running.diffusion_model
        joined = join(self.family, running, given, args[0], placed, call)
        options = dict(given[OPTIONS])
        options[OVERRIDE] = options[OURS] = JoinedAttention(options.get(OVERRIDE), joined, others)
        if joined.numbers is not None:
            patches = options.get("patches", {})
            options["patches"] = {**patches, "post_input": [*patches.get("post_input", ()), joined.number]}
        return self._changed(args, kwargs, {**joined.arguments, OPTIONS: options})

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**dict(zip(_positional(self.family), args, strict=False)), **kwargs}

    def _changed(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], values: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with other values, each passed as it was before."""
        names = _positional(self.family)[: len(args)]
        changed = tuple(values.get(name, value) for name, value in zip(names, args, strict=True))
        return changed, {**kwargs, **{name: value for name, value in values.items() if name not in names}}


@lru_cache
def _positional(family: Family) -> tuple[str, ...]:
    """Names of the positional arguments of the function inside the wrappers."""
    if family.wrapped:
        function = getattr(sys.modules[family.module], family.name)._forward
    else:
        function = comfy.model_base.BaseModel._apply_model
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return tuple(one.name for one in parameters if one.kind in kinds)[1:]
