"""Options of a captioner's training, and its settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..engine.settings import Settings
from ..options import flag

CAPTIONER_SETTINGS = Settings(
    steps=20000,
    batch=16,
    learning_rate=1.6e-3,
    warm_up=100,
    cool_down=10000,
    beta2=0.98,
    ema_decay=0.998,
    every_log=20,
    every_checkpoint=100,
    every_sample=500,
)


@dataclass(frozen=True)
class CaptionerRun:
    """The captioner's sizes, and the model whose pictures it shall read as well.

    With a model half of a batch is painted, the rest what it decodes and draws.
    """

    size: int = field(default=128, metadata=flag("side of the pictures in pixels (%(default)s)"))
    side: int = field(default=96, metadata=flag("to which it scales them (%(default)s)"))
    patch: int = field(default=12, metadata=flag("side of its patches in pixels (%(default)s)"))
    width: int = field(default=64, metadata=flag("of both towers, a multiple of 4 (%(default)s)"))
    layers: int = field(default=3, metadata=flag("of each tower (%(default)s)"))
    reward: Path | None = field(
        default=None,
        metadata=flag("a reward model of Shapes World whose towers it begins with (fresh ones)"),
    )
    model: Path | None = field(
        default=None, metadata=flag("a diffusers SDXL of Shapes World, such as demo (painted pictures alone)")
    )
    decoded: int = field(default=800, metadata=flag("pictures that go through its autoencoder (%(default)s)"))
    drawn: int = field(default=800, metadata=flag("pictures it draws, captioned by the judge (%(default)s)"))
