"""The pack's own socket types, and core ones that older ComfyUI versions lack."""

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
