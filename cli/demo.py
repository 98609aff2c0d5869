"""`instance-composer demo`: the demo model's pictures beside their layouts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import number
from .files import is_pipe, read_pipe, whole
from .render_files import below_each_other, size_for

if TYPE_CHECKING:
    from PIL import Image

    from ..layout import Layout


OVERVIEW = "overview.png"
# Of each layout: the picture, the one without the adapter, both beside the layout.
_ENDINGS = (".png", "-without.png", "-beside.png")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add where the pictures go and how they are made."""
    parser.add_argument(
        "layouts", nargs="*", type=Path, help="layouts to render instead of the gallery's own, any format"
    )
    parser.add_argument("--out", type=Path, default=Path("demo-gallery"), help="folder (demo-gallery)")
    parser.add_argument("--model", type=Path, help="another demo model, as `train pack` writes it")
    parser.add_argument("--steps", type=number(1, 1000, whole=True), default=25, help="sampling steps (25)")
    parser.add_argument("--cfg", type=number(1), default=3.0, help="guidance (3)")
    parser.add_argument("--seed", type=number(0, 2**53, whole=True), default=0, help="of every picture (0)")


def run(arguments: argparse.Namespace) -> int:
    """Render every layout of the demo twice and name the overview on standard output."""
    from tqdm import tqdm

    from ..demo import ADAPTER, FOLDER, demo_folder
    from ..hosts.diffusers_sdxl import load_sdxl
    from ..models.ifadapter import IFAdapter
    from ..pictures import draw_layout, side_by_side

    folder = demo_folder(arguments.model or FOLDER)
    files = arguments.layouts or sorted((FOLDER / "layouts").glob("*.json"))
    _refuse_same_names(files)
    layouts = [_read(file) for file in files]  # before the models are loaded
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tqdm(total=1 + 2 * len(files), desc="pictures", disable=None) as bar:
        pipeline = load_sdxl(folder)
        pipeline.set_progress_bar_config(disable=True)
        adapter = IFAdapter.load(folder / ADAPTER)
        bar.update()
        rows: list[Image.Image] = []
        for file, layout in zip(files, layouts, strict=True):
            plain, placed = _render(pipeline, adapter, layout, arguments, bar.update)
            whole_name, without, beside = (arguments.out / f"{file.stem}{ending}" for ending in _ENDINGS)
            _save(plain, without)
            _save(placed, whole_name)
            # The demo's pictures are small: twice as large, their captions can be read.
            drawn = draw_layout(layout, (2 * placed.width, 2 * placed.height))
            rows.append(
                side_by_side([drawn, plain, placed], ["layout", "without IFAdapter", "with IFAdapter"])
            )
            _save(rows[-1], beside)
    overview = arguments.out / OVERVIEW
    _save(below_each_other(rows), overview)
    print(overview)
    return 0


def _read(file: Path) -> Layout:
    """The layout of a file, its warnings told; ValueError names the file."""
    from ..layout import formats

    try:
        reading = formats.read_noted(read_pipe(file)) if is_pipe(file) else formats.read_file(file)
        layout = reading.layout.checked()
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    for warning in reading.warnings:
        print(f"{file}: warning: {warning}", file=sys.stderr)
    return layout


def _refuse_same_names(files: Sequence[Path]) -> None:
    """ValueError for layouts of which one's pictures would be written over another's, or the overview."""
    taken = {OVERVIEW: "the overview"}
    for file in files:
        for ending in _ENDINGS:
            name = f"{file.stem}{ending}"
            if name in taken:
                raise ValueError(
                    f"{file} and {taken[name]} would both be written as {name}; give one another name"
                )
            taken[name] = str(file)


def _save(picture: Image.Image, target: Path) -> None:
    with whole(target) as unfinished:
        picture.save(unfinished, "PNG")


def _render(
    pipeline: Any, adapter: Any, layout: Layout, arguments: argparse.Namespace, on_picture: Any
) -> list[Image.Image]:
    """The same noise without the adapter and with it."""
    from ..hosts.diffusers_sdxl import encode_layout, generate

    encoded = encode_layout(pipeline, adapter, layout)
    width, height = size_for(pipeline, (layout.canvas.width, layout.canvas.height))
    pictures: list[Image.Image] = []
    for strength in (0.0, 1.0):
        pictures += generate(
            pipeline,
            encoded,
            height=height,
            width=width,
            seeds=[arguments.seed],
            steps=arguments.steps,
            guidance=arguments.cfg,
            scale=strength,
        )
        on_picture()
    return pictures
