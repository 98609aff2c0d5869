"""IterComp's difference to SDXL base (arXiv 2410.07171), applied as a delta or extracted as a LoRA."""

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

__all__ = [
    "METHODS",
    "ExtractionSettings",
    "LayerError",
    "deltas",
    "error_table",
    "extract_layer",
    "low_rank",
    "save_lora",
    "summary",
    "total_error",
    "with_delta",
]
