"""Formats of other programs that are read and never written, one per file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...document import Layout
from . import (
    detections,
    florence,
    forge_couple,
    gligen,
    instance_diffusion,
    label_studio,
    labelme,
    layout_gpt,
    lmd,
    migc,
    via,
    yolo,
)


def _never(data: Any) -> bool:
    return False


@dataclass(frozen=True)
class Reader:
    """One format that can only be read: its name, `read`, and what judges parsed JSON or other text."""

    name: str
    title: str
    read: Callable[..., Layout]
    recognises: Callable[[Any], bool] = _never
    recognises_text: Callable[[str], bool] = _never
    options: tuple[str, ...] = ()


READERS = {
    entry.name: entry
    for entry in (
        Reader("labelme", "LabelMe annotations", labelme.read, labelme.recognises),
        Reader(
            "florence",
            "Florence-2 detections",
            florence.read,
            florence.recognises,
            florence.recognises_text,
        ),
        # Before GLIGEN, which has phrases and boxes as Grounding DINO has, but no scores.
        Reader("detections", "detections in lists", detections.read, detections.recognises),
        Reader("gligen", "GLIGEN input", gligen.read, gligen.recognises),
        Reader(
            "instance-diffusion",
            "InstanceDiffusion input",
            instance_diffusion.read,
            instance_diffusion.recognises,
        ),
        Reader("migc", "MIGC input", migc.read, migc.recognises),
        Reader("lmd", "LLM-grounded diffusion layout", lmd.read, recognises_text=lmd.recognises_text),
        Reader(
            "label-studio",
            "Label Studio tasks",
            label_studio.read,
            label_studio.recognises,
            options=("image",),
        ),
        Reader("via", "VGG Image Annotator regions", via.read, via.recognises, options=("image",)),
        Reader("yolo", "YOLO labels", yolo.read, recognises_text=yolo.recognises_text),
        Reader("layoutgpt", "LayoutGPT layout", layout_gpt.read, recognises_text=layout_gpt.recognises_text),
        Reader(
            "forge-couple",
            "Forge Couple mapping",
            forge_couple.read,
            forge_couple.recognises,
            forge_couple.recognises_text,
        ),
    )
}
