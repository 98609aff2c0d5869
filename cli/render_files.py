"""Pictures of `render` as files: their names, what they carry, and whether one is there already."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .files import whole

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..hosts.diffusers_sdxl.loading import StableDiffusionXLPipeline
    from ..layout import Layout

# Pixels of a step of SDXL's sizes: what its VAE makes one number of.
_UNIT = 8
# What pictures of earlier versions do not carry.
_LATER = ("asked", "config", "weights")
# What a sheet carries: a digest of what its pictures carry.
_SHOWS = "shows"
# Pictures side by side in a contact sheet.
_COLUMNS = 4


def seeds_of(arguments: argparse.Namespace) -> list[int]:
    """The seed of each picture of a layout."""
    return arguments.seeds or [arguments.seed + index for index in range(arguments.batch)]


def targets_of(out: Path, count: int) -> list[Path]:
    """Where the pictures of one layout go."""
    if count == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{number}{out.suffix}") for number in range(1, count + 1)]


def sheet_of(out: Path) -> Path:
    """Where the contact sheet of one layout goes."""
    return out.with_name(f"{out.stem}-grid{out.suffix}")


def size_for(pipeline: StableDiffusionXLPipeline, asked: tuple[int, int]) -> tuple[int, int]:
    """The width and height that the model can make, said on standard error where others were asked for."""
    from ..hosts.diffusers_sdxl import fit_size

    fitting = fit_size(pipeline, *asked)
    if fitting != asked:
        print(
            f"warning: SDXL makes pictures in steps of 8 pixels: {fitting[0]} x {fitting[1]} instead of "
            f"{asked[0]} x {asked[1]}; the boxes scale with it",
            file=sys.stderr,
        )
    return fitting


def asked_size(arguments: argparse.Namespace, layout: Layout) -> tuple[int, int]:
    """The width and height that are asked for, before they are made to fit the model."""
    return arguments.size or (layout.canvas.width, layout.canvas.height)


def weights_of(arguments: argparse.Namespace) -> dict[str, str]:
    """Digests of all files that draw, by part; ValueError for one that is not there."""
    from ..models.weights import digest_of_model, digest_of_weights

    loras = [Path(path) for path, _ in arguments.lora]
    controlnet, ip_adapter = (
        Path(given[0]) if given else None for given in (arguments.controlnet, arguments.ip_adapter)
    )
    model, adapter = Path(arguments.model), Path(arguments.adapter)
    encoder = Path(arguments.image_encoder) if arguments.image_encoder else None
    if encoder is None and ip_adapter is not None and (model / "image_encoder").is_dir():
        encoder = model / "image_encoder"
    given = [("model", model), ("adapter", adapter), *(("lora", lora) for lora in loras)]
    steering = [("controlnet", controlnet), ("ip-adapter", ip_adapter), ("image-encoder", encoder)]
    for option, path in [*given, *steering]:
        if path is not None and not path.exists():
            raise ValueError(f"--{option}: there is nothing at {path}; name what is there")
    weights = {**digest_of_model(model), "IFAdapter": digest_of_weights([adapter])}
    if loras:
        weights["LoRAs"] = digest_of_weights(loras)
    if ip_adapter is not None:
        weights["IP-Adapter"] = digest_of_weights([ip_adapter])
    for part, folder in (("ControlNet", controlnet), ("image encoder", encoder)):
        if folder is not None:
            weights |= {f"{part}, {own}": digest for own, digest in digest_of_model(folder).items()}
    return weights


def is_done(
    target: Path,
    layout: Layout,
    arguments: argparse.Namespace,
    seed: int,
    steered: dict[str, Path],
    precision: str,
    weights: Callable[[], Mapping[str, str]],
) -> bool:
    """Whether the picture is there and was made of this layout with these settings and weights.

    `precision` is that in which it would be drawn, `weights` the digests of what would draw it, which are
    asked for only where the picture carries its own.
    """
    from PIL import Image

    if not target.is_file():
        return False
    try:
        with Image.open(target) as picture:
            texts: dict[str, str] = getattr(picture, "text", {})
            found = json.loads(texts.get("instance-composer", "{}"))
            size = (found["size"][0], found["size"][1])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return False
    if texts.get("layout") != layout.to_json():
        return False
    asked = asked_size(arguments, layout)
    # What was asked for is not told by a picture of before that was noted, only what SDXL makes of it.
    if "asked" not in found and size != _fitting(asked):
        return False
    digests = weights() if "weights" in found else {}
    # Of before the real precision was noted there is what was asked for, and nothing where that was nothing.
    dtype = arguments.dtype if found.get("dtype") is None else precision
    wanted = settings_of(arguments, seed, size, asked, steered, dtype, digests)
    known = {name: value for name, value in wanted.items() if name in found or name not in _LATER}
    return found == json.loads(json.dumps(known))


def settings_of(
    arguments: argparse.Namespace,
    seed: int,
    picture_size: tuple[int, int],
    asked: tuple[int, int],
    steered: dict[str, Path],
    precision: str | None,
    weights: Mapping[str, str],
) -> dict[str, Any]:
    """Facts to render the picture again by; files by name, without the folders of this machine.

    `steered` are the pictures that steer it, by what they are called here: they are told by a checksum too.
    `precision` is the one it is drawn in, `weights` are digests of the files that draw.
    """
    return {
        "model": Path(arguments.model).name,
        "adapter": Path(arguments.adapter).name,
        "loras": [[Path(path).name, strength] for path, strength in arguments.lora],
        "config": Path(arguments.config).name if arguments.config else "",
        "seed": seed,
        "size": list(picture_size),
        "asked": list(asked),
        **{
            name: getattr(arguments, name)
            for name in ("steps", "cfg", "strength", "start", "end", "negative", "keep_prompt")
        },
        "dtype": precision,
        # Only where there are some, so that pictures of before these settings are still known.
        **{
            name: [Path(path).name, strength]
            for name in ("controlnet", "ip_adapter")
            for path, strength in [getattr(arguments, name) or ("", 0.0)]
            if path
        },
        **({"image_encoder": Path(arguments.image_encoder).name} if arguments.image_encoder else {}),
        **{name: [path.name, f"{zlib.crc32(path.read_bytes()):08x}"] for name, path in steered.items()},
        **(
            {"control_window": [arguments.control_start, arguments.control_end]}
            if "control" in steered
            else {}
        ),
        "weights": dict(weights),
    }


def _fitting(asked: tuple[int, int]) -> tuple[int, int]:
    """What a size becomes when it is made to fit, told without a model."""
    from ..hosts.diffusers_sdxl import fit_size

    any_model: Any = SimpleNamespace(vae_scale_factor=_UNIT)
    return fit_size(any_model, *asked)


def write_picture(target: Path, picture: Image, layout: Layout, settings: dict[str, Any]) -> None:
    from PIL.PngImagePlugin import PngInfo

    from ..layout.json_text import dump_json

    info = PngInfo()
    info.add_itxt("layout", layout.to_json())
    # As a layout is written: a name of a file that is no UTF-8 must not end what was sampled.
    info.add_itxt("instance-composer", dump_json(settings))
    with whole(target) as unfinished:
        picture.save(unfinished, "PNG", pnginfo=info)


def beside_of(target: Path) -> Path:
    return target.with_name(f"{target.stem}-beside{target.suffix}")


def write_beside(target: Path, picture: Image, layout: Layout) -> Path:
    from ..pictures import draw_layout, side_by_side

    beside = beside_of(target)
    drawn = draw_layout(layout, picture.size)
    _write_sheet(beside, side_by_side([drawn, picture], ["layout", layout.prompt or "picture"]), [target])
    return beside


def write_sheet(out: Path, pictures: list[Image], seeds: list[int], layout: Layout) -> Path:
    """The pictures of one layout under their seeds, four in a row, the layout before them."""
    from ..pictures import draw_layout, side_by_side

    images = [draw_layout(layout, pictures[0].size), *pictures]
    labels = ["layout", *(f"seed {seed}" for seed in seeds)]
    rows = [
        side_by_side(images[first : first + _COLUMNS], labels[first : first + _COLUMNS])
        for first in range(0, len(images), _COLUMNS)
    ]
    path = sheet_of(out)
    _write_sheet(path, below_each_other(rows), targets_of(out, len(seeds)))
    return path


def renew_sheets(arguments: argparse.Namespace, out: Path, layout: Layout) -> Iterator[Path]:
    """Write the sheets that are asked for and show other pictures than there are now, or are not there.

    Out of the pictures of one layout, which are all there.
    """
    from ..pictures.reading import read_picture

    seeds = seeds_of(arguments)
    targets = targets_of(out, len(seeds))
    for target in targets if arguments.beside else ():
        if not _is_of(beside_of(target), [target]):
            yield write_beside(target, read_picture(target), layout)
    if arguments.grid and not _is_of(sheet_of(out), targets):
        yield write_sheet(out, [read_picture(target) for target in targets], seeds, layout)


def below_each_other(rows: Sequence[Image]) -> Image:
    """Pictures in a column; beside narrower ones is the ground of the first, as its corner has it."""
    from PIL import Image

    size = (max(row.width for row in rows), sum(row.height for row in rows))
    sheet = Image.new("RGB", size, rows[0].getpixel((0, 0)))
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _write_sheet(path: Path, sheet: Image, pictures: Sequence[Path]) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(_SHOWS, _digest(pictures))
    with whole(path) as unfinished:
        sheet.save(unfinished, "PNG", pnginfo=info)


def _is_of(sheet: Path, pictures: Sequence[Path]) -> bool:
    """Whether a sheet is there and shows these pictures as they are now."""
    try:
        return _texts(sheet).get(_SHOWS) == _digest(pictures)
    except (OSError, ValueError):
        return False


def _digest(pictures: Sequence[Path]) -> str:
    """A digest of the layouts and settings that pictures carry, which tell one picture from another."""
    carried = [[_texts(one).get(name, "") for name in ("layout", "instance-composer")] for one in pictures]
    return hashlib.blake2b(json.dumps(carried).encode(), digest_size=16).hexdigest()


def _texts(path: Path) -> Mapping[Any, Any]:
    """What a picture carries before its pixels, which are not decoded."""
    from PIL import Image

    with Image.open(path) as picture:
        return picture.info
