"""Arguments of one call of a UNet, inside a DIFFUSION_MODEL wrapper: its transformer_options, changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..layer_call import Block
from .patch import Attention

# Places of transformer_options and of the texts among the positional arguments of the UNet's forward.
OPTIONS_POSITION = 5
CONTEXT_POSITION = 2


def options_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The transformer_options of the call."""
    return args[OPTIONS_POSITION] if len(args) > OPTIONS_POSITION else kwargs["transformer_options"]


def text_rows(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Length of the texts (B, rows, width) of the call."""
    return (args[CONTEXT_POSITION] if len(args) > CONTEXT_POSITION else kwargs["context"]).shape[1]


def with_options(
    args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the call with other transformer_options."""
    if len(args) > OPTIONS_POSITION:
        return (*args[:OPTIONS_POSITION], options, *args[OPTIONS_POSITION + 1 :]), kwargs
    return args, {**kwargs, "transformer_options": options}


def over_patches(
    kind: str,
    options: dict[str, Any],
    blocks: Iterable[Block],
    patch: Callable[[Attention | None, Block], Attention],
) -> dict[str, Any]:
    """A copy of the options (they are shared between steps) with patches over those installed by now.

    `kind` is "attn1" for self-attention or "attn2" for cross-attention. `patch` makes the one of a block from
    what is there, None for plain attention.
    """
    replace = options.get("patches_replace", {})
    patches: dict[Any, Attention] = dict(replace.get(kind, {}))
    for block in dict.fromkeys(blocks):
        # ComfyUI takes the patch of a whole transformer only where its block has none. Ours would hide it, so
        # it is ours that calls it.
        patches[block] = patch(patches.get(block) or patches.get(block[:2]), block)
    return {**options, "patches_replace": {**replace, kind: patches}}
