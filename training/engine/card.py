"""The card of an exported model: what it was made of and how, as Hugging Face's hub reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoint import write_whole
from .run_file import versions
from .settings import Settings

FILE = "README.md"


def write_card(
    folder: Path, options: Mapping[str, Any], settings: Settings, step: int, samples: int, best: float | None
) -> None:
    """Write `README.md` beside an exported model, over that of an earlier export.

    `samples` is how many were learned from, with repetitions, `best` the lowest loss on what is held out.
    """
    base = Path(str(options.get("model", options.get("init", "")))).name
    licence = options.get("licence")
    data = options.get("data", options.get("prompts"))
    about = {
        "base model": base or "none",
        "data": Path(str(data)).name if data else "Shapes World",
        "steps": f"{step:,} of {samples // step if step else 0} samples",
        "learning rate": f"{settings.learning_rate:g}",
        "precision": settings.mixed_precision,
        "licence": licence or "not stated",
        **({} if best is None else {"lowest loss on what is held out": f"{best:.6f}"}),
        **{f"version of {name}": value for name, value in versions().items()},
    }
    others = {k: v for k, v in options.items() if k not in ("model", "data", "prompts", "licence")}
    head = ["---", *([f"license: {licence}"] if licence else []), "tags:", "- instance-composer", "---"]
    rows = [f"| {name} | {value} |" for name, value in about.items()]
    options_line = ", ".join(f"{name} {_shown(value)}" for name, value in others.items())
    text = [
        *head,
        "",
        "# Model card",
        "",
        "Trained with Instance Composer; the averaged weights of the run.",
        "",
        "| | |",
        "|---|---|",
        *rows,
        "",
        f"Options: {options_line}.",
    ]
    write_whole(folder / FILE, "\n".join(text) + "\n")


def _shown(value: Any) -> str:
    """A value without the folders of this machine."""
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return Path(value).name if isinstance(value, str) else str(value)
