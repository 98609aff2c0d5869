"""Pictures that steer the pictures of `render`: which there must be, and where they are."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

# What a picture is called in a PNG, its option, and the option of the part that reads it.
_KINDS = (("control", "control_image", "controlnet"), ("example", "ip_image", "ip_adapter"))


def check_steering(arguments: argparse.Namespace) -> None:
    """ValueError where a part or its picture is missing, before anything is loaded."""
    for _, picture, part in _KINDS:
        given, reader = getattr(arguments, picture), getattr(arguments, part)
        if reader and not given:
            raise ValueError(f"--{_flag(part)} needs the picture it goes by: --{_flag(picture)}")
        if given and not reader:
            raise ValueError(f"--{_flag(picture)} is for --{_flag(part)}, which is not given")
        if given and not Path(given).exists():
            raise ValueError(f"--{_flag(picture)}: there is nothing at {given}")
        if reader and not Path(reader[0]).exists():
            raise ValueError(f"--{_flag(part)}: there is nothing at {reader[0]}")
    if arguments.image_encoder and not arguments.ip_adapter:
        raise ValueError("--image-encoder is for --ip-adapter, which is not given")
    for edge, whole in (("control_start", 0.0), ("control_end", 1.0)):
        if not arguments.controlnet and getattr(arguments, edge) != whole:
            raise ValueError(f"--{_flag(edge)} is for --controlnet, which is not given")
    if arguments.controlnet and arguments.control_end <= arguments.control_start:
        raise ValueError(
            f"--control-start {arguments.control_start:g} and --control-end {arguments.control_end:g} leave "
            "the ControlNet no step; the end must be the larger"
        )


def steering_pictures(arguments: argparse.Namespace, name: str) -> dict[str, Path]:
    """The pictures for a layout of this name; ValueError where a folder has none."""
    from ..pictures.reading import PICTURE_ENDINGS

    found: dict[str, Path] = {}
    for kind, picture, _ in _KINDS:
        given = getattr(arguments, picture)
        if given is None:
            continue
        path = Path(given)
        if path.is_dir():
            # Cameras write .JPG.
            endings = [case for ending in PICTURE_ENDINGS for case in (ending, ending.upper())]
            own = [path / f"{name}{ending}" for ending in endings]
            path = next((one for one in own if one.is_file()), None)
            if path is None:
                raise ValueError(
                    f"--{_flag(picture)}: {given} has no picture {name}{PICTURE_ENDINGS[0]} (or "
                    f"{', '.join(PICTURE_ENDINGS[1:])}) for the layout of that name"
                )
        found[kind] = path
    return found


def read_steering(pictures: Mapping[str, Path]) -> dict[str, Image]:
    """The pictures themselves; ValueError names one that cannot be read."""
    from ..pictures.reading import PictureError, read_picture

    found: dict[str, Image] = {}
    for name, path in pictures.items():
        try:
            found[name] = read_picture(path)
        except PictureError as error:
            raise ValueError(f"{path} {error}") from error
    return found


def _flag(name: str) -> str:
    return name.replace("_", "-")
