"""Options of IFAdapter training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..options import flag


@dataclass(frozen=True)
class AdapterRun:
    """Model, data and objective of an adapter's training; `size` is (width, height) in pixels."""

    model: Path = field(metadata=flag("diffusers folder or .safetensors of SDXL"))
    data: Path | None = field(
        default=None,
        metadata=flag(
            "folder of pictures, each with a layout of the same name and the ending .json, or a .parquet "
            "file with the columns image and layout (default: Shapes World)"
        ),
    )
    size: tuple[int, int] = field(default=(1024, 1024), metadata=flag("width x height (%(default)s)"))
    pictures: int = field(default=10_000, metadata=flag("of Shapes World to encode (%(default)g)"))
    checked_pattern_pictures: int = field(
        default=0, metadata=flag("more of Shapes World, with checked things alone (%(default)g)", "checked")
    )
    init: Path | None = field(default=None, metadata=flag("start from this adapter instead of fresh weights"))
    small: bool = field(default=False, metadata=flag("a fresh adapter of the demo model's size"))
    region_weight: float = field(
        default=0.0, metadata=flag("weight of the error inside boxes, once more (%(default)g)")
    )
    snr_power: float = field(
        default=0.0,
        metadata=flag(
            "weigh errors by signal-to-noise ratio ** -power, such as 0.5 (%(default)g: all alike)"
        ),
    )
    gradient_checkpointing: bool = field(default=False, metadata=flag("less memory, about a third more time"))
    latents: Path | None = field(
        default=None,
        metadata=flag(
            "folder for the encoded pictures of --data, which runs can share (default: the run's own)"
        ),
    )
    leave_out: bool = field(
        default=False, metadata=flag("go on without pictures and layouts of --data that cannot be read")
    )
    held_out: int = field(
        default=0,
        metadata=flag("pictures that are not trained on, to measure the loss on (%(default)g)"),
    )
    examples: Path | None = field(
        default=None,
        metadata=flag("layouts to draw while training: a file of any format, .jsonl or a folder"),
    )
    licence: str | None = field(
        default=None, metadata=flag("of the trained adapter, as its card names it, such as apache-2.0")
    )
    buckets: bool = field(
        default=False,
        metadata=flag("pictures of --data at several sizes near their own proportions, instead of one"),
    )
    text_features: bool = field(
        default=False,
        metadata=flag(
            "encode captions once and keep that beside the encoded pictures: steps do without text encoders "
            "(a dry run says what it takes of the disk)"
        ),
    )
