"""The pack's own socket types, core ones that older ComfyUI versions lack, and what layout nodes share."""

from __future__ import annotations

from comfy_api.latest import io

InstanceLayoutSocket = io.Custom("INSTANCE_LAYOUT")
IFAdapterSocket = io.Custom("IFADAPTER")
CompositionRewardsSocket = io.Custom("COMPOSITION_REWARDS")
EntitiesSocket = io.Custom("ENTITIES")
AttentionRecordSocket = io.Custom("ATTENTION_RECORD")
# By name rather than as io.BoundingBox: known to core from v0.28 on, a plain socket before.
BoundingBoxSocket = io.Custom("BOUNDING_BOX")
BoundingBoxesSocket = io.Custom("BOUNDING_BOXES")
ArraySocket = io.Custom("ARRAY")
LAYOUT_CATEGORY = "instance composer/layout"


def layout_output() -> io.Output:
    """The output of a node that makes a layout."""
    return InstanceLayoutSocket.Output(
        "layout", tooltip="For Compose Layout, Apply IFAdapter and the other layout nodes."
    )
