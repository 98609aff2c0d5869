"""Instances of a finished picture drawn again: a window of it sampled inside a region, and blended in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
import torch.nn.functional as F
from torch import Tensor

from ....layout import Instance, Layout
from ....layout.choosing import describe, find_instance, list_instances, tell_which
from ....models.regions import Rectangle
from ....models.repair.blending import blend, drawn_again, feathered
from ....models.repair.window import Window, drawing_size, has_proportions, window_around
from ..attention.run_cache import RunCache
from ..attention.wrappers import unobserved
from ..conversions import shape_of
from ..instance_lora.apply import model_seen_from
from .autoencoder import decode_each, encode_each, unit_of
from .seen_from import conditioning_seen_from, of_the_whole_picture

LARGEST_SEED = 0xFFFFFFFFFFFFFFFF
SAMPLERS, SCHEDULERS = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS
# The widest edge over which old and new are mixed, as a share of the picture's shorter side.
_SOFT_EDGE = 0.02


class UnknownInstanceError(ValueError):
    """A name that no instance of the layout has."""


@dataclass(frozen=True)
class Sampling:
    """The settings of the host's own sampler, named as there."""

    seed: int = 0
    steps: int = 20
    cfg: float = 7.0
    sampler: str = "euler"
    scheduler: str = "normal"
    denoise: float = 1.0


@dataclass(frozen=True)
class Wanted:
    """An instance to draw again, by its index; `seed` None is that of the settings.

    `remark`: what there is to say of how it was named.
    """

    index: int
    seed: int | None = None
    remark: str = field(default="", compare=False)


class Redrawn(NamedTuple):
    """The pictures, the pixels that may differ from before (1, height, width), and what there is to say."""

    images: Tensor
    mask: Tensor
    report: str


def read_wanted(text: str, layout: Layout) -> tuple[Wanted, ...]:
    """Instances from "2, vase@17": an id or a number each, and after @ a seed of its own.

    Raises `UnknownInstanceError`, and ValueError for a seed that is no whole number up to
    `LARGEST_SEED`.
    """
    wanted: list[Wanted] = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        name, index = part, find_instance(layout, part)
        seed: int | None = None
        if index is None and "@" in part:
            name, _, number = (piece.strip() for piece in part.rpartition("@"))
            index = find_instance(layout, name)
            if not number.isdecimal() or len(number) > len(str(LARGEST_SEED)) or int(number) > LARGEST_SEED:
                raise ValueError(
                    f"{part!r} has no seed after the @; write a whole number up to {LARGEST_SEED}, as in 2@17"
                )
            seed = int(number)
        if index is None:
            raise UnknownInstanceError(
                f"the layout has no instance {part!r}; name one by its number or its id: "
                f"{list_instances(layout)}"
            )
        wanted.append(Wanted(index, seed, tell_which(layout, name)))
    return tuple(wanted)


def redraw(
    images: Tensor,
    vae: Any,
    model: Any,
    positive: list[Any],
    negative: list[Any],
    layout: Layout,
    wanted: Sequence[Wanted],
    sampling: Sampling,
    *,
    context: float = 1.0,
    grow: float = 0.1,
    tries: int = 1,
) -> Redrawn:
    """Pictures (B, H, W, 3) in which each wanted instance was drawn again, one after the other.

    MODEL and prompts are those that drew the picture: what our nodes placed in them is seen from the window
    that is drawn. `context` and `grow` are shares of the region's longer side: how much of the picture around
    the model sees, and how far beyond the region it may draw where no other instance is. Of each picture
    there are `tries` if anything is wanted. Every pixel outside the mask keeps its bits. LayoutError for a
    layout with errors.
    """
    layout.checked()
    if wanted:
        images = images.repeat_interleave(tries, 0)
    height, width = images.shape[1:3]
    mask = torch.zeros(height, width, dtype=torch.bool, device=images.device)
    unit = unit_of(vae)
    like_canvas = has_proportions(width, height, layout.canvas, unit)
    said: list[str] = []
    for one in wanted:
        index = one.index
        again = _pixels(layout, index, width, height, grow).to(images.device)
        window = window_around(layout.instances[index].bounds, width, height, context)
        seeded = sampling if one.seed is None else replace(sampling, seed=one.seed)
        size = drawing_size(window, layout.canvas, unit, like_canvas)
        drawn, left_out, told = _draw(images, again, vae, (model, positive, negative), window, size, seeded)
        soft = math.ceil(_SOFT_EDGE * min(width, height) / 2)
        images = blend(images, drawn, feathered(again, soft))
        mask |= again
        said += [one.remark, _sentence(layout, index, window, seeded.seed, left_out), *told]
    if not wanted:
        said = ["Nothing to draw again: name an instance, or press “Draw this again” in the layout's menu."]
    else:
        said += _about_the_whole(model, layout, width, height, like_canvas)
    return Redrawn(images, mask[None].float(), "\n".join(sentence for sentence in said if sentence))


def _draw(
    images: Tensor,
    again: Tensor,
    vae: Any,
    trio: tuple[Any, list[Any], list[Any]],
    window: Window,
    size: tuple[int, int],
    sampling: Sampling,
) -> tuple[Tensor, set[str], list[str]]:
    """The pictures with the window drawn again at `size` (width, height).

    Also what prompts left out of it, and what their nodes told of it.
    """
    left, top, right, bottom = window
    cache, rectangle = RunCache(), _rectangle(window, images)
    told: list[str] = []
    # A window is no run of the picture, which a record would take for its last one.
    model = model_seen_from(unobserved(trio[0]), rectangle)
    (positive, without), (negative, without_too) = (
        conditioning_seen_from(one, rectangle, cache, told.append) for one in trio[1:]
    )
    part = _resized(images[:, top:bottom, left:right, :3], size[1], size[0])
    latent = comfy.sample.fix_empty_latent_channels(model, encode_each(vae, part))
    # A cell that any pixel of the mask is in belongs to it.
    cells = F.adaptive_max_pool2d(
        again[top:bottom, left:right].float()[None, None], (latent.shape[-2], latent.shape[-1])
    )
    progress = comfy.utils.ProgressBar(sampling.steps)
    samples = comfy.sample.sample(
        model,
        comfy.sample.prepare_noise(latent, sampling.seed),
        sampling.steps,
        sampling.cfg,
        sampling.sampler,
        sampling.scheduler,
        positive,
        negative,
        latent,
        denoise=sampling.denoise,
        noise_mask=cells,
        # Without the host's preview: that of a window would be taken for one of the whole picture.
        callback=lambda step, _x0, _x, total: progress.update_absolute(step + 1, total),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=sampling.seed,
    )
    drawn = images.clone()
    drawn[:, top:bottom, left:right, :3] = _resized(decode_each(vae, samples), bottom - top, right - left)
    return drawn, without | without_too, told


def _pixels(layout: Layout, index: int, width: int, height: int, grow: float) -> Tensor:
    """The pixels drawn again for an instance; ValueError where others hide all of it."""

    def pixels(instance: Instance) -> Tensor:
        raster = bytearray(shape_of(instance).raster(width, height))
        return torch.frombuffer(raster, dtype=torch.uint8).view(height, width).bool()

    instances = layout.instances
    own = instances[index]
    x0, y0, x1, y1 = own.bounds
    more = round(grow * max((x1 - x0) * width, (y1 - y0) * height))
    others = [pixels(one) for at, one in enumerate(instances) if at != index and one.active]
    in_front = [pixels(one) for one in instances[index + 1 :] if one.active]
    again = drawn_again(pixels(own), others, in_front, more)
    if not again.any():
        raise ValueError(
            f"instance {describe(layout, index)} has no pixel that is its own: it lies outside "
            "the picture, or behind the instances in front of it. Bring it forward, or move it"
        )
    return again


def _rectangle(window: Window, images: Tensor) -> Rectangle:
    height, width = images.shape[1:3]
    left, top, right, bottom = window
    return left / width, top / height, right / width, bottom / height


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    """Pictures (B, H, W, C) in another size."""
    if images.shape[1:3] == (height, width):
        return images
    channels_first = images.movedim(-1, 1)
    resized = F.interpolate(channels_first, (height, width), mode="bicubic", antialias=True)
    return resized.clamp(0, 1).movedim(1, -1)


def _sentence(layout: Layout, index: int, window: Window, seed: int, left_out: set[str]) -> str:
    left, top, right, bottom = window
    own = layout.instances[index]
    said = (
        f"Drew instance {describe(layout, index)} again, seed {seed}, in a window of "
        f"{right - left} × {bottom - top} pixels."
    )
    if not own.active:
        reason = "has no caption" if own.enabled else "is switched off"
        said += f" It was drawn by the prompt alone: it {reason}."
    return f"{said} Left out there: {', '.join(sorted(left_out))}." if left_out else said


def _about_the_whole(model: Any, layout: Layout, width: int, height: int, like_canvas: bool) -> list[str]:
    """What there is to say of the picture and the MODEL, whatever was drawn."""
    said: list[str] = []
    if not like_canvas:
        canvas = layout.canvas
        said.append(
            f"The picture ({width} × {height}) has other proportions than the layout's canvas "
            f"({canvas.width} × {canvas.height}): windows are drawn in the picture's, with as many pixels as "
            "the canvas."
        )
    if patches := of_the_whole_picture(model):
        said.append(
            f"Other nodes have patched the MODEL ({', '.join(patches)}). A mask or a picture of theirs "
            "(IPAdapter, Attention Couple, a ControlNet as a model patch) is laid over the window as if it "
            "were the whole picture; connect a MODEL without them if that does harm."
        )
    return said
