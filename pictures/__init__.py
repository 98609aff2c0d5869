"""Pictures drawn with Pillow."""

from .heat_map import draw_heat_map
from .layout_picture import (
    PALETTE,
    draw_layout,
    instance_color,
    side_by_side,
)

__all__ = ["PALETTE", "draw_heat_map", "draw_layout", "instance_color", "side_by_side"]
