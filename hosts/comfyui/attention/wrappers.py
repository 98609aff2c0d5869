"""The MODEL's side: picking up the terms of each conditioning and adding them in the UNet.

Everything about a prompt travels on its conditioning; the MODEL gets two wrappers, the same whatever was
applied, so applying twice binds once. The attn2 patches are made at call time over whatever is installed
by then, so the order of nodes does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ..concentration.differentiable_unet import differentiable_options
from ..concentration.latent import (
    LatentStep,
    move_denoised,
    until_captured,
)
from .terms import (
    KEY,
    Made,
    StepTerm,
    StepTerms,
    Text,
    is_zero,
)
from .unet.call import options_of, over_attn2, with_options
from .unet.layers import Block
from .unet.patch import Attention, AttentionPatch, Group
from .window import Sampling


def bind(model: Any) -> Any:
    """A clone of the MODEL that adds the terms its conditionings carry; the original stays as it was."""
    bound = model.clone()
    if not bound.get_wrappers(WrappersMP.DIFFUSION_MODEL, KEY):
        binding = Binding()
        bound.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, binding.on_conditionings)
        bound.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, binding.on_unet)
        bound.add_callback_with_key(CallbacksMP.ON_CLEANUP, KEY, binding.on_cleanup)
    return bound


class Binding:
    """The two wrappers, and what they keep for the length of a sampling run."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def on_conditionings(
        self, executor: Any, model: Any, conds: Any, latent: Tensor, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """CALC_COND_BATCH: every conditioning gets the terms that act at this step, possibly none.

        All get an entry if one has terms, because ComfyUI evaluates only those together that have the same
        entries. At a step where nothing acts none gets one, and the UNet runs as if nothing were applied.
        What guides the latent runs the UNet before, for its own conditioning alone.
        """
        if not any(KEY in cond["model_conds"] for group in conds for cond in group or ()):
            return executor(model, conds, latent, sigmas, *args, **kwargs)
        sigma, size = float(sigmas[0]), (latent.shape[-2], latent.shape[-1])
        terms = [[self._terms_at(c, sigma, model.model_sampling) for c in group or ()] for group in conds]
        in_unet = [[tuple(s for s in steps if not isinstance(s, LatentStep)) for steps in g] for g in terms]
        acting = any(found for group in in_unet for found in group)
        evaluated = [
            group
            and [
                self._with_terms(cond, found if acting else None, size)
                for cond, found in zip(group, found_in_group, strict=True)
            ]
            for group, found_in_group in zip(conds, in_unet, strict=True)
        ]
        captures = {
            step: (index, self._with_terms(cond, (*others, step), size))
            for index, group in enumerate(conds)
            for cond, found, others in zip(group or (), terms[index], in_unet[index], strict=True)
            for step in found
            if isinstance(step, LatentStep)
        }

        def capture(moving: Tensor, step: LatentStep) -> None:
            place, cond = captures[step]
            alone = [[cond] if index == place else None for index in range(len(conds))]
            executor(model, alone, moving, sigmas, *args, **kwargs)

        moved = move_denoised(capture, model, list(captures), latent, sigmas) if captures else None
        denoised = executor(model, evaluated, latent, sigmas, *args, **kwargs)
        return denoised if moved is None else [one + moved for one in denoised]

    def _terms_at(self, cond: Mapping[str, Any], sigma: float, sampling: Sampling) -> tuple[StepTerm, ...]:
        carried = cond["model_conds"].get(KEY)
        if carried is None:
            return ()
        # ComfyUI makes negatives for areas out of copies of the positive, right in `model_conds` alone.
        text = cond["model_conds"]["c_crossattn"].cond
        told = Text(text.shape[1], self.once((text,), lambda: is_zero(text)))
        return tuple(step for term in carried.cond if (step := term.at(sigma, sampling, told)) is not None)

    def _with_terms(
        self, cond: dict[str, Any], terms: tuple[StepTerm, ...] | None, latent: tuple[int, int]
    ) -> dict[str, Any]:
        model_conds = {name: value for name, value in cond["model_conds"].items() if name != KEY}
        if terms is not None:
            model_conds[KEY] = StepTerms(terms, latent, self)
        return {**cond, "model_conds": model_conds}

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` makes, the same object for the same key until the run ends."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def on_unet(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """DIFFUSION_MODEL: takes the terms out of the keywords and patches attn2 for this call."""
        chunks = kwargs.pop(KEY, ())
        if not any(chunks):
            return executor(*args, **kwargs)
        options = self._patched(options_of(args, kwargs), chunks, args[0])
        if any(isinstance(step, LatentStep) for steps in chunks for step in steps):
            args, kwargs = with_options(args, kwargs, differentiable_options(options))
            return until_captured(executor, args, kwargs)
        args, kwargs = with_options(args, kwargs, options)
        return executor(*args, **kwargs)

    def _patched(
        self, options: dict[str, Any], chunks: tuple[tuple[StepTerm, ...], ...], latent: Tensor
    ) -> dict[str, Any]:
        """A copy of the options with our patches over those installed."""
        rows, labels = len(latent) // len(chunks), tuple(options["cond_or_uncond"])
        if rows * len(chunks) != len(latent) or len(labels) != len(chunks):
            raise ValueError(
                f"The UNet got {len(latent)} rows for {len(chunks)} conditionings. Another node pack splits "
                "the batch in a way Instance Composer does not know; take its nodes off this MODEL."
            )
        groups = self._groups(chunks, latent.device)

        def patch(base: Attention | None, block: Block) -> Attention:
            here = tuple(group for group in groups if block in group.blocks)
            return AttentionPatch(base, block, here, labels, rows)

        return over_attn2(options, (block for group in groups for block in group.blocks), patch)

    def _groups(self, chunks: tuple[tuple[StepTerm, ...], ...], device: torch.device) -> tuple[Group, ...]:
        kinds: dict[tuple[Hashable, int], list[tuple[int, StepTerm]]] = {}
        for index, terms in enumerate(chunks):
            for order, term in enumerate(terms):
                # One kind may occur twice in a chunk (the same layout applied twice): those stay apart.
                kinds.setdefault((term.kind, order), []).append((index, term))
        return tuple(members[0][1].group(members, device, self) for members in kinds.values())

    def on_cleanup(self, *_: Any) -> None:
        """After a sampling run, finished or interrupted: nothing stays on the device."""
        self._made.clear()
