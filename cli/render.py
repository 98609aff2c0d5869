"""`instance-composer render`: a layout to pictures, with an SDXL model and an IFAdapter."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import (
    best_device,
    device,
    file_with_strength,
    number,
    size,
    usable_device,
)
from .files import is_pipe, read_pipe, whole

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..hosts.diffusers_sdxl import EncodedLayout
    from ..hosts.diffusers_sdxl.loading import StableDiffusionXLPipeline
    from ..layout import Layout


def configure(parser: argparse.ArgumentParser) -> None:
    """Add files, settings of the run, and where it runs."""
    parser.add_argument("layout", help="a layout in any format that can be read")
    parser.add_argument("--model", required=True, help="SDXL: a diffusers folder or a .safetensors file")
    parser.add_argument("--adapter", required=True, help="IFAdapter: .bin or .safetensors")
    parser.add_argument("--out", required=True, help="the .png to write; a batch gets -1, -2, … before .png")
    parser.add_argument("--beside", action="store_true", help="also write the layout beside each picture")

    run = parser.add_argument_group("the run")
    run.add_argument("--steps", type=number(1, 1000, whole=True), default=30, help="sampling steps (30)")
    run.add_argument("--cfg", type=number(1), default=7.5, help="guidance; 1 turns it off (7.5)")
    run.add_argument("--seed", type=number(0, 2**53, whole=True), default=0, help="of the first picture (0)")
    run.add_argument("--batch", type=number(1, 64, whole=True), default=1, help="pictures, seed by seed (1)")
    run.add_argument("--size", type=size, help="width x height in pixels (the layout's canvas)")
    run.add_argument(
        "--keep-prompt",
        action="store_true",
        help="the prompt as written: captions that it does not name do not join it",
    )
    run.add_argument("--negative", help="what not to show (the layout's; without one, zero embeddings)")

    adapter = parser.add_argument_group("the adapter")
    adapter.add_argument("--strength", type=number(0, 10), default=1.0, help="of the IFAdapter (1)")
    adapter.add_argument(
        "--start", type=number(0, 1), default=0.0, help="share of the run before it acts (0)"
    )
    adapter.add_argument("--end", type=number(0, 1), default=1.0, help="share of the run when it stops (1)")

    reading = parser.add_argument_group("reading")
    reading.add_argument("--from", dest="format", help="format of the layout (detected)")
    reading.add_argument("--canvas", type=size, help="width x height where the layout does not tell")
    reading.add_argument(
        "--lora",
        type=file_with_strength,
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="a LoRA; may be given several times",
    )
    reading.add_argument("--config", help="diffusers folder: configuration and tokenizers for a single file")

    machine = parser.add_argument_group("the machine")
    machine.add_argument("--device", type=device, help="cpu, cuda, cuda:1, mps, … (the best there is)")
    machine.add_argument(
        "--dtype", choices=("fp32", "fp16", "bf16"), help="of the model (CPU: fp32, else fp16)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Render, write the pictures and name them on standard output."""
    layout = _read_layout(arguments)
    targets = _targets(Path(arguments.out), arguments.batch)
    for name in ("adapter", *(["config"] if arguments.config else [])):
        if not Path(getattr(arguments, name)).exists():
            raise ValueError(f"--{name}: there is nothing at {getattr(arguments, name)}")

    from ..hosts.diffusers_sdxl import active_instances, generate

    active_instances(layout)  # before minutes of loading
    pipeline, encoded = _prepare(arguments, layout if arguments.keep_prompt else _joined(layout))
    width, height = _picture_size(arguments, layout, pipeline)
    seeds = [arguments.seed + index for index in range(arguments.batch)]
    pictures: list[Image] = generate(
        pipeline,
        encoded,
        height=height,
        width=width,
        seeds=seeds,
        steps=arguments.steps,
        guidance=arguments.cfg,
        scale=arguments.strength,
        start=arguments.start,
        end=arguments.end,
    )
    for target, picture, seed in zip(targets, pictures, seeds, strict=True):
        _write(target, picture, layout, _settings(arguments, seed, picture.size))
        print(target)
        if arguments.beside:
            print(_write_beside(target, picture, layout))
    return 0


def _read_layout(arguments: argparse.Namespace) -> Layout:
    import sys

    from ..layout import Canvas, formats

    canvas = Canvas(*arguments.canvas) if arguments.canvas else None
    path = Path(arguments.layout)
    if is_pipe(path):
        reading = formats.read_noted(read_pipe(path), arguments.format, canvas=canvas)
    else:
        reading = formats.read_file(path, arguments.format, canvas=canvas)
    layout = reading.layout.checked()
    for finding in (*reading.warnings, *layout.problems()):
        print(f"warning: {finding}", file=sys.stderr)
    return layout


def _joined(layout: Layout) -> Layout:
    """The layout with the captions in its prompt that it does not name; says so on standard error."""
    import sys
    from dataclasses import replace

    from ..models.entities.naming import join_captions

    prompt = join_captions(layout)
    if prompt != layout.prompt:
        print(
            f"note: captions that the prompt does not name join it (--keep-prompt leaves it): {prompt}",
            file=sys.stderr,
        )
    return replace(layout, prompt=prompt)


def _targets(out: Path, batch: int) -> list[Path]:
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out: pictures are written as .png, got {out.name}")
    if not out.parent.is_dir():
        raise ValueError(f"--out: there is no folder {out.parent}")
    if batch == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{number}{out.suffix}") for number in range(1, batch + 1)]


def _prepare(
    arguments: argparse.Namespace, layout: Layout
) -> tuple[StableDiffusionXLPipeline, EncodedLayout]:
    """Load and encode. The adapter is let go at the end: sampling needs only what is in the encoded
    layout."""
    import torch
    from tqdm import tqdm

    from ..hosts.diffusers_sdxl import encode_layout, load_loras, load_sdxl
    from ..models.ifadapter import IFAdapter

    place = usable_device(arguments.device or best_device())
    names = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    dtype = names[arguments.dtype or ("fp32" if place == "cpu" else "fp16")]
    with tqdm(total=2 + bool(arguments.lora), desc="loading", disable=None) as bar:
        adapter = IFAdapter.load(arguments.adapter)
        bar.update()
        pipeline = load_sdxl(arguments.model, dtype=dtype, device=place, config=arguments.config)
        bar.update()
        if arguments.lora:
            load_loras(pipeline, arguments.lora)
            bar.update()
    pipeline.set_progress_bar_config(desc="sampling", disable=None)
    with tqdm(total=len(layout.active), desc="encoding", disable=None) as bar:
        return pipeline, encode_layout(
            pipeline, adapter.to(place), layout, arguments.negative, on_instances=bar.update
        )


def _picture_size(
    arguments: argparse.Namespace, layout: Layout, pipeline: StableDiffusionXLPipeline
) -> tuple[int, int]:
    import sys

    from ..hosts.diffusers_sdxl import fit_size

    asked = arguments.size or (layout.canvas.width, layout.canvas.height)
    fitting = fit_size(pipeline, *asked)
    if fitting != asked:
        print(
            f"warning: SDXL makes pictures in steps of 8 pixels: {fitting[0]} x {fitting[1]} instead of "
            f"{asked[0]} x {asked[1]}; the boxes scale with it",
            file=sys.stderr,
        )
    return fitting


def _settings(arguments: argparse.Namespace, seed: int, picture_size: tuple[int, int]) -> dict[str, Any]:
    """Facts to render the picture again by; files by name, without the folders of this machine."""
    return {
        "model": Path(arguments.model).name,
        "adapter": Path(arguments.adapter).name,
        "loras": [[Path(path).name, strength] for path, strength in arguments.lora],
        "seed": seed,
        "size": list(picture_size),
        **{
            name: getattr(arguments, name)
            for name in ("steps", "cfg", "strength", "start", "end", "negative", "dtype")
        },
    }


def _write(target: Path, picture: Image, layout: Layout, settings: dict[str, Any]) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("layout", layout.to_json())
    info.add_itxt("instance-composer", json.dumps(settings, ensure_ascii=False))
    with whole(target) as unfinished:
        picture.save(unfinished, "PNG", pnginfo=info)


def _write_beside(target: Path, picture: Image, layout: Layout) -> Path:
    from ..pictures import draw_layout, side_by_side

    beside = target.with_name(f"{target.stem}-beside{target.suffix}")
    drawn = draw_layout(layout, picture.size)
    with whole(beside) as unfinished:
        side_by_side([drawn, picture], ["layout", layout.prompt or "picture"]).save(unfinished, "PNG")
    return beside
