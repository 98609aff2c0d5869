"""Nodes that change layouts."""

from __future__ import annotations

import logging

from comfy_api.latest import io

from ..hosts.comfyui.schema import schema, socket
from ..layout import Box, Layout, transform
from .sockets import LAYOUT_CATEGORY, InstanceLayoutSocket, layout_output

logger = logging.getLogger("instance_composer")


class CombineLayouts(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def later(name: str, optional: bool = False) -> io.Input:
            tooltip = "Its instances lie in front of those before it."
            return socket(InstanceLayoutSocket, name, optional=optional, tooltip=tooltip)

        return schema(
            node_id="IC_CombineLayouts",
            display_name="Combine Layouts",
            category=LAYOUT_CATEGORY,
            description="Puts the instances of several layouts onto the canvas of the first.",
            search_aliases=["merge layouts", "join layouts"],
            inputs=[
                socket(
                    InstanceLayoutSocket, "first", tooltip="Its canvas is kept; its instances lie behind."
                ),
                later("second"),
                later("third", optional=True),
                later("fourth", optional=True),
            ],
            outputs=[layout_output()],
        )

    @classmethod
    def execute(
        cls, first: Layout, second: Layout, third: Layout | None = None, fourth: Layout | None = None
    ) -> io.NodeOutput:
        given = (layout for layout in (first, second, third, fourth) if layout is not None)
        return io.NodeOutput(transform.combine(*given))


class TransformLayout(io.ComfyNode):
    MIRRORS = ("none", "horizontal", "vertical", "both")

    @classmethod
    def define_schema(cls) -> io.Schema:
        def fraction(name: str, default: float, low: float, high: float, tooltip: str) -> io.Input:
            return socket(io.Float, name, default=default, min=low, max=high, step=0.01, tooltip=tooltip)

        return schema(
            node_id="IC_TransformLayout",
            display_name="Transform Layout",
            category=LAYOUT_CATEGORY,
            description="Mirrors, crops, scales and moves a layout, in that order.",
            search_aliases=["mirror layout", "flip layout", "crop layout", "scale layout", "move layout"],
            inputs=[
                socket(InstanceLayoutSocket, "layout", tooltip="The layout to change."),
                socket(
                    io.Combo,
                    "mirror",
                    options=list(cls.MIRRORS),
                    default="none",
                    tooltip="horizontal swaps left and right, vertical swaps top and bottom.",
                ),
                fraction(
                    "crop_left", 0.0, 0.0, 1.0, "Left edge of the part to keep, as a fraction of the width."
                ),
                fraction(
                    "crop_top", 0.0, 0.0, 1.0, "Top edge of the part to keep, as a fraction of the height."
                ),
                fraction(
                    "crop_right", 1.0, 0.0, 1.0, "Right edge of the part to keep, as a fraction of the width."
                ),
                fraction(
                    "crop_bottom",
                    1.0,
                    0.0,
                    1.0,
                    "Bottom edge of the part to keep, as a fraction of the height.",
                ),
                fraction(
                    "scale",
                    1.0,
                    0.01,
                    100.0,
                    "Makes everything larger (above 1) or smaller about the centre.",
                ),
                fraction(
                    "move_right", 0.0, -1.0, 1.0, "Moves everything right (negative: left), in canvas widths."
                ),
                fraction(
                    "move_down", 0.0, -1.0, 1.0, "Moves everything down (negative: up), in canvas heights."
                ),
            ],
            outputs=[layout_output()],
        )

    @classmethod
    def execute(
        cls,
        layout: Layout,
        mirror: str,
        crop_left: float,
        crop_top: float,
        crop_right: float,
        crop_bottom: float,
        scale: float,
        move_right: float,
        move_down: float,
    ) -> io.NodeOutput:
        changed = layout
        if mirror in ("horizontal", "both"):
            changed = transform.mirror_horizontally(changed)
        if mirror in ("vertical", "both"):
            changed = transform.mirror_vertically(changed)
        changed = transform.crop(changed, Box(crop_left, crop_top, crop_right, crop_bottom))
        changed = transform.scale_and_move(changed, scale, move_right, move_down)
        _tell_dropped(layout, changed)
        return io.NodeOutput(changed)


def _tell_dropped(layout: Layout, changed: Layout) -> None:
    left = {instance.id for instance in changed.instances}
    dropped = [instance.id for instance in layout.instances if instance.id not in left]
    if dropped:
        logger.warning(
            "Transform Layout leaves out %d of %d instances, which are off the canvas now: %s",
            len(dropped),
            len(layout.instances),
            ", ".join(dropped),
        )


NODES = [CombineLayouts, TransformLayout]
