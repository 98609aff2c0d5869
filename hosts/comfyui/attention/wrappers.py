"""Wrappers on a MODEL, which pick up the terms of each conditioning and let them act in its attention.

Everything about a prompt travels on its conditioning; the MODEL gets two wrappers, the same whatever was
applied, so applying twice binds once. Patches are made at call time over whatever is installed by then, so
the order of nodes does not matter.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol

import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ....models.concentration.energy import LARGEST_NOISE
from .binder import Binder, find_binder
from .compiled import PlainRuns
from .errors import UnexplainedRowsError
from .evaluations import Evaluations
from .guiding_run import guiding_conditioning, guiding_options
from .layer_call import AllReadError, Group, ModelCall
from .parts import PART_SAMPLED, is_part
from .run_cache import RunCache
from .shares import shares_of
from .terms import CARRIED, KEY, ChunkTerms, GuidingStep, StepTerm, StepTerms
from .text import Text, is_zero
from .window import CachedSampling, Sampling, Window, acts

logger = logging.getLogger("instance_composer")

Chunks = tuple[tuple[StepTerm, ...], ...]

NOT_REACHED = (
    "In a step no attention of the model was reached, so regions and words were not looked at there. Another "
    "node skips the model's blocks (a cache, which uses again what the last computed step did) or computes "
    "attention by itself: take it off this MODEL if that is not meant."
)
MOVED_LATE = (
    "This guider asked for other prompts before the one that guides the picture (Attribute Concentration, "
    "mode latent), in a call of their own. They are not moved as it is, so the picture is moved further than "
    "strength says: with CFG, by as many times as CFG is. Use a guider that asks for the positive prompt "
    "first or for all at once, such as CFGGuider, or lower strength."
)
OUT_OF_RANGE = (
    "%s did not act in this run: none of its steps lies between start (%g) and end (%g) of the noise "
    "schedule. A pass with denoise below 1 begins further on."
)


class Observer(Protocol):
    """Reads the attention of a MODEL's runs, whatever terms the conditionings carry."""

    def begin_step(
        self,
        sampling: Sampling,
        conds: Any,
        latent: Tensor,
        sigma: float,
        read: Callable[[Any], Text],
    ) -> bool:
        """Called at every step with the conditionings (a list of lists) and the latent (B, C, h, w).

        Where a guider asks for them in several calls, at each of these with those that are new. `read` tells
        the text of one of them.

        True if it may read in this step; where none does, a compiled MODEL runs as it was compiled.
        """
        ...

    def group(self, options: Mapping[str, Any], latent: Tensor) -> Group | None:
        """Group that reads in one call of the diffusion model; None to read nothing."""
        ...


def bind(model: Any, observer: Observer | None = None) -> Any:
    """A clone of the MODEL that adds the terms its conditionings carry; the original stays as it was.

    With an observer the clone, and what is cloned from it, is read by that one too. Raises
    `ModelMismatchError` for a model that no binder serves.
    """
    binder = find_binder(model)
    installed = model.get_wrappers(binder.wrapper, KEY)
    if installed and observer is None:
        return model.clone()
    observers = installed[0].__self__.observers if installed else ()
    return _bound(model, ModelWrappers(binder, observers if observer is None else (*observers, observer)))


def _bound(model: Any, wrappers: ModelWrappers) -> Any:
    bound = model.clone()
    # Clones share their wrappers, so an observed one gets its own, in the place of those it came with.
    for registry, kind, method in (
        (bound.wrappers, WrappersMP.CALC_COND_BATCH, wrappers.on_conditionings),
        (bound.wrappers, wrappers.binder.wrapper, wrappers.on_diffusion_model),
        (bound.callbacks, CallbacksMP.ON_CLEANUP, wrappers.on_cleanup),
    ):
        registry.setdefault(kind, {})[KEY] = [method]
    return bound


def unobserved(model: Any) -> Any:
    """The MODEL without what observes it: itself where nothing does, else a clone."""
    installed = model.get_wrappers(WrappersMP.CALC_COND_BATCH, KEY)
    if not installed or not installed[0].__self__.observers:
        return model
    return _bound(model, ModelWrappers(installed[0].__self__.binder))


class ModelWrappers:
    """The two wrappers, and the cache that lasts as long as a sampling run."""

    def __init__(self, binder: Binder, observers: tuple[Observer, ...] = ()) -> None:
        self.binder = binder
        self.observers = observers
        self.cache = RunCache()
        self._evaluations = Evaluations()
        self._plain = PlainRuns()
        self._told: set[str] = set()
        # The ranges of all terms that a run has met, by node: whether a step lay in them.
        self._ranges: dict[tuple[str, Window], bool] = {}
        self._told_ranges: set[tuple[str, Window]] = set()

    def on_conditionings(
        self, executor: Any, model: Any, conds: Any, latent: Tensor, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """CALC_COND_BATCH: every conditioning gets the terms that act at this step, possibly none.

        All get an entry if one has terms, because ComfyUI evaluates only those together that have the same
        entries. At a step where nothing acts none gets one, and the model runs as if nothing were applied.
        A guiding term runs the model before, for its own conditioning alone and without other packs' wrappers
        around the diffusion model, and counts as much as that conditioning does in the output. Its move is
        the latent's: every later call on that latent gets it too, so that what a guider makes of several
        calls is moved as far as that of one. What a guidance asks for again (perturbed attention, skipped
        layers) is read by no observer and grows no silhouettes. A compiled model runs plain where something
        acts or is read: this wrapper is outside what is compiled, the other one inside.
        """
        sigma, sampling = float(sigmas[0]), CachedSampling(model.model_sampling, self.cache)
        model_options = args[0] if args else kwargs["model_options"]
        read = partial(self._text, model_options=model_options)
        known = self._evaluations.of(latent, sigma)
        asked = known.take_in(conds)
        observers = () if asked.again else self.observers
        readings = [one.begin_step(sampling, asked.new, latent, sigma, read) for one in observers]

        def evaluate(conds: Any, latent: Tensor, acting: bool = True) -> Any:
            plain = self._plain.run(model) if acting or any(readings) else nullcontext()
            with plain, self._aside(asked.again):
                return executor(model, conds, latent, sigmas, *args, **kwargs)

        def guide(conds: Any, latent: Tensor) -> Any:
            options = guiding_options(model_options)
            if args:
                return executor(model, conds, latent, sigmas, options, *args[1:], **kwargs)
            return executor(model, conds, latent, sigmas, **{**kwargs, "model_options": options})

        if not any(CARRIED in cond["model_conds"] for group in conds for cond in group or ()):
            return known.moved(evaluate(conds, latent, acting=False))

        terms = [[self._terms_at(cond, sigma, sampling, read) for cond in group or ()] for group in conds]
        within = [[_not_guiding(steps) for steps in group] for group in terms]
        acting = any(found for group in within for found in group)
        evaluated = self._all_with_terms(conds, within if acting else None, latent)
        if is_part(model_options, latent) and any(steps for group in terms for steps in group):
            self._tell(PART_SAMPLED)
        guiding = [
            [_guiding(steps) if one else [] for steps, one in zip(group, first, strict=True)]
            for group, first in zip(terms, asked.first, strict=True)
        ]
        moves = [
            share * self._move(step, run, model, latent)
            for step, run, share in self._guiding_runs(
                guide, (conds, evaluated), (guiding, within), latent, sigmas
            )
        ]
        if moves:
            if asked.late:
                self._tell(MOVED_LATE)
            reach = sigmas.clamp(max=LARGEST_NOISE).reshape(-1, 1, 1, 1)
            known.add_move(sum(moves[1:], moves[0]) * reach)
        return known.moved(evaluate(evaluated, latent, acting))

    def _move(self, step: GuidingStep, run: Callable[[Tensor], Any], model: Any, latent: Tensor) -> Tensor:
        # The backward pass may run blocks again, so all of it is plain.
        with self._plain.run(model), self._aside(True):
            return step.move(run, model, latent)

    @contextmanager
    def _aside(self, aside: bool) -> Iterator[None]:
        before = self.cache.aside
        self.cache.aside = before or aside
        try:
            yield
        finally:
            self.cache.aside = before

    def _guiding_runs(
        self,
        guide: Callable[[Any, Tensor], Any],
        given: tuple[Any, Any],
        terms: tuple[Sequence[Sequence[list[GuidingStep]]], Sequence[Sequence[tuple[StepTerm, ...]]]],
        latent: Tensor,
        sigmas: Tensor,
    ) -> Iterator[tuple[GuidingStep, Callable[[Tensor], Any], Tensor]]:
        """Each guiding term with its run of the model and its conditioning's share (B, C, h, w).

        The run is of its conditioning alone, where the guider has it. `given` are the conditionings as they
        came and as they are evaluated, `terms` those of each that are to run and those within. One that has
        no share at this step does not run.
        """
        conds, evaluated = given
        size = (latent.shape[-2], latent.shape[-1])
        for place, (group, guiding, within) in enumerate(zip(conds, *terms, strict=True)):
            if not any(guiding):
                continue
            shares = shares_of(evaluated[place], latent, sigmas)
            for cond, steps, others, share in zip(group, guiding, within, shares, strict=True):
                if not steps or share is None or not share.any():
                    continue
                for step in steps:
                    own = guiding_conditioning(self._with_terms(cond, (*others, step), size))
                    alone = [[own] if index == place else None for index in range(len(conds))]
                    yield step, partial(guide, alone), share

    def _terms_at(
        self, cond: Mapping[str, Any], sigma: float, sampling: Sampling, read: Callable[[Any], Text]
    ) -> tuple[StepTerm, ...]:
        carried = cond["model_conds"].get(CARRIED)
        if carried is None:
            return ()
        text = read(cond)
        for term in carried.cond:
            met = self._ranges.get((term.node, term.window), False)
            self._ranges[term.node, term.window] = met or acts(term.window, sigma, sampling)
        return tuple(step for term in carried.cond if (step := term.at(sigma, sampling, text)) is not None)

    def _text(self, cond: Mapping[str, Any], model_options: Mapping[str, Any]) -> Text:
        # The text is that of `model_conds`, not `cross_attn`: ComfyUI makes the negative for an area out of a
        # copy of the positive, in which `model_conds` alone is the negative's.
        conds = cond["model_conds"]
        text = conds["c_crossattn"].cond
        # Anima makes other numbers of zeros, so it is `cross_attn` that tells. Of a text that a copy shares
        # with its original the original's does: it comes before its copies.
        raw = self.cache.get(("raw text", text), lambda: cond.get("cross_attn"))

        def make() -> Text:
            zeros = is_zero(text)
            beside = self.binder.beside({name: getattr(one, "cond", None) for name, one in conds.items()})
            before = 0 if zeros else self.binder.padding(text)
            return Text.of(text, model_options, zeros or is_zero(raw), before, beside)

        return self.cache.get((text, raw), make)

    def _all_with_terms(
        self, conds: Any, terms: Sequence[Sequence[tuple[StepTerm, ...]]] | None, latent: Tensor
    ) -> list[Any]:
        """The conditionings of a call, each with its terms; with none at all where nothing acts."""
        size = (latent.shape[-2], latent.shape[-1])
        if terms is None:
            return [group and [self._with_terms(cond, None, size) for cond in group] for group in conds]
        return [
            group and [self._with_terms(cond, found, size) for cond, found in zip(group, own, strict=True)]
            for group, own in zip(conds, terms, strict=True)
        ]

    def _with_terms(
        self, cond: dict[str, Any], terms: tuple[StepTerm, ...] | None, latent: tuple[int, int]
    ) -> dict[str, Any]:
        model_conds = {name: value for name, value in cond["model_conds"].items() if name != CARRIED}
        if terms is not None:
            model_conds[KEY] = StepTerms(terms, latent, self.cache)
        return {**cond, "model_conds": model_conds}

    def on_diffusion_model(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """DIFFUSION_MODEL: takes the terms out of the keywords and patches the layers for this call."""
        chunks: Chunks = kwargs.pop(KEY, ())
        options, latent = self.binder.options(args, kwargs), args[0]
        groups = self._groups(chunks, latent.device)
        # What runs aside is none of the steps that observers read.
        for observer in () if self.cache.aside else self.observers:
            if (group := observer.group(options, latent)) is not None:
                groups.append(group)
        if not groups:
            return executor(*args, **kwargs)
        labels = tuple(options["cond_or_uncond"])
        if any(chunks):
            _check_rows(chunks, labels, latent)
            if any(_is_tile(chunk, latent) for chunk in chunks):
                self._tell(PART_SAMPLED)
        # The running module: of several GPUs each has its own.
        running = getattr(executor, "class_obj", None)
        call = ModelCall(running, labels, len(latent) // len(labels), self.binder.text_rows(args, kwargs))
        args, kwargs = self.binder.patched(args, kwargs, groups, call)
        for step in _guiding(step for steps in chunks for step in steps):
            options = step.options(self.binder.options(args, kwargs))
            args, kwargs = self.binder.with_options(args, kwargs, options)
        try:
            with self.binder.following(args, kwargs):
                result = executor(*args, **kwargs)
        except AllReadError:
            return torch.zeros_like(latent)  # nobody looks at it
        if not self.binder.reached(args, kwargs):
            self._tell(NOT_REACHED)
        return result

    def _tell(self, message: str) -> None:
        """A warning in the log, once a run."""
        if message not in self._told:
            self._told.add(message)
            logger.warning("%s", message)

    def _groups(self, chunks: Chunks, device: torch.device) -> list[Group]:
        kinds: dict[tuple[Hashable, int], list[tuple[int, StepTerm]]] = {}
        for index, terms in enumerate(chunks):
            for order, term in enumerate(terms):
                # A chunk that has a kind twice (the same layout applied twice) is in two groups.
                kinds.setdefault((term.kind, order), []).append((index, term))
        return [members[0][1].group(members, device, self.cache) for members in kinds.values()]

    def on_cleanup(self, *_: Any) -> None:
        """After a sampling run, finished or interrupted: what belongs to the run is forgotten.

        What regions and targets keep of each size of picture stays with their conditioning.
        """
        # ComfyUI cleans up while the exception that ended a run is on its way. A second pass is often meant
        # to begin further on, and of tiles there are many: it is told once, and no warning.
        missed = {one for one, met in self._ranges.items() if not met} - self._told_ranges
        if sys.exc_info()[0] is None:
            for node, (start, end) in sorted(missed):
                logger.info(OUT_OF_RANGE, node, start, end)
            self._told_ranges |= missed
        self.cache.clear()
        self._evaluations.clear()
        self._told.clear()
        self._ranges.clear()


def _guiding(steps: Iterable[StepTerm]) -> list[GuidingStep]:
    return [step for step in steps if isinstance(step, GuidingStep)]


def _not_guiding(steps: Iterable[StepTerm]) -> tuple[StepTerm, ...]:
    return tuple(step for step in steps if not isinstance(step, GuidingStep))


def _is_tile(chunk: tuple[StepTerm, ...], latent: Tensor) -> bool:
    return isinstance(chunk, ChunkTerms) and chunk.size != tuple(latent.shape[-2:])


def _check_rows(chunks: Chunks, labels: Sequence[int], latent: Tensor) -> None:
    rows = [chunk.rows for chunk in chunks if isinstance(chunk, ChunkTerms)]
    as_made = len(rows) < len(chunks) or sum(rows) == len(latent)
    if len(latent) % len(chunks) or len(labels) != len(chunks) or not as_made:
        raise UnexplainedRowsError(
            f"The UNet got {len(latent)} rows for {len(chunks)} conditionings. Another node pack splits "
            "the batch in a way Instance Composer does not know; take its nodes off this MODEL."
        )
