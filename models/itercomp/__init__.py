"""IterComp (arXiv 2410.07171): its SDXL UNet, and what it learned beyond SDXL base as a delta or a LoRA."""

from .architecture import Structure, describe, sdxl_structure
from .delta import deltas, with_delta
from .extraction import (
    METHODS,
    ExtractionSettings,
    LayerError,
    error_table,
    extract_layer,
    low_rank,
    save_lora,
    summary,
    total_error,
)
from .files import UNetFile, holds_unet, open_unet, unet_folder
from .names import GROUPS, in_group, unet_names

__all__ = [
    "GROUPS",
    "METHODS",
    "ExtractionSettings",
    "LayerError",
    "Structure",
    "UNetFile",
    "deltas",
    "describe",
    "error_table",
    "extract_layer",
    "holds_unet",
    "in_group",
    "low_rank",
    "open_unet",
    "save_lora",
    "sdxl_structure",
    "summary",
    "total_error",
    "unet_folder",
    "unet_names",
    "with_delta",
]
