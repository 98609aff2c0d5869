"""Nodes that find the entities of a prompt in a picture."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..hosts.comfyui.schema import schema, socket
from ..hosts.comfyui.segmentation.detect import BACKENDS, DEFAULT_BACKEND
from ..hosts.comfyui.segmentation.files import (
    detector_path,
    list_detectors,
    list_segmenters,
    register_folders,
    segmenter_path,
)
from ..hosts.comfyui.segmentation.segment import Thresholds, segment_entities
from .sockets import EntitiesSocket, InstanceLayoutSocket

register_folders()


class SegmentEntities(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_SegmentEntities",
            display_name="Segment Entities",
            category="instance composer/attention",
            description=(
                "Finds the entities of a prompt in a picture and outlines them: Grounding DINO finds the "
                "nouns, SAM their outlines."
            ),
            search_aliases=["grounded sam", "grounding dino", "segment anything", "sam mask", "detect"],
            inputs=[
                socket(io.Image, "image", tooltip="One picture, as from a first sampling pass."),
                socket(
                    EntitiesSocket, "entities", tooltip="From Prompt Entities. Their nouns are looked for."
                ),
                socket(
                    io.Combo,
                    "grounding_dino",
                    options=list_detectors(),
                    tooltip=(
                        "In models/grounding-dino: groundingdino_swint_ogc.pth or a folder of the "
                        "transformers library."
                    ),
                ),
                socket(
                    io.Combo,
                    "sam",
                    options=list_segmenters(),
                    tooltip="In models/sams: sam_vit_b, sam_vit_l or sam_vit_h.",
                ),
                socket(
                    io.Float,
                    "box_threshold",
                    default=Thresholds().box,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How sure the detector has to be of a thing. Lower finds more, also wrongly.",
                ),
                socket(
                    io.Float,
                    "text_threshold",
                    default=Thresholds().text,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="How sure the detector has to be that a word belongs to the thing.",
                ),
                socket(
                    io.Combo,
                    "backend",
                    options=list(BACKENDS),
                    default=DEFAULT_BACKEND,
                    optional=True,  # workflows of before it was there
                    advanced=True,
                    tooltip=(
                        "The code that runs Grounding DINO; both find the same. groundingdino-py, "
                        "the original, has to be installed and reads original weight files alone."
                    ),
                ),
            ],
            outputs=[
                InstanceLayoutSocket.Output(
                    "layout",
                    tooltip="One instance with its mask for each entity that was found.",
                ),
                io.Mask.Output(
                    "masks",
                    tooltip="One mask for each entity that can have a place, empty where nothing was found.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        entities: Any,
        grounding_dino: str,
        sam: str,
        box_threshold: float,
        text_threshold: float,
        backend: str = DEFAULT_BACKEND,
    ) -> io.NodeOutput:
        if len(image) != 1:
            raise ValueError(
                f"There are {len(image)} pictures, and a layout is for one. Take one out of the batch "
                "with Get Image from Batch (ImageFromBatch)."
            )
        thresholds = Thresholds(box_threshold, text_threshold)
        paths = detector_path(grounding_dino), segmenter_path(sam)
        return io.NodeOutput(*segment_entities(image[0], entities, *paths, thresholds, backend))


NODES = [SegmentEntities]
