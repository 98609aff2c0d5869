"""What a run says of itself, in lines."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..settings import Settings


def weights_line(objective: nn.Module) -> str:
    """How many weights are trained, of how many."""
    every = {p.data_ptr(): p for p in objective.parameters()}.values()
    trained = [p for p in every if p.requires_grad]
    return (
        f"weights: {count(sum(p.numel() for p in trained))} of {count(sum(p.numel() for p in every))} are "
        f"trained, in {len(trained)} tensors"
    )


def steps_line(settings: Settings, done: int, parts: int, processes: int, samples: int | None) -> str:
    """How many steps of how many samples, and how often each sample comes in them."""
    size = settings.batch * parts * processes
    left = max(0, settings.steps - done)
    made = (
        f"{settings.batch} × {parts} parts × {processes} processes = {size} samples"
        if size > (settings.batch)
        else f"{size} samples"
    )
    epochs = f"; {left * size / samples:.3g} epochs of {samples}" if samples else ""
    return f"steps: {left} of {settings.steps} are left, each of {made}{epochs}"


def held_out_line(settings: Settings, held_out: int) -> str:
    """Whether a best checkpoint is kept, and by what."""
    if not held_out:
        return "held out: nothing, so no checkpoint is kept as the best one"
    if not settings.every_validation:
        return f"held out: {held_out}, but never measured: every_validation is 0"
    return (
        f"held out: {held_out}, never trained on; the loss on them is measured every "
        f"{settings.every_validation} steps, and the checkpoint where it was lowest is kept"
    )


def time_line(times: Sequence[float], left: int) -> str:
    """How long a step takes, seconds of each of the first ones given, and how long that makes the rest."""
    # The first step chooses kernels and fills caches.
    own = sorted(times[1:])
    step = own[len(own) // 2]
    return f"a step takes {duration(step)}: about {duration(left * step)} are left, without samples"


def gigabytes(size: float) -> str:
    """A size in words."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def count(number: int) -> str:
    """A number of weights in words."""
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if number >= unit:
            return f"{number / unit:.2f} {name}"
    return str(number)


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
