"""`instance-composer demo`: the demo model's pictures beside their layouts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import number
from .files import is_pipe, read_pipe, whole

if TYPE_CHECKING:
    from PIL import Image

    from ..layout import Layout


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
    from ..layout import formats
    from ..models.ifadapter import IFAdapter
    from ..pictures import draw_layout, side_by_side

    folder = demo_folder(arguments.model or FOLDER)
    files = arguments.layouts or sorted((FOLDER / "layouts").glob("*.json"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tqdm(total=1 + 2 * len(files), desc="pictures", disable=None) as bar:
        pipeline = load_sdxl(folder)
        pipeline.set_progress_bar_config(disable=True)
        adapter = IFAdapter.load(folder / ADAPTER)
        bar.update()
        rows: list[Image.Image] = []
        for file in files:
            layout = formats.read(read_pipe(file) if is_pipe(file) else file.read_bytes()).checked()
            plain, placed = _render(pipeline, adapter, layout, arguments, bar.update)
            _save(plain, arguments.out / f"{file.stem}-without.png")
            _save(placed, arguments.out / f"{file.stem}.png")
            # The demo's pictures are small: twice as large, their captions can be read.
            drawn = draw_layout(layout, (2 * placed.width, 2 * placed.height))
            rows.append(
                side_by_side([drawn, plain, placed], ["layout", "without IFAdapter", "with IFAdapter"])
            )
            _save(rows[-1], arguments.out / f"{file.stem}-beside.png")
    overview = arguments.out / "overview.png"
    _save(_below_each_other(rows), overview)
    print(overview)
    return 0


def _save(picture: Image.Image, target: Path) -> None:
    with whole(target) as unfinished:
        picture.save(unfinished, "PNG")


def _render(
    pipeline: Any, adapter: Any, layout: Layout, arguments: argparse.Namespace, on_picture: Any
) -> list[Image.Image]:
    """The same noise without the adapter and with it."""
    from ..hosts.diffusers_sdxl import encode_layout, generate

    encoded = encode_layout(pipeline, adapter, layout)
    pictures: list[Image.Image] = []
    for strength in (0.0, 1.0):
        pictures += generate(
            pipeline,
            encoded,
            height=layout.canvas.height,
            width=layout.canvas.width,
            seeds=[arguments.seed],
            steps=arguments.steps,
            guidance=arguments.cfg,
            scale=strength,
        )
        on_picture()
    return pictures


def _below_each_other(rows: list[Image.Image]) -> Image.Image:
    from PIL import Image

    size = (max(row.width for row in rows), sum(row.height for row in rows))
    sheet = Image.new("RGB", size, rows[0].getpixel((0, 0)))  # the rows' own ground beside narrower ones
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet
