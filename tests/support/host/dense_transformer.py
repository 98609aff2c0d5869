"""Draw Regions on a transformer said once more: a dense matrix over prompt, captions and picture.

Captions stand behind the prompt here, each numbered by hand; nothing of the pack's attention is used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from dense_attention import dense_attention
from torch import Tensor

CROSSED = ("Cosmos-Predict2", "Anima", "Wan")
OVERRIDE = "optimized_attention_override"
# Kinds of tokens: instance n itself, words of its caption, and what else the caption has.
PROMPT, NOBODY, CAPTION, MARK = -1, -2, 100, 200


@dataclass
class Rules:
    """Strength of each instance, weight of the prompt inside, and whether instances are isolated."""

    strengths: Sequence[float]
    prompt: float = 0.0
    isolated: bool = False

    def weight(self, row: int, key: int, drawn: bool) -> float:
        """How often a key of one kind counts for a row of another."""
        if row >= CAPTION:
            return float(key in (row, row - CAPTION))
        if not drawn or row < 0:
            return float(key < CAPTION)
        share = min(self.strengths[row], 1.0)
        if key >= MARK:
            return share if key - MARK == row else 0.0
        if key >= CAPTION:
            return self.strengths[row] if key - CAPTION == row else 0.0
        if key == PROMPT:
            return 1 - share * (1 - (0.0 if self.isolated else self.prompt))
        return 1.0 if key == row or not self.isolated else 1 - share

    def matrix(self, rows: Sequence[int], keys: Sequence[int], drawn: bool) -> Tensor:
        kinds = sorted(set(rows) | set(keys))
        table = torch.tensor([[self.weight(row, key, drawn) for key in kinds] for row in kinds])
        at = {kind: place for place, kind in enumerate(kinds)}
        return table[[at[row] for row in rows]][:, [at[key] for key in keys]]


def with_dense_attention(
    model: Any,
    name: str,
    texts: Sequence[Tensor],
    owner: Sequence[int],
    rules: Rules,
    values: float = 1.0,
    layers: Collection[int] | None = None,
    beside: Sequence[Tensor] = (),
    marks: Sequence[Collection[int]] = (),
) -> Any:
    """A clone of the MODEL; `owner` says whose each of the picture's tokens is, -1 for nobody's.

    `beside` are the captions as Llama has them, for HiDream; `marks` the places of start, end and padding in
    each caption, for models that read text crossed.

    `values` scales what attention attends to, as another override might. `layers` are the numbers of the
    blocks in which instances are drawn, all if None.
    """
    first = name in ("Lumina 2", "Z-Image")
    context = 3 if name in ("SD3.5", "HiDream I1") else 2
    transformer = model.get_model_object("diffusion_model")

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        prompt = args[context]
        captions = [text.to(prompt).expand(len(prompt), -1, -1) for text in texts]
        filler = sum(text.shape[1] for text in texts) if first else 0
        if name == "Z-Image":
            captions.append(prompt.new_zeros(len(prompt), -filler % 32, prompt.shape[2]))
        joined = torch.cat((*captions, prompt) if first else (prompt, *captions), 1)
        kinds = [CAPTION + n for n, text in enumerate(texts) for _ in range(text.shape[1])]
        if name in CROSSED:
            kinds = [
                (MARK if place in own else CAPTION) + n
                for n, (text, own) in enumerate(zip(texts, marks, strict=True))
                for place in range(text.shape[1])
            ]
        padded = -prompt.shape[1] % 32 if name == "Z-Image" else 0
        hidden = [999] * (-filler % 32 if name == "Z-Image" else 0)
        own = [PROMPT] * (prompt.shape[1] + padded)
        text_kinds = [*kinds, *hidden, *own] if first else [*own, *kinds]
        changed = {context: joined}
        if name == "HiDream I1":
            states = args[context + 1]
            more = [one.to(states).expand(len(states), -1, -1, -1) for one in beside]
            changed[context + 1] = torch.cat((states, *more), 2)
            llama = [CAPTION + n for n, one in enumerate(beside) for _ in range(one.shape[2])]
            text_kinds += [*[PROMPT] * states.shape[2], *llama] * 2
        options = next(a for a in (*args, *kwargs.values()) if isinstance(a, dict) and "cond_or_uncond" in a)
        options = dict(options)
        options[OVERRIDE] = _attention(
            name, text_kinds, owner, rules, options["cond_or_uncond"], len(prompt), values, layers
        )
        options["patches"] = {**options.get("patches", {}), "post_input": [_numbers(name, texts)]}
        if name not in ("FLUX.2", "Qwen-Image"):
            del options["patches"]["post_input"]
        args = tuple(
            options if isinstance(a, dict) and "cond_or_uncond" in a else changed.get(n, a)
            for n, a in enumerate(args)
        )
        if "transformer_options" in kwargs:
            kwargs["transformer_options"] = options
        if not first:
            return executor(*args, **kwargs)
        embedder = transformer.rope_embedder
        transformer.rope_embedder = _Renumbered(embedder, text_kinds)
        try:
            return executor(*args, **kwargs)
        finally:
            transformer.rope_embedder = embedder

    bound = model.clone()
    kind = WrappersMP.APPLY_MODEL if name == "SD3.5" else WrappersMP.DIFFUSION_MODEL
    bound.add_wrapper_with_key(kind, "reference", wrapper)
    return bound


class _Renumbered(torch.nn.Module):
    """Positions 1, 2, … of the whole text -> those of each text alone, the picture behind the prompt."""

    def __init__(self, embedder: Any, kinds: Sequence[int]) -> None:
        super().__init__()
        self.embedder = embedder
        self.before = sum(kind != PROMPT for kind in kinds)
        prompt = len(kinds) - self.before
        ends = {kind: max(n for n, one in enumerate(kinds) if one == kind) for kind in set(kinds)}
        self.places = [prompt - (ends[kind] - n) for n, kind in enumerate(kinds)]

    def forward(self, ids: Tensor) -> Tensor:
        ids = ids.clone()
        if ids.shape[1] == len(self.places) and not ids[..., 1:].any():
            ids[..., 0] = torch.tensor(self.places, dtype=ids.dtype)
        else:
            shown = ids[..., 0] > 0
            ids[..., 0] = torch.where(shown, ids[..., 0] - self.before, ids[..., 0])
        return self.embedder(ids)


def _numbers(name: str, texts: Sequence[Tensor]) -> Any:
    def renumber(given: dict[str, Any]) -> dict[str, Any]:
        ids = given["txt_ids"]
        own = ids[:, : ids.shape[1] - sum(text.shape[1] for text in texts)]
        lengths = [text.shape[1] for text in texts]
        parts = [own[:, -n:] if name == "FLUX.2" else own[:, :n] for n in lengths]
        return {**given, "txt_ids": torch.cat((own, *parts), 1)}

    return renumber


def _attention(
    name: str,
    text: Sequence[int],
    owner: Sequence[int],
    rules: Rules,
    labels: Sequence[int],
    batch: int,
    values: float,
    layers: Collection[int] | None,
) -> Any:
    read: list[int] = []
    crossed = name in CROSSED
    cells = [NOBODY if one < 0 else one for one in owner]

    def kinds(rows: int, keys: int) -> tuple[list[int], list[int]] | None:
        """What the rows and keys of a call are; None for one in which all see all."""
        if rows == keys == len(text):
            return list(text), list(text)
        before = [] if crossed else list(text)
        mine = [*before, *cells, *[NOBODY] * (rows - len(before) - len(cells))]
        if name == "HiDream I1":
            mine = [*cells, *text]
        if rows < len(before) + len(cells):
            return None
        if rows == keys:
            return (mine, mine) if not crossed or rules.isolated else None
        return mine, list(text)

    def attend(
        chosen: Any, query: Tensor, key: Tensor, value: Tensor, heads: int, *rest: Any, **options: Any
    ) -> Tensor:
        if not options.get("skip_reshape"):
            query, key, value = (
                one.reshape(*one.shape[:2], heads, -1).transpose(1, 2) for one in (query, key, value)
            )
        rows, keys = query.shape[2], key.shape[2]
        found = kinds(rows, keys) if len(query) == batch else None
        alone = rows == keys == len(text)
        if found is not None and not alone and not (crossed and rows == keys):
            read.append(len(read))
        here = layers is None or not read or read[-1] in layers
        outputs = []
        for chunk, label in enumerate(labels):
            part = slice(chunk * len(query) // len(labels), (chunk + 1) * len(query) // len(labels))
            if found is None:
                weights = torch.ones(rows, keys)
            elif alone:
                # Text alone: each text for itself.
                weights = (torch.tensor(found[0])[:, None] == torch.tensor(found[1])).float()
            else:
                weights = rules.matrix(*found, drawn=label == 0 and here)
            outputs.append(dense_attention(query[part], key[part], values * value[part], weights))
        return torch.cat(outputs).transpose(1, 2).flatten(2)

    return attend
