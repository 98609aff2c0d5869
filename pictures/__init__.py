"""Pictures drawn with Pillow."""

from .layout_picture import PALETTE, draw_layout, instance_color, side_by_side

__all__ = ["PALETTE", "draw_layout", "instance_color", "side_by_side"]
