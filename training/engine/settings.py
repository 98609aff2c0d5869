"""Settings of a training run, the same for every kind of model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Fresh weights are drawn from this seed, so that a run is a function of its settings.
WEIGHTS_SEED = 0
# AdamW with moments of 32 bits, and of 8, which takes the package bitsandbytes.
ADAMW, ADAMW_8BIT = OPTIMIZERS = ("adamw", "adamw8bit")


class SettingsError(ValueError):
    """A setting that is unknown or out of range."""


@dataclass(frozen=True)
class Settings:
    """Length, speed and care of training.

    A step is one update of the weights, made from `batch` × `accumulate` samples on each process. The rate
    rises over `warm_up` steps, stays, and falls linearly to zero over the last `cool_down` steps. Rates of
    single parts of a model may be multiples of `learning_rate`. `clip` is the largest norm of the gradient.
    `seed` decides the order of the data and all noise; `every_*` count steps, 0 is never; the last
    `keep_checkpoints` checkpoints stay on disk, and the one with the lowest loss on what is held out.
    `trackers` are names, separated by commas, of what metrics are sent to besides their file. `optimizer` is
    AdamW, with moments of 32 bits or of 8. `fsdp` shares moments, averages and trained weights out to
    processes.
    """

    steps: int = 1000
    batch: int = 32
    accumulate: int = 1
    learning_rate: float = 1e-4
    warm_up: int = 100
    cool_down: int = 0
    weight_decay: float = 1e-2
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    clip: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    mixed_precision: str = "no"
    every_log: int = 10
    every_checkpoint: int = 250
    every_sample: int = 500
    every_validation: int = 250
    keep_checkpoints: int = 2
    trackers: str = ""
    optimizer: str = "adamw"
    fsdp: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "every_log", "keep_checkpoints"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in (
            "warm_up",
            "cool_down",
            "weight_decay",
            "every_checkpoint",
            "every_sample",
            "every_validation",
            "seed",
        ):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("learning_rate", "epsilon", "clip"):
            self._require(name, getattr(self, name) > 0, "more than 0")
        for name in ("beta1", "beta2", "ema_decay"):
            self._require(name, 0 <= getattr(self, name) < 1, "from 0 up to 1")
        self._require("optimizer", self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}")
        precisions = ("no", "fp16", "bf16")
        self._require(
            "mixed_precision", self.mixed_precision in precisions, f"one of {', '.join(precisions)}"
        )

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise SettingsError(f"{name} is {getattr(self, name)!r}; it must be {allowed}")

    def rate(self, step: int) -> float:
        """The learning rate of the step with this number, from 0, as a multiple of `learning_rate`."""
        rising = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        falling = min(1.0, (self.steps - step) / self.cool_down) if self.cool_down else 1.0
        return min(rising, max(falling, 0.0))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)


def read_settings(values: Mapping[str, Any], defaults: Settings | None = None) -> Settings:
    """Settings from the words of a file or a command line over defaults; `SettingsError` for unknown ones.

    Whole numbers are taken where a fraction is meant, nothing else is converted.
    """
    known = {field.name: field.type for field in fields(Settings)}
    if unknown := sorted(set(values) - set(known)):
        raise SettingsError(f"unknown settings: {', '.join(unknown)}; there are {', '.join(known)}")
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if known[name] == "float" and type(value) is int:
            value = float(value)
        if type(value).__name__ != known[name]:
            allowed = "true or false" if known[name] == "bool" else f"of type {known[name]}"
            raise SettingsError(f"{name} is {value!r}; it must be {allowed}")
        checked[name] = value
    return Settings(**{**(defaults or Settings()).to_dict(), **checked})


def read_toml(path: Path) -> dict[str, Any]:
    """The tables and values of a TOML file; `SettingsError` for a file that is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML file: {error}") from error
