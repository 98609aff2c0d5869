"""`instance-composer layout`: convert, check and draw layouts of any format that can be read."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .arguments import size
from .files import is_pipe, read_pipe, write_whole

if TYPE_CHECKING:
    from ..layout import Canvas, formats

STANDARD = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `convert`, `check` and `preview`."""
    from ..layout.formats import FORMATS, READERS

    commands = parser.add_subparsers(dest="action", required=True, metavar="action")
    convert = commands.add_parser("convert", help="read one format, write another")
    convert.add_argument("input", help="the file to read, - for standard input")
    convert.add_argument("output", help="the file to write, - for standard output")
    convert.add_argument("--to", default="layout", choices=FORMATS, help="the format to write (layout)")
    convert.set_defaults(act=_convert)
    check = commands.add_parser(
        "check", help="say in plain words what is wrong with layouts; exit code 1 on errors"
    )
    check.add_argument("files", nargs="+", help="the files to read, - for standard input")
    check.set_defaults(act=_check)
    preview = commands.add_parser("preview", help="draw a layout, over a picture if there is one")
    preview.add_argument("input", help="the file to read, - for standard input")
    preview.add_argument("--out", required=True, help="the picture to write, - for PNG on standard output")
    preview.add_argument("--background", help="the picture to draw over")
    preview.add_argument("--size", type=size, help="width x height of the picture in pixels")
    preview.add_argument("--opacity", type=float, default=0.35, help="of the regions, 0 to 1 (0.35)")
    preview.set_defaults(act=_preview)
    for command in (convert, check, preview):
        _add_reading(command, (*FORMATS, *READERS))


def _add_reading(parser: argparse.ArgumentParser, names: tuple[str, ...]) -> None:
    reading = parser.add_argument_group("reading")
    reading.add_argument("--from", dest="format", choices=names, help="the format to read (detected)")
    reading.add_argument("--canvas", type=size, help="width x height where the format does not tell")
    reading.add_argument("--image", help="COCO, Label Studio, VIA: id or file name of the image")
    reading.add_argument("--frame", type=int, help="bounding boxes of a batch: which picture, from 0")
    reading.add_argument("--order", help="language model JSON: xyxy, xywh, yxyx or cxcywh")
    reading.add_argument(
        "--units", help="language model JSON, plain lines: fraction, percent, pixel or grid1000"
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what was chosen; returns the exit code."""
    return arguments.act(arguments)


def _convert(arguments: argparse.Namespace) -> int:
    from ..layout import formats

    reading = _read(arguments.input, arguments)
    layout = reading.layout
    text = formats.write(layout, arguments.to).encode("utf-8", "backslashreplace")
    _write(arguments.output, text)
    for warning in (*reading.warnings, formats.lost_in_words(layout, arguments.to)):
        if warning:
            _say(f"warning: {warning}", sys.stderr)
    for problem in layout.problems():
        _say(f"{problem.severity}: {problem}", sys.stderr)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    worst = 0
    for name in arguments.files:
        shown = "standard input" if name == STANDARD else name
        try:
            reading = _read(name, arguments)
        except (ValueError, OSError) as error:
            _say(f"{shown}: error: {getattr(error, 'strerror', None) or error}")
            worst = 1
            continue
        layout = reading.layout
        problems = layout.problems()
        size = f"{layout.canvas.width} × {layout.canvas.height}"
        active = len(layout.active)
        _say(f"{shown}: {reading} on {size}, {active} {'takes' if active == 1 else 'take'} part")
        for warning in reading.warnings:
            _say(f"  warning: {warning}")
        for problem in problems:
            _say(f"  {problem.severity}: {problem}")
        worst = max(worst, int(any(problem.severity == "error" for problem in problems)))
    return worst


def _preview(arguments: argparse.Namespace) -> int:
    from io import BytesIO

    from PIL import Image

    from ..pictures import draw_layout
    from ..pictures.reading import PictureError, read_noted

    reading = _read(arguments.input, arguments)
    for warning in reading.warnings:
        _say(f"warning: {warning}", sys.stderr)
    layout = reading.layout
    background = None
    if arguments.background:
        try:
            read = read_noted(arguments.background)
        except PictureError as error:
            raise ValueError(f"{arguments.background} {error}") from None
        background = read.image
        for note in read.notes:
            _say(f"{arguments.background}: {note}", sys.stderr)
    picture = draw_layout(layout, arguments.size, background, arguments.opacity)
    suffix = Path(arguments.out).suffix.lower()
    endings = Image.registered_extensions()
    kind = endings.get(".png" if arguments.out == STANDARD else suffix)
    if kind not in Image.SAVE:
        raise ValueError(f"{arguments.out} has no ending of a picture, like .png or .jpg")
    buffer = BytesIO()
    picture.save(buffer, kind)
    _write(arguments.out, buffer.getvalue())
    return 0


def _read(name: str, arguments: argparse.Namespace) -> formats.Reading:
    from ..layout import formats

    canvas = _canvas(arguments.canvas)
    options = {option: getattr(arguments, option) for option in ("image", "frame", "order", "units")}
    if name == STANDARD or is_pipe(Path(name)):
        data = sys.stdin.buffer.read() if name == STANDARD else read_pipe(Path(name))
        return formats.read_noted(data, arguments.format, canvas=canvas, **options)
    return formats.read_file(name, arguments.format, canvas=canvas, **options)


def _say(line: str, stream: TextIO | None = None) -> None:
    """Print a line; what the terminal cannot show is escaped."""
    shown = sys.stdout if stream is None else stream
    encoding = shown.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=shown)


def _write(name: str, data: bytes) -> None:
    """Write at once, so that a failure before leaves an older file as it was."""
    if name == STANDARD:
        if getattr(sys.stdout, "name", None) == os.devnull:  # see `_open_closed_streams`
            raise ValueError("standard output is closed")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_whole(Path(name), data)


def _canvas(size: tuple[int, int] | None) -> Canvas | None:
    from ..layout import Canvas

    return Canvas(*size) if size else None
