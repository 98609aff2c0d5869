"""Methods of keeping attributes on their nouns in ComfyUI, for measured comparisons.

Every function takes the loaded `Parts` and a `BindingRequest` and gives MODEL, positive and negative
CONDITIONING, the negative zeroed out as in `placing`. Entities are given word for word, so that no
parser's mistakes are measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ....generation.jobs import Job
from ....models.concentration.energy import MaxAttentionObjective
from ....models.concentration.find_targets import LEFT_ALONE, OWN_MAP, find_targets
from ....models.entities.extraction import (
    Entity,
    EntityTokens,
    Word,
    locate_entities,
)
from ..attention.terms import carry
from ..attention.unet.presets import preset_blocks
from ..attention.wrappers import bind
from ..checkpoints.unet import with_lora
from ..concentration.apply import Concentration, apply_concentration
from ..concentration.latent import LatentTerm
from ..prompts.pieces import Span
from ..prompts.text_axis import token_spans
from .placing import (
    Applied,
    Parts,
    Request,
    ifadapter,
    plain,
    regions,
    strong_regions,
)


@dataclass(frozen=True)
class BindingRequest(Request):
    """A prompt, that of the layout, with its entities, and the settings of what guides it.

    `entities`: for each the character spans of its words in the prompt, the noun last. `lora` is a file and
    its strength, for methods that have one.
    """

    entities: tuple[tuple[Span, ...], ...] = ()
    settings: Concentration = field(default_factory=Concentration)
    lora: tuple[Path, float] | None = None

    @classmethod
    def from_job(cls, job: Job) -> BindingRequest:
        """The request of a job of the family "binding"."""
        lora = job.options.get("lora")
        return cls(
            job.layout,
            tuple(job.options["sentences"]),
            job.width,
            job.height,
            lora=None if lora is None else (Path(lora["file"]), lora["strength"]),
            entities=tuple(tuple((start, end) for start, end in words) for words in job.options["entities"]),
            settings=Concentration(**job.options["concentration"]),
        )


Method = Callable[[Parts, BindingRequest], Applied]


def find_entities(clip: Any, request: BindingRequest) -> tuple[EntityTokens, ...]:
    """The entities as Prompt Entities gives them, of the words that the request names; all have tokens."""
    text, spans = token_spans(clip, request.layout.prompt)
    counts: Counter[str] = Counter()
    found = locate_entities((_entity(text.text, words, counts) for words in request.entities), spans)
    if missing := [word.text for one in found for word in one.missing]:
        raise ValueError(f"no token of the prompt {text.text!r} is that of {', '.join(missing)}")
    return found


def _entity(text: str, spans: Sequence[Span], counts: Counter[str]) -> Entity:
    words = tuple(Word(text[start:end], start, end) for start, end in spans)
    *modifiers, noun = words
    counts[noun.text] += 1
    return Entity(
        noun=noun.text,
        modifiers=tuple(word.text for word in modifiers),
        text=text[words[0].start : noun.end],
        start=noun.start,
        end=noun.end,
        words=words,
        number=counts[noun.text],
    )


def _guided(before: Method, mode: str, boxes: bool, without_region: str = OWN_MAP) -> Method:
    """Attribute Concentration after `before`, with the layout's regions or with self-derived ones."""

    def method(parts: Parts, request: BindingRequest) -> Applied:
        model, positive, negative = before(parts, request)
        layout = request.layout if boxes else None
        settings = replace(request.settings, mode=mode, without_region=without_region)
        entities = find_entities(parts.clip, request)
        model, positive = apply_concentration(model, positive, entities, settings, layout)
        return Applied(model, positive, negative)

    return method


def lora(parts: Parts, request: BindingRequest) -> Applied:
    """The prompt alone, by the model with a LoRA, as Load LoRA puts it on."""
    model, positive, negative = plain(parts, request)
    if request.lora is None:
        raise ValueError("a LoRA file is needed for this method")
    file, strength = request.lora
    return Applied(with_lora(model, file, strength), positive, negative)


def attend_and_excite(parts: Parts, request: BindingRequest) -> Applied:
    """Attend-and-Excite's objective (arXiv 2301.13826), followed to the latent as the mode latent does.

    Of the original this is the objective alone: step size, layers and part of the run are those of the
    settings, and there is no refinement within a step.
    """
    model, positive, negative = plain(parts, request)
    settings, (_, spans) = request.settings, token_spans(parts.clip, request.layout.prompt)
    targets = find_targets(find_entities(parts.clip, request))
    if targets is None or not settings.strength:
        return Applied(model, positive, negative)
    # The words are the tokens from 1 on: the prompts of this world fit one chunk.
    words = sum(start < end for start, end in spans)
    term = LatentTerm(
        targets,
        lambda found: MaxAttentionObjective(found.nouns, words),
        settings.strength,
        preset_blocks(model, settings.layers),
        (settings.start, settings.end),
    )
    return Applied(bind(model), carry(positive, term), negative)


METHODS: dict[str, Method] = {
    "plain": plain,
    "local": _guided(plain, "local", boxes=False),
    "latent": _guided(plain, "latent", boxes=False),
    "attend-and-excite": attend_and_excite,
    # What the first picture does not show has no instance in the request's layout.
    "local-found": _guided(plain, "local", boxes=True, without_region=LEFT_ALONE),
    "lora": lora,
    "lora+local": _guided(lora, "local", boxes=False),
    "local-boxes": _guided(plain, "local", boxes=True),
    "latent-boxes": _guided(plain, "latent", boxes=True),
    "lora+local-boxes": _guided(lora, "local", boxes=True),
    "regions": regions,
    "strong-regions": strong_regions,
    "regions+local": _guided(regions, "local", boxes=True),
    "ifadapter": ifadapter,
    "ifadapter+local": _guided(ifadapter, "local", boxes=True),
    "ifadapter+latent": _guided(ifadapter, "latent", boxes=True),
}
