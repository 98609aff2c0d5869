"""IterComp (arXiv 2410.07171): what it learned beyond SDXL base, as a delta or a LoRA."""

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
