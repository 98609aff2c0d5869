"""Run of IFAdapter training, from files to a trained adapter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline

from ...hosts.diffusers_sdxl import load_sdxl
from ...layout import Layout
from ...layout.formats.collection import Listed, listed
from ...layout.transform import resize_canvas
from ...models.ifadapter import IFAdapter
from ...shapes_world import ShapesWorld
from ..data.errors import SourceError
from ..data.folder import LayoutFolder
from ..data.folder_latents import encode_buckets, encode_folder
from ..data.latents import LatentSet
from ..data.text_encoding import TextEncoding, TextSource
from ..data.world import Pictures, encoded_world
from ..engine.loop import train
from ..engine.precision import PRECISIONS, halve
from ..engine.settings import WEIGHTS_SEED, Settings
from .initial_weights import make_adapter
from .objective import IFAdapterTask
from .options import AdapterRun

_EXAMPLES_SEED = 2**31
# More would not fit beside each other.
_MOST_EXAMPLES = 16


def train_adapter(run: AdapterRun, settings: Settings, folder: Path, *, dry_run: bool = False) -> None:
    """Train, or continue training, an adapter in `folder`; a dry run only says what that would take."""
    for name, value in (
        ("region weight", run.region_weight),
        ("SNR power", run.snr_power),
        ("number of checked pictures", run.checked_pattern_pictures),
        ("number of held-out pictures", run.held_out),
    ):
        if value < 0:
            raise SourceError(f"the {name} is {value:g}; 0 or more is allowed")
    if run.checked_pattern_pictures and run.data is not None:
        raise SourceError("checked pictures are Shapes World's; leave them out, or train without data")
    if run.buckets and run.data is None:
        raise SourceError("buckets are for pictures of --data; Shapes World's all have one size")
    pipeline = load_sdxl(run.model)
    sets = _sets(run, pipeline, folder, not dry_run)
    torch.manual_seed(WEIGHTS_SEED)
    adapter = make_adapter(pipeline.unet, small=run.small) if run.init is None else IFAdapter.load(run.init)
    precision = PRECISIONS.get(settings.mixed_precision)
    halve(precision, pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2)
    if run.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()

    def texts(source: TextSource) -> TextEncoding:
        return TextEncoding(pipeline, source, run.latents or folder / "latents", precision)

    task = IFAdapterTask(
        pipeline,
        adapter,
        sets(True),
        run.region_weight,
        run.snr_power,
        _examples(run),
        run.held_out,
        precision,
        partial(sets, False),
        texts if run.text_features else None,
    )
    train(task, settings, folder, run, dry_run=dry_run)


def _sets(
    run: AdapterRun, pipeline: StableDiffusionXLPipeline, folder: Path, write: bool
) -> Callable[[bool], list[LatentSet]]:
    """The encoded pictures; given True, stand-ins for those that are not encoded yet."""
    width, height = run.size
    if run.data is None:
        chosen = [Pictures(width, height, run.pictures)]
        if run.checked_pattern_pictures:
            chosen.append(Pictures(width, height, run.checked_pattern_pictures, pattern="checked"))
        return lambda blank: [encoded_world(pipeline.vae, one, folder, blank=blank) for one in chosen]
    latents = run.latents or folder / "latents"
    source = LayoutFolder(run.data, width, height, latents / "tables" if write else None)
    encode = partial(encode_folder, source, pipeline.vae, latents, run.leave_out, write=write)
    buckets = partial(encode_buckets, source, pipeline.vae, latents, run.leave_out, write=write)
    return lambda blank: buckets(blank=blank) if run.buckets else [encode(blank=blank)]


def _examples(run: AdapterRun) -> list[Layout]:
    """Layouts to draw while training: those asked for, else of the demo world unseen combinations or the
    data's first."""
    if run.examples is not None:
        return [_example(one, run) for one in listed([run.examples])[:_MOST_EXAMPLES]]
    if run.data is not None:
        return []
    world = ShapesWorld(_EXAMPLES_SEED, *run.size, "held-out")
    return [world[number].layout for number in range(8)]


def _example(one: Listed, run: AdapterRun) -> Layout:
    """A layout at the size that is trained, because samples stand in one row."""
    try:
        return resize_canvas(one.read().layout.checked(), *run.size)
    except ValueError as error:
        raise SourceError(f"{one}: {error}") from error
