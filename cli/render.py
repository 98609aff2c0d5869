"""`instance-composer render`: a layout to pictures, with an SDXL model and an IFAdapter."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import (
    best_device,
    device,
    file_with_strength,
    number,
    numbers,
    size,
    usable_device,
)
from .files import is_pipe, read_pipe
from .render_files import (
    asked_size,
    is_done,
    renew_sheets,
    seeds_of,
    settings_of,
    size_for,
    targets_of,
    weights_of,
    write_beside,
    write_picture,
    write_sheet,
)
from .render_steering import check_steering, read_steering, steering_pictures
from .share import add_share, own_device, share_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..hosts.diffusers_sdxl import EncodedLayout
    from ..layout import Canvas, Layout
    from ..layout.formats import Reading
    from ..layout.formats.collection import Listed


def configure(parser: argparse.ArgumentParser) -> None:
    """Add files, settings of the run, and where it runs."""
    parser.add_argument(
        "layout",
        nargs="+",
        help="a layout in any format that can be read; or several, folders, patterns and .jsonl files, one "
        "layout a line",
    )
    parser.add_argument("--model", required=True, help="SDXL: a diffusers folder or a .safetensors file")
    parser.add_argument("--adapter", required=True, help="IFAdapter: .bin or .safetensors")
    parser.add_argument(
        "--out",
        required=True,
        help="the .png to write, or a folder for many layouts; a batch gets -1, -2, … before .png",
    )
    parser.add_argument("--beside", action="store_true", help="also write the layout beside each picture")
    parser.add_argument(
        "--grid", action="store_true", help="also write a contact sheet of each layout's pictures, …-grid.png"
    )

    run = parser.add_argument_group("the run")
    run.add_argument("--steps", type=number(1, 1000, whole=True), default=30, help="sampling steps (30)")
    run.add_argument("--cfg", type=number(1), default=7.5, help="guidance; 1 turns it off (7.5)")
    run.add_argument("--seed", type=number(0, 2**53, whole=True), default=0, help="of the first picture (0)")
    run.add_argument("--batch", type=number(1, 64, whole=True), default=1, help="pictures, seed by seed (1)")
    run.add_argument(
        "--seeds",
        type=numbers(0, 2**53, most=64),
        help="the seed of each picture, such as 1,7,20-23, in place of --seed and --batch",
    )
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

    steering = parser.add_argument_group("pictures that steer")
    steering.add_argument(
        "--controlnet",
        type=file_with_strength,
        metavar="FOLDER[:STRENGTH]",
        help="a ControlNet of SDXL, as a diffusers folder",
    )
    steering.add_argument(
        "--control-image",
        help="its map (edges, depth, a pose): a picture, or a folder with one of each layout's name",
    )
    steering.add_argument(
        "--control-start", type=number(0, 1), default=0.0, help="share of the run before it acts (0)"
    )
    steering.add_argument(
        "--control-end", type=number(0, 1), default=1.0, help="share of the run when it stops (1)"
    )
    steering.add_argument(
        "--ip-adapter",
        type=file_with_strength,
        metavar="FILE[:STRENGTH]",
        help="an IP-Adapter of SDXL, .safetensors",
    )
    steering.add_argument(
        "--ip-image", help="its example: a picture, or a folder with one of each layout's name"
    )
    steering.add_argument("--image-encoder", help="the folder of the IP-Adapter's image encoder")

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
    machine.add_argument(
        "--vae-tiling", action="store_true", help="decode pictures in tiles: less memory for large ones"
    )
    machine.add_argument(
        "--cpu-offload",
        action="store_true",
        help="keep on the graphics card only the model that computes: text encoders, UNet or VAE",
    )
    add_share(machine)


def run(arguments: argparse.Namespace) -> int:
    """Render, write the pictures and name them on standard output; 1 if some layouts could not be drawn."""
    for name in ("adapter", *(["config"] if arguments.config else [])):
        if not Path(getattr(arguments, name)).exists():
            raise ValueError(f"--{name}: there is nothing at {getattr(arguments, name)}")
    if arguments.seeds and (arguments.seed or arguments.batch > 1):
        raise ValueError("--seeds names the seed of every picture; leave --seed and --batch away")
    check_steering(arguments)
    if arguments.end <= arguments.start:
        print(
            f"warning: --start {arguments.start:g} and --end {arguments.end:g} leave the IFAdapter no step; "
            "the end must be the larger",
            file=sys.stderr,
        )
    out = Path(arguments.out)
    return _run_one(arguments, out) if _is_one_picture(out) else _run_many(arguments, out)


def _is_one_picture(out: Path) -> bool:
    """Whether pictures go under a name that is given; else into a folder, whose name may have a dot too."""
    return out.suffix.lower() == ".png"


def _run_one(arguments: argparse.Namespace, out: Path) -> int:
    """Pictures of one layout, under the name that is given."""
    if len(arguments.layout) > 1 or Path(arguments.layout[0]).is_dir():
        raise ValueError(f"--out: many layouts need a folder, got {out.name}; leave .png away")
    if not out.parent.is_dir():
        raise ValueError(f"--out: there is no folder {out.parent}")
    share = share_of(arguments)
    if share.total > 1:
        told = "RANK and WORLD_SIZE of a launcher" if arguments.share is None else "--share"
        raise ValueError(
            f"{told}: {out.name} is of one layout, and each of {share.total} processes would draw and write "
            "it; start one by itself, or name a folder with --out"
        )
    layout = _checked(_read_one(arguments))
    steered = steering_pictures(arguments, Path(arguments.layout[0]).stem)
    _Drawer(arguments, lambda: weights_of(arguments)).draw(layout, out, steered)
    return 0


def _run_many(arguments: argparse.Namespace, out: Path) -> int:
    """Pictures of many layouts in a folder, each process its share; what is done already stays."""
    from tqdm import tqdm

    from ..layout.formats.collection import listed

    if (out.exists() or out.suffix) and not out.is_dir():
        raise ValueError(f"--out: pictures are written as .png, or into a folder; got {out.name}")
    share = share_of(arguments)
    own: list[Listed] = share.of(listed(arguments.layout, apart=out))
    # All are looked at before anything is loaded: what is wrong is told at once, and the rest is drawn.
    failures = 0
    due: list[tuple[Listed, Path, dict[str, Path]]] = []
    seeds = seeds_of(arguments)
    precision = _place_and_precision(arguments)[1]
    # Taken once, and only where a picture or a drawing needs them: files of gigabytes are looked into.
    weights = cache(lambda: weights_of(arguments))
    for one in own:
        target = out / f"{one.name}.png"
        try:
            layout = _checked(one.read(arguments.format, canvas=_canvas(arguments)), f"{one}: ")
            steered = steering_pictures(arguments, one.name)
        except (ValueError, OSError) as error:
            failures += 1
            print(f"{one}: {error}", file=sys.stderr)
            continue
        there = zip(targets_of(target, len(seeds)), seeds, strict=True)
        if all(is_done(path, layout, arguments, seed, steered, precision, weights) for path, seed in there):
            for sheet in renew_sheets(arguments, target, layout):
                print(sheet)
        else:
            due.append((one, target, steered))
    done = len(own) - failures - len(due)
    drawer = _Drawer(arguments, weights) if due else None
    for one, target, steered in tqdm(due, desc="layouts", unit="layout", disable=None):
        assert drawer is not None
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            layout = one.read(arguments.format, canvas=_canvas(arguments)).layout
            drawer.draw(layout, target, steered)
        except (ValueError, OSError) as error:
            failures += 1
            print(f"{one}: {error}", file=sys.stderr)
    print(
        f"share {share}: {len(own)} layouts, of {done} the pictures were there, {failures} failed",
        file=sys.stderr,
    )
    return 1 if failures else 0


def _read_one(arguments: argparse.Namespace) -> Reading:
    from ..layout import formats

    path = Path(arguments.layout[0])
    if is_pipe(path):
        return formats.read_noted(read_pipe(path), arguments.format, canvas=_canvas(arguments))
    return formats.read_file(path, arguments.format, canvas=_canvas(arguments))


def _canvas(arguments: argparse.Namespace) -> Canvas | None:
    from ..layout import Canvas

    return Canvas(*arguments.canvas) if arguments.canvas else None


def _checked(reading: Reading, where: str = "") -> Layout:
    """The layout, with its warnings told; ValueError for one with errors or nothing to place."""
    from ..hosts.diffusers_sdxl import active_instances

    layout = reading.layout.checked()
    for finding in (*reading.warnings, *layout.problems()):
        print(f"{where}warning: {finding}", file=sys.stderr)
    active_instances(layout)
    return layout


def _joined(layout: Layout) -> Layout:
    """The layout with the captions in its prompt that it does not name; says so on standard error."""
    from dataclasses import replace

    from ..models.entities.naming import join_captions

    prompt = join_captions(layout)
    if prompt != layout.prompt:
        print(
            f"note: captions that the prompt does not name join it (--keep-prompt leaves it): {prompt}",
            file=sys.stderr,
        )
    return replace(layout, prompt=prompt)


def _place_and_precision(arguments: argparse.Namespace) -> tuple[str, str]:
    """Where it is drawn, and in which precision."""
    place = arguments.device or own_device(best_device())
    return place, arguments.dtype or ("fp32" if place == "cpu" else "fp16")


class _Drawer:
    """Model and adapter, loaded once; the adapter is let go where only one layout is drawn."""

    def __init__(self, arguments: argparse.Namespace, weights: Callable[[], Mapping[str, str]]) -> None:
        import torch
        from tqdm import tqdm

        from ..hosts.diffusers_sdxl import load_ip_adapter, load_loras, load_sdxl, offload, with_controlnet
        from ..models.ifadapter import IFAdapter

        self.arguments = arguments
        place, self.precision = _place_and_precision(arguments)
        usable_device(place)
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.precision]
        steps = 2 + sum(map(bool, (arguments.lora, arguments.controlnet, arguments.ip_adapter)))
        first = "cpu" if arguments.cpu_offload else place
        if arguments.cpu_offload and place == "cpu":
            raise ValueError(
                "--cpu-offload moves models between memory and a graphics card; this runs on the CPU"
            )
        with tqdm(total=steps, desc="loading", disable=None) as bar:
            self.adapter: IFAdapter | None = IFAdapter.load(arguments.adapter).to(place)
            bar.update()
            self.pipeline = load_sdxl(arguments.model, dtype=dtype, device=first, config=arguments.config)
            bar.update()
            if arguments.lora:
                load_loras(self.pipeline, arguments.lora)
                bar.update()
            if arguments.ip_adapter:
                path, strength = arguments.ip_adapter
                load_ip_adapter(self.pipeline, path, arguments.image_encoder, strength)
                bar.update()
            if arguments.controlnet:
                # It has all that is asked of the plain one here; neither is derived from the other.
                steered: Any = with_controlnet(self.pipeline, arguments.controlnet[0])
                self.pipeline = steered
                bar.update()
        # After loading, which tells what is wrong with a file in words of its own.
        self.weights = weights()
        if arguments.cpu_offload:
            offload(self.pipeline, place)
        if arguments.vae_tiling:
            self.pipeline.vae.enable_tiling()
        self.pipeline.set_progress_bar_config(desc="sampling", disable=None)

    def draw(self, layout: Layout, out: Path, steered: dict[str, Path]) -> None:
        """Sample and write the pictures of one layout, a seed each, and name them on standard output."""
        from ..hosts.diffusers_sdxl import Conditions, generate

        arguments = self.arguments
        encoded = self._encode(layout if arguments.keep_prompt else _joined(layout))
        asked = asked_size(arguments, layout)
        width, height = size_for(self.pipeline, asked)
        read = read_steering(steered)
        seeds = seeds_of(arguments)
        pictures: list[Image] = generate(
            self.pipeline,
            encoded,
            height=height,
            width=width,
            seeds=seeds,
            steps=arguments.steps,
            guidance=arguments.cfg,
            scale=arguments.strength,
            start=arguments.start,
            end=arguments.end,
            conditions=Conditions(
                read.get("control"),
                arguments.controlnet[1] if arguments.controlnet else 1.0,
                (arguments.control_start, arguments.control_end),
                read.get("example"),
            ),
        )
        targets = targets_of(out, len(seeds))
        for target, picture, seed in zip(targets, pictures, seeds, strict=True):
            settings = settings_of(
                arguments, seed, picture.size, asked, steered, self.precision, self.weights
            )
            write_picture(target, picture, layout, settings)
            print(target)
            if arguments.beside:
                print(write_beside(target, picture, layout))
        if arguments.grid:
            print(write_sheet(out, pictures, seeds, layout))

    def _encode(self, layout: Layout) -> EncodedLayout:
        from tqdm import tqdm

        from ..hosts.diffusers_sdxl import encode_layout

        assert self.adapter is not None
        with tqdm(total=len(layout.active), desc="encoding", disable=None) as bar:
            encoded = encode_layout(
                self.pipeline, self.adapter, layout, self.arguments.negative, on_instances=bar.update
            )
        if _is_one_picture(Path(self.arguments.out)):
            # Sampling needs only what is in the encoded layout.
            self.adapter = None
        return encoded
