"""A ComfyUI installation as the report needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# The model folders that the pack's nodes read, by ComfyUI's name of the kind.
ADAPTERS, REWARDS, DETECTORS, SEGMENTERS = "ifadapter", "composition_rewards", "grounding-dino", "sams"
UNETS = ("checkpoints", "diffusion_models", "diffusers")
FOLDERS = (ADAPTERS, *UNETS, REWARDS, DETECTORS, SEGMENTERS)


@dataclass(frozen=True)
class Installation:
    """Where a ComfyUI keeps what.

    `version` is None where none was found, and `remark` says how it was looked for or what was not read.
    `models` has the folders of each kind, `custom_nodes` those that hold other packs.
    """

    version: str | None = None
    models: Mapping[str, Sequence[Path]] = field(default_factory=dict[str, Sequence[Path]])
    custom_nodes: Sequence[Path] = ()
    remark: str = ""
