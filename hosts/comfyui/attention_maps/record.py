"""Record of the attention that a prompt's entities get while a MODEL samples.

The recorder only reads: each layer computes its attention as it would have, and the probabilities of the
entities' tokens are computed beside it from the same queries and keys. Sums are kept, one for each size
of map, never the maps of single steps or layers.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....models.attention.heat_maps import average_maps
from ..attention.binder import find_binder
from ..attention.errors import UnexplainedRowsError
from ..attention.layer_call import Block, LayerCall
from ..attention.text import Text
from ..attention.window import (
    Sampling,
    Window,
    acts,
    check_window,
)
from ..attention.wrappers import bind
from ..prompts.entities import PromptEntities

KEY = "instance_composer_attention_maps"
# Sampling runs whose maps are kept, a few hundred kilobytes each.
RUNS_KEPT = 16

PART_SAMPLED = (
    "A part of the pictures is being sampled by itself (context windows, another pack's tiles), and nobody "
    "knows where its maps lie in the whole: it is not recorded. Take those off to record."
)

logger = logging.getLogger("instance_composer")


class EmptyRecordError(ValueError):
    """A record of a MODEL that has not sampled."""


class OtherPicturesError(ValueError):
    """Pictures that are not those a record was made of."""


@dataclass(frozen=True)
class Settings:
    """Choice of what is recorded: of which entities, in which layers, when."""

    entities: PromptEntities
    blocks: tuple[Block, ...]
    window: Window


@dataclass(frozen=True, eq=False)
class Maps:
    """Mean attention (B, E, h, w) of each entity's noun and of its modifiers, summed over their tokens."""

    nouns: Tensor
    modifiers: Tensor

    @property
    def entities(self) -> Tensor:
        """Noun and modifiers together."""
        return self.nouns + self.modifiers


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """The maps of one sampling run; `pictures` names each picture of the batch by its latent."""

    settings: Settings
    pictures: tuple[str, ...]
    maps: Maps

    def rows(self) -> Iterator[tuple[str, Maps]]:
        """Each picture's name with its own maps."""
        for row, name in enumerate(self.pictures):
            part = slice(row, row + 1)
            yield name, Maps(self.maps.nouns[part], self.maps.modifiers[part])


# ComfyUI may drop a record from its cache and keep the sampler's LATENT. These are then found by the latent.
_recent: deque[RecordedRun] = deque(maxlen=RUNS_KEPT)


class AttentionRecord:
    """Maps of its MODEL's sampling runs; empty until the first one has ended.

    `latent_format` is ComfyUI's description of the MODEL's latents.
    """

    def __init__(self, settings: Settings, latent_format: Any) -> None:
        self.settings = settings
        self.latent_format = latent_format
        self._runs: deque[RecordedRun] = deque(maxlen=RUNS_KEPT)

    def add(self, run: RecordedRun) -> None:
        """Keep the maps of a run that has ended."""
        self._runs.append(run)
        _recent.append(run)

    def maps_of(self, latents: Tensor | None, count: int) -> Maps:
        """The maps of `count` pictures.

        Of the run these latents (B, C, h, w) or (B, C, frames, h, w) came out of, whole or in part; if none
        did, of the last run. Raises `EmptyRecordError`, and `OtherPicturesError` if the last run made another
        number of pictures.
        """
        if latents is not None and (found := self._find(latents)) is not None:
            return found
        if not self._runs:
            raise EmptyRecordError(
                "Nothing was recorded for these pictures. Connect the MODEL that comes out of Record "
                "Attention Maps to the sampler, with a range (start to end) that has steps in it and without "
                "areas on the prompt, tiles or context windows. If the sampler did not run because ComfyUI "
                "kept its result, connect its LATENT too, or change the seed."
            )
        last = self._runs[-1]
        if count != len(last.pictures):
            raise OtherPicturesError(
                f"The record is of {len(last.pictures)} pictures and {count} came in. Connect the LATENT of "
                "the sampler as well: then the maps of each picture are found."
            )
        return last.maps

    def knows(self, latents: Tensor) -> bool:
        """Whether these latents came out of runs that were recorded."""
        return self._find(latents) is not None

    def _find(self, latents: Tensor) -> Maps | None:
        known: dict[str, Maps] = {}
        for run in chain(_recent, self._runs):
            if run.settings == self.settings:
                known.update(run.rows())
        rows = [known.get(name) for name in name_pictures(latents)]
        found = [row for row in rows if row is not None]
        if len(found) < len(rows) or len({row.nouns.shape for row in found}) != 1:
            return None
        return Maps(torch.cat([row.nouns for row in found]), torch.cat([row.modifiers for row in found]))


def name_pictures(latents: Tensor) -> tuple[str, ...]:
    """A name for each latent of a batch, the same in half and in full precision."""
    return tuple(
        hashlib.sha256(one.to("cpu", torch.float16).contiguous().numpy().tobytes()).hexdigest()
        for one in latents
    )


def record_attention(
    model: Any, entities: PromptEntities, preset: str, start: float, end: float
) -> tuple[Any, AttentionRecord]:
    """A clone of the MODEL that records while it samples, and its record.

    Without entities nothing is recorded and the MODEL is handed back as it came.
    """
    check_window(start, end, "To record the whole run, set 0 and 1.")
    blocks = find_binder(model).layers(model, preset)
    settings = Settings(entities, blocks, (start, end))
    record = AttentionRecord(settings, model.get_model_object("latent_format"))
    if not entities.entities:
        logger.warning("The prompt has no entities, so no attention is recorded: %.80s", entities.prompt)
        return model, record
    recorder = Recorder(record)
    recorded = bind(model, recorder)
    recorded.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, recorder.on_sample)
    return recorded, record


class Recorder:
    """The observer of a recorded MODEL, and the run that is under way."""

    def __init__(self, record: AttentionRecord) -> None:
        self._record = record
        self._run: Run | None = None

    def on_sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """OUTER_SAMPLE: one run. What was interrupted is not recorded."""
        settings, outer = self._record.settings, self._run
        noise = args[0] if args else kwargs["noise"]
        run = self._run = Run(settings, executor.class_obj, whole=_extent(noise))
        try:
            samples = executor(*args, **kwargs)
        finally:
            self._run = outer
        if (maps := run.maps()) is not None:
            self._record.add(RecordedRun(settings, name_pictures(samples), maps))
        return samples

    def begin_step(
        self,
        sampling: Sampling,
        conds: Any,
        latent: Tensor,
        sigma: float,
        read: Callable[[Any], Text],
    ) -> bool:
        """Notes which of the conditionings are the prompt; True if the step is recorded."""
        if self._run is None:
            return False
        return self._run.begin_step(sampling, conds, latent, sigma, read)

    def group(self, options: Mapping[str, Any], latent: Tensor) -> RecordingGroup | None:
        """Reads one call of the UNet, if the prompt is among its conditionings."""
        return None if self._run is None else self._run.group(options, latent)


def _extent(latents: Tensor) -> tuple[int, int, int]:
    return len(latents), latents.shape[-2], latents.shape[-1]


@dataclass(eq=False)
class Run:
    """The sums of one sampling run. `guider` is ComfyUI's, whose "positive" is the prompt.

    `whole`: rows, height and width of the run's latents, None where nobody knows.
    """

    settings: Settings
    guider: Any
    sums: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    counts: dict[tuple[int, int], int] = field(default_factory=dict)
    # The prompt's text by its conditioning's uuid, and the latent's size, both of the present step; no texts
    # at a step that is not recorded.
    texts: Mapping[Any, Text] = field(default_factory=dict)
    latent: tuple[int, ...] = ()
    # Whether the prompt has areas at the present step.
    areas: bool = False
    warned: set[str] = field(default_factory=set)
    indices: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict)
    whole: tuple[int, int, int] | None = None

    def begin_step(
        self,
        sampling: Sampling,
        conds: Any,
        latent: Tensor,
        sigma: float,
        read: Callable[[Any], Text],
    ) -> bool:
        # The place of the prompt among `conds` depends on the guider; those of ComfyUI name it "positive".
        prompt = (getattr(self.guider, "conds", None) or {}).get("positive") or conds[0] or ()
        acting = acts(self.settings.window, sigma, sampling)
        if acting and self.whole not in (None, _extent(latent)):
            self.warn(PART_SAMPLED)
            acting = False
        # Of a guider that asks for its conditionings one by one, the call with the prompt alone is recorded.
        asked = {cond["uuid"] for group in conds for cond in group or ()}
        self.texts = {cond["uuid"]: read(cond) for cond in prompt if acting and cond["uuid"] in asked}
        self.areas = any("area" in cond for cond in prompt)
        self.latent = tuple(latent.shape[-2:])
        self._check_tokens()
        return bool(self.texts)

    def _check_tokens(self) -> None:
        last = self.last_token
        longest = max((text.tokens for text in self.texts.values()), default=last + 1)
        if last >= longest:
            raise ValueError(
                f"The entities reach to token {last + 1}, the prompt that is sampled has {longest}. Give "
                "Prompt Entities the text of the positive prompt."
            )

    def group(self, options: Mapping[str, Any], latent: Tensor) -> RecordingGroup | None:
        """Reads a call where a chunk of its batch is the prompt; None where none is."""
        if not self.texts:
            return None
        chunks = options.get("uuids", ())
        texts = {index: self.texts[name] for index, name in enumerate(chunks) if name in self.texts}
        if not texts:
            return None
        if tuple(latent.shape[-2:]) != self.latent:
            self.warn("A prompt with an area is not recorded." if self.areas else PART_SAMPLED)
            return None
        return RecordingGroup(self, texts, latent.device)

    def tokens(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Indices of the N tokens of all entities, and (2E, N) whose they are: nouns', then modifiers'.

        Made once: a list would be copied to the device in every layer.
        """
        if device not in self.indices:
            entities = self.settings.entities.entities
            groups: list[Sequence[int]] = [entity.noun_tokens for entity in entities]
            groups += [entity.modifier_tokens for entity in entities]
            tokens = sorted(set(chain.from_iterable(groups)))
            belongs = [[float(token in group) for token in tokens] for group in groups]
            self.indices[device] = (
                torch.tensor(tokens, dtype=torch.long, device=device),
                torch.tensor(belongs, device=device),
            )
        return self.indices[device]

    @property
    def last_token(self) -> int:
        """The last token of all entities, -1 where none has any."""
        return max(chain.from_iterable(e.tokens for e in self.settings.entities.entities), default=-1)

    def add(self, maps: Tensor) -> None:
        """The maps (B, N, h, w) of one layer at one step."""
        size = (maps.shape[-2], maps.shape[-1])
        self.sums[size] = self.sums[size] + maps if size in self.sums else maps
        self.counts[size] = self.counts.get(size, 0) + 1

    def maps(self) -> Maps | None:
        """The means, None if nothing was recorded."""
        if not self.sums:
            return None
        means = [(total / self.counts[size]).cpu() for size, total in self.sums.items()]
        nouns, modifiers = average_maps(means).chunk(2, dim=1)
        return Maps(nouns.clone(), modifiers.clone())

    def warn(self, message: str) -> None:
        """A warning in the log, once a run."""
        if message not in self.warned:
            self.warned.add(message)
            logger.warning("Attention maps: %s", message)


@dataclass(frozen=True, eq=False)
class RecordingGroup:
    """Reads the entities' probabilities in one call of the diffusion model.

    `texts` are the prompt's, for each chunk of the batch that is the prompt.
    """

    run: Run
    texts: Mapping[int, Text]
    device: torch.device

    @property
    def blocks(self) -> Collection[Block]:
        return self.run.settings.blocks

    @property
    def adds(self) -> bool:
        return False

    @torch.no_grad()
    def act(self, call: LayerCall) -> None:
        for chunk, text in self.texts.items():
            try:
                reason = call.unreadable(chunk, text)
            except UnexplainedRowsError as error:
                return self.run.warn(str(error))
            tokens, belongs = self.run.tokens(self.device)
            if reason is None and call.own_tokens(text) <= self.run.last_token:
                reason = "Another node pack cuts the prompt inside the model; its layers are left out."
            if reason is not None:
                self.run.warn(reason)
                continue
            # (rows, 2E, L): nouns, then modifiers.
            maps = belongs @ call.probabilities(chunk, text, tokens).mean(1)
            if call.frames > 1:
                maps = maps.unflatten(0, (-1, call.frames)).mean(1)
            self.run.add(maps.unflatten(-1, call.grid))
        return None
