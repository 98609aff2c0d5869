"""Methods of placing things in ComfyUI, each a function of the same layout, for measured comparisons.

The regional ones are what ComfyUI and other packs offer without training. Every function takes the loaded
`Parts` and a `Request` and gives MODEL, positive and negative CONDITIONING; the negative is the prompt zeroed
out in all of them.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import node_helpers
import torch
from torch import Tensor

from ....generation.jobs import Job
from ....generation.placing_methods import METHODS as NAMES
from ....layout import Layout
from ....models.ifadapter import InstancePrompt
from ....models.regions import Regions
from ..attention.terms import CARRIED, CarriedTerms
from ..ifadapter.apply import apply_ifadapter
from ..ifadapter.term import InstanceTerm
from ..regions.apply import draw_regions

Conditioning = list[Any]

# Strength of Draw Regions chosen on the demo model's layouts of looks from training (docs/regions.md).
STRONG = 16.0


class Applied(NamedTuple):
    """MODEL, positive and negative CONDITIONING, as a method gives them to the sampler."""

    model: Any
    positive: Conditioning
    negative: Conditioning


class MissingPackError(ValueError):
    """A method of another pack whose checkout is not at hand."""


@dataclass(frozen=True)
class Parts:
    """A loaded checkpoint, its IFAdapter, and the folder of other packs' checkouts, if any.

    A transformer has no adapter.
    """

    model: Any
    clip: Any
    adapter: Any
    packs: Path | None = None


@dataclass(frozen=True)
class Request:
    """A layout to place, and for regional prompts a whole sentence for each active instance.

    `base` is the weight of the whole prompt inside the regions, beside a regional prompt's 1.
    """

    layout: Layout
    sentences: tuple[str, ...]
    width: int
    height: int
    base: float = 1.0

    @classmethod
    def from_job(cls, job: Job) -> Request:
        """The request of a job of the family "placing"."""
        options = job.options
        return cls(job.layout, tuple(options["sentences"]), job.width, job.height, options["base"])


def encode(clip: Any, text: str) -> Conditioning:
    """As CLIP Text Encode."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def zero_out(conditioning: Conditioning) -> Conditioning:
    """As ConditioningZeroOut."""
    return [
        [torch.zeros_like(text), {**values, "pooled_output": torch.zeros_like(values["pooled_output"])}]
        for text, values in conditioning
    ]


def plain(parts: Parts, request: Request) -> Applied:
    """The prompt alone."""
    positive = encode(parts.clip, request.layout.prompt)
    return Applied(parts.model, positive, zero_out(positive))


def area(parts: Parts, request: Request) -> Applied:
    """ConditioningSetAreaPercentage for every instance, combined with the prompt.

    ComfyUI rounds an area to whole latent cells, at least one.
    """
    model, positive, negative = plain(parts, request)
    for instance, sentence in zip(request.layout.active, request.sentences, strict=True):
        box = instance.bounds.clipped() or instance.bounds
        place = ("percentage", box.y1 - box.y0, box.x1 - box.x0, box.y0, box.x0)
        values = {"area": place, "strength": 1.0, "set_area_to_bounds": False}
        positive += node_helpers.conditioning_set_values(encode(parts.clip, sentence), values)
    return Applied(model, positive, negative)


def mask(parts: Parts, request: Request) -> Applied:
    """ConditioningSetMask for every instance, and for the prompt one with the weight `base` inside."""
    model, positive, negative = plain(parts, request)
    masks = _masks(request)
    outside = 1 - masks.amax(dim=0)
    positive = _masked(positive, outside + request.base * (1 - outside))
    for sentence, inside in zip(request.sentences, masks, strict=True):
        positive += _masked(encode(parts.clip, sentence), inside)
    return Applied(model, positive, negative)


def couple(parts: Parts, request: Request) -> Applied:
    """Attention Couple (PPM) of ComfyUI-ppm, the prompt with the weight `base` inside the regions.

    What that node does for SDXL, with its own functions: its file cannot be imported in every ComfyUI,
    because it serves other models too.
    """
    model, positive, negative = plain(parts, request)
    module = _couple_module(parts.packs)
    masks = _masks(request)
    outside = 1 - masks.amax(dim=0)
    weights = torch.cat(((outside + request.base * (1 - outside))[None], masks))
    regions = [encode(parts.clip, sentence) for sentence in request.sentences]
    device, dtype = model.load_device, model.get_model_object("diffusion_model").dtype
    weights = (weights / weights.sum(dim=0)).to(device, dtype)
    bound = model.clone()
    bound.set_model_attn2_patch(
        module.unet_attn2_couple_wrapper(positive, regions, len(weights), False, device, dtype)
    )
    bound.set_model_attn2_output_patch(module.unet_attn2_output_couple_wrapper(weights[:, None]))
    return Applied(bound, positive, negative)


def regions(parts: Parts, request: Request, isolate: float = 0.0) -> Applied:
    """Draw Regions, an instance's caption being its sentence as for the other regional prompts."""
    model, positive, negative = plain(parts, request)
    instances = zip(request.layout.active, request.sentences, strict=True)
    layout = Layout(tuple(replace(instance, caption=sentence) for instance, sentence in instances))
    return Applied(*draw_regions(model, parts.clip, layout, positive, isolate=isolate), negative)


def strong_regions(parts: Parts, request: Request) -> Applied:
    """Draw Regions with captions as they are, their words counting `STRONG` times."""
    model, positive, negative = plain(parts, request)
    return Applied(*draw_regions(model, parts.clip, request.layout, positive, STRONG), negative)


def isolated_regions(parts: Parts, request: Request) -> Applied:
    """Draw Regions with instances isolated for the first half of the noise schedule."""
    return regions(parts, request, isolate=0.5)


def ifadapter(parts: Parts, request: Request) -> Applied:
    """Apply IFAdapter."""
    model, positive, negative = plain(parts, request)
    return Applied(*apply_ifadapter(model, parts.clip, parts.adapter, request.layout, positive, negative))


def without_appearance(parts: Parts, request: Request) -> Applied:
    """Apply IFAdapter, of each instance's tokens only the last, the end of text, being attended."""
    return _with_tokens(ifadapter(parts, request), slice(-1, None))


def without_end_of_text(parts: Parts, request: Request) -> Applied:
    """Apply IFAdapter, of each instance's tokens all but the last, the end of text, being attended."""
    return _with_tokens(ifadapter(parts, request), slice(None, -1))


METHODS: dict[str, Callable[[Parts, Request], Applied]] = {
    "plain": plain,
    "area": area,
    "mask": mask,
    "couple": couple,
    "regions": regions,
    "isolated-regions": isolated_regions,
    "strong-regions": strong_regions,
    "ifadapter": ifadapter,
    "no-appearance": without_appearance,
    "no-eot": without_end_of_text,
}


def _masks(request: Request) -> Tensor:
    """1 inside the boxes (instances, height, width), a pixel belonging to a box that holds its centre."""
    rows = (torch.arange(request.height) + 0.5) / request.height
    columns = (torch.arange(request.width) + 0.5) / request.width
    masks: list[Tensor] = []
    for x0, y0, x1, y1 in Regions.from_layout(request.layout).boxes:
        inside = ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))
        masks.append(inside.float())
    return torch.stack(masks)


def _masked(conditioning: Conditioning, inside: Tensor) -> Conditioning:
    values = {"mask": inside[None], "set_area_to_bounds": False, "mask_strength": 1.0}
    return node_helpers.conditioning_set_values(conditioning, values)


def _couple_module(packs: Path | None) -> Any:
    """The pack's attention couple for UNets, loaded from the checkout without the rest of it."""
    pack = NAMES["couple"].pack
    folder = None if packs is None else packs / pack.partition("/")[2] / "src" / "attention_couple"
    if folder is None or not folder.is_dir():
        raise MissingPackError(
            f"the method couple needs a checkout of https://github.com/{pack} in {packs}; "
            "name the folder that holds it with --packs, or leave the method out"
        )
    package = "instance_composer_compared_ppm"
    if package not in sys.modules:
        module = types.ModuleType(package)
        module.__path__ = [str(folder)]
        sys.modules[package] = module
    return importlib.import_module(f"{package}.unet_couple")


def _with_tokens(applied: Applied, kept: slice) -> Applied:
    positive, negative = ([_entry_with_tokens(entry, kept) for entry in one] for one in applied[1:])
    return Applied(applied.model, positive, negative)


def _entry_with_tokens(entry: Any, kept: slice) -> Any:
    text, values = entry
    terms: CarriedTerms = values["model_conds"][CARRIED]
    cut: list[InstanceTerm] = [
        replace(
            term,
            prompt=_prompt_with_tokens(term.prompt, kept),
            when_zeroed=_prompt_with_tokens(term.when_zeroed, kept),
        )
        for term in terms.cond
        if isinstance(term, InstanceTerm)
    ]
    carried = {**values["model_conds"], CARRIED: CarriedTerms(tuple(cut))}
    return [text, {**values, "model_conds": carried}]


def _prompt_with_tokens(prompt: InstancePrompt, kept: slice) -> InstancePrompt:
    return replace(
        prompt,
        keys={number: keys[:, :, kept] for number, keys in prompt.keys.items()},
        values={number: values[:, :, kept] for number, values in prompt.values.items()},
    )
