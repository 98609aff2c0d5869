"""Nodes that show what the words of a prompt attend to."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..hosts.comfyui.attention_maps.heat_maps import HeatMaps, heat_maps
from ..hosts.comfyui.attention_maps.record import AttentionRecord, record_attention
from ..hosts.comfyui.conversions import image_tensor
from ..hosts.comfyui.schema import schema, socket
from ..layout import Layout
from .inputs import layers_input, window_inputs
from .sockets import AttentionRecordSocket, EntitiesSocket, InstanceLayoutSocket

CATEGORY = "instance composer/attention"


class RecordAttentionMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_RecordAttentionMaps",
            display_name="Record Attention Maps",
            category=CATEGORY,
            description=(
                "Notes where each entity of the prompt finds attention while the MODEL samples. The picture "
                "stays exactly the same."
            ),
            search_aliases=["daam", "cross attention", "heat map", "attention heatmap", "diagnose prompt"],
            inputs=[
                socket(
                    io.Model,
                    "model",
                    tooltip="A model that Draw Regions works with, LoRAs and other patches included.",
                ),
                socket(EntitiesSocket, "entities", tooltip="From Prompt Entities, of the positive prompt."),
                layers_input("Over which of the layers that read text the mean is taken"),
                *window_inputs(
                    start=(
                        "Where in the sampling run recording begins, as a share of the noise schedule (not "
                        "of the steps): 0 is the first step."
                    ),
                    end=(
                        "Where in the sampling run recording stops. An early end shows how the composition "
                        "was settled."
                    ),
                ),
            ],
            outputs=[
                io.Model.Output("out_model", display_name="model", tooltip="For the sampler; it records."),
                AttentionRecordSocket.Output(
                    "record", tooltip="For Show Attention Maps. It is filled once the sampler has run."
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Any, entities: Any, layers: str, start: float, end: float) -> io.NodeOutput:
        return io.NodeOutput(*record_attention(model, entities, layers, start, end))


class ShowAttentionMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_ShowAttentionMaps",
            display_name="Show Attention Maps",
            category=CATEGORY,
            description=(
                "Draws each entity's attention over the picture and says how much of it lies inside the "
                "entity's region. Connect latent, image or both."
            ),
            search_aliases=["daam", "cross attention", "heat map", "attention heatmap", "concentration"],
            is_output_node=True,
            inputs=[
                socket(AttentionRecordSocket, "record", tooltip="From Record Attention Maps."),
                socket(
                    io.Latent,
                    "latent",
                    optional=True,
                    tooltip=(
                        "What the sampler made. It tells which run and which pictures are meant, and stands "
                        "in for the image where none is connected."
                    ),
                ),
                socket(
                    io.Image, "image", optional=True, tooltip="The finished pictures, drawn under the heat."
                ),
                socket(
                    InstanceLayoutSocket,
                    "layout",
                    optional=True,
                    tooltip=(
                        "Regions of the entities, matched by words. An entity without one is measured "
                        "against the hot part of its noun's own map."
                    ),
                ),
                socket(
                    io.Float,
                    "opacity",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much the heat covers the picture.",
                ),
            ],
            outputs=[
                io.Image.Output("images", tooltip="For each picture one heat map of each entity."),
                io.Mask.Output(
                    "masks", tooltip="The heat itself, from 0 at its coldest place to 1 at its hottest."
                ),
                io.String.Output("table", tooltip="The concentration of each entity in each picture."),
            ],
        )

    @classmethod
    def execute(
        cls,
        record: AttentionRecord,
        opacity: float,
        latent: dict[str, Tensor] | None = None,
        image: Tensor | None = None,
        layout: Layout | None = None,
    ) -> io.NodeOutput:
        samples = None if latent is None else latent["samples"]
        shown = heat_maps(record, samples, image, layout)
        drawn, table = shown.drawn(opacity), shown.table()
        preview = ui.PreviewImage(drawn, cls=cls).as_dict()
        heats = {"instance_heat_maps": _editor_files(shown, cls), "text": (table,)}
        return io.NodeOutput(drawn, shown.masks(), table, ui={**preview, **heats})


def _editor_files(shown: HeatMaps, cls: type[io.ComfyNode]) -> list[dict[str, Any]]:
    """Heat by instance, as files that the layout editor shows over its regions."""
    heats = shown.for_editor()
    if not heats:
        return []
    files = ui.PreviewImage(image_tensor([heat for _, heat in heats]), cls=cls).as_dict()["images"]
    return [{**file, "instance": name} for (name, _), file in zip(heats, files, strict=True)]


NODES = [RecordAttentionMaps, ShowAttentionMaps]
