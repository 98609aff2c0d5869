"""Options of a captioner's training, and its settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..engine.settings import Settings
from ..options import flag

CAPTIONER_SETTINGS = Settings(
    steps=6000,
    batch=16,
    learning_rate=1e-3,
    warm_up=100,
    cool_down=3000,
    ema_decay=0.998,
    every_log=20,
    every_checkpoint=100,
    every_sample=500,
)


@dataclass(frozen=True)
class CaptionerRun:
    """The captioner's size, and the model whose pictures it shall read as well as painted ones.

    A quarter each of the pictures are decoded and drawn, if there are any; the others are painted anew.
    """

    side: int = field(default=128, metadata=flag("side of its pictures in pixels (%(default)s)"))
    patch: int = field(default=16, metadata=flag("side of its patches in pixels (%(default)s)"))
    width: int = field(default=192, metadata=flag("of both towers, a multiple of 4 (%(default)s)"))
    layers: int = field(default=4, metadata=flag("of each tower (%(default)s)"))
    model: Path | None = field(
        default=None, metadata=flag("a diffusers SDXL of Shapes World, such as demo (painted pictures alone)")
    )
    decoded: int = field(default=800, metadata=flag("pictures that go through its autoencoder (%(default)s)"))
    drawn: int = field(default=800, metadata=flag("pictures it draws, captioned by the judge (%(default)s)"))
