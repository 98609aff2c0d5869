"""`instance-composer layout`: convert, check and draw layouts of any format that can be read."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, TextIO

from .arguments import number, size
from .files import is_pipe, read_pipe, write_whole

if TYPE_CHECKING:
    from ..layout import Canvas, formats

STANDARD = "-"
# Failures that are told one by one.
_MOST_TOLD = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `convert`, `check`, `preview` and `coco`."""
    from ..layout.formats import EXPORTS, FORMATS, READERS

    commands = parser.add_subparsers(dest="action", required=True, metavar="action")
    convert = commands.add_parser("convert", help="read one format, write another")
    convert.add_argument("input", help="the file to read, - for standard input")
    convert.add_argument("output", help="the file to write, - for standard output")
    convert.add_argument(
        "--to", default="layout", choices=(*FORMATS, *EXPORTS), help="the format to write (layout)"
    )
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
    coco = commands.add_parser("coco", help="a layout for every image of a COCO file, as training data")
    coco.add_argument("file", type=Path, help="COCO's object annotations, as instances_train2014.json")
    coco.add_argument("--out", type=Path, required=True, help="folder for the layouts")
    coco.add_argument("--captions", type=Path, help="COCO's captions, as captions_train2014.json: prompts")
    coco.add_argument("--images", type=Path, help="folder of the images, which are linked beside the layouts")
    coco.add_argument(
        "--instances", type=number(1, whole=True), default=10, help="most in a picture, the largest (10)"
    )
    coco.add_argument(
        "--smallest", type=number(0, 1), default=0.01, help="share of the picture a box covers (0.01)"
    )
    coco.add_argument("--force", action="store_true", help="also write again what is there")
    coco.set_defaults(act=_coco)
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


def _coco(arguments: argparse.Namespace) -> int:
    """Write what is not there yet; 1 if an image has no layout that can be read."""
    from tqdm import tqdm

    from ..annotation.writing import link
    from ..layout.formats.coco_set import read_set

    images, out = arguments.images, arguments.out
    if images is not None and not images.is_dir():
        raise ValueError(f"there is no folder {images}")
    out.mkdir(parents=True, exist_ok=True)
    done = kept = empty = wordless = 0
    wrong: list[str] = []
    warnings: list[str] = []
    names: dict[Path, str] = {}
    found = read_set(
        arguments.file, arguments.captions, most=arguments.instances, smallest=arguments.smallest
    )
    for name, layout, reason, told in tqdm(found, desc="writing", unit="layout", disable=None):
        way = _way_of(name, images)
        if way.name in ("", ".."):
            wrong.append(f'"{name}" is no name of an image')
            continue
        picture = None if images is None else images / way
        target = out / way.with_suffix(".json")
        first = names.setdefault(target, name)
        warnings += [f"{name}: warning: {warning}" for warning in told]
        if first != name:
            wrong.append(f"{name}: {first} would have the same layout file")
        elif layout is None:
            wrong.append(f"{name}: {reason}")
        elif picture is not None and not picture.is_file():
            wrong.append(f"{name}: it is not in {images}")
        elif picture is not None and (other := _other_shape(picture, layout.canvas)):
            wrong.append(f"{name}: {other}")
        elif not layout.instances:
            empty += 1
        elif target.exists() and not arguments.force:
            kept += 1
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            if picture is not None:
                link(picture, out / way)
            write_whole(target, layout.to_json().encode("utf-8"))
            done += 1
            wordless += not layout.prompt
    _say(f"{done} written, {kept} were there, {empty} have no instance of that size, {len(wrong)} failed")
    if wordless:
        why = "--captions says nothing of them" if arguments.captions else "--captions FILE gives it"
        _say(f"{wordless} of those written have no prompt: {why}", sys.stderr)
    for lines in (warnings, wrong):
        for line in lines[:_MOST_TOLD]:
            _say(line, sys.stderr)
        if lines[_MOST_TOLD:]:
            _say(f"and {len(lines) - _MOST_TOLD} more", sys.stderr)
    return 1 if wrong else 0


def _other_shape(picture: Path, canvas: Canvas) -> str:
    """Why boxes of the file's size do not fit the picture as it is read; "" where they do."""
    from ..layout.instance import same_proportion
    from ..pictures.reading import PictureError, picture_size

    try:
        width, height = picture_size(picture)
    except PictureError as error:
        return str(error)
    if same_proportion((width, height), (canvas.width, canvas.height)):
        return ""
    return (
        f"upright it is {width} × {height}, the file says {canvas.width} × {canvas.height}, so that its "
        "boxes are of a picture that was turned, cropped or stretched since"
    )


def _way_of(name: str, images: Path | None) -> PurePath:
    """The way to an image from its folder: its whole name, where that is there, else the last part of it."""
    way = PurePosixPath(name.replace("\\", "/"))
    below = not way.is_absolute() and ".." not in way.parts
    return way if below and images is not None and (images / way).is_file() else PurePosixPath(way.name)


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
