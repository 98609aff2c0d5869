"""Formats of other programs that are read and never written, one per file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...document import Layout
from . import florence, gligen, instance_diffusion, labelme, lmd, migc


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
        Reader("gligen", "GLIGEN input", gligen.read, gligen.recognises),
        Reader(
            "instance-diffusion",
            "InstanceDiffusion input",
            instance_diffusion.read,
            instance_diffusion.recognises,
        ),
        Reader("migc", "MIGC input", migc.read, migc.recognises),
        Reader("lmd", "LLM-grounded diffusion layout", lmd.read, recognises_text=lmd.recognises_text),
    )
}
