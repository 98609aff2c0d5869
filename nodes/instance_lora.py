"""The node that lets a LoRA act on one instance alone."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..hosts.comfyui.instance_lora.apply import lora_for_instance
from ..hosts.comfyui.instance_lora.reading import list_loras
from ..hosts.comfyui.schema import schema, socket
from ..layout import Layout
from .sockets import InstanceLayoutSocket


class InstanceLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_InstanceLora",
            display_name="LoRA for Instance",
            category="instance composer/conditioning",
            description=(
                "Lets a LoRA act where one instance is, and keeps it off the others and the background. Put "
                "several in a row for several instances."
            ),
            has_intermediate_output=True,  # the node says what of the file acts
            search_aliases=[
                *("regional lora", "lora mask", "lora per region", "character lora", "multi character"),
                *("identity", "place", "multi subject"),
            ],
            inputs=[
                socket(io.Model, "model", tooltip="An SDXL or SD1.5 checkpoint, other patches included."),
                socket(InstanceLayoutSocket, "layout", tooltip="The layout that the picture is drawn by."),
                socket(
                    io.String,
                    "instance",
                    default="1",
                    tooltip=(
                        "Whose LoRA it is: the number or name that the editor shows (the id); one that is no "
                        "id is the place from the back."
                    ),
                ),
                socket(
                    io.Combo,
                    "lora_name",
                    options=list_loras(),
                    tooltip="A file in models/loras: a plain LoRA of the UNet. Two fit the demo model.",
                ),
                socket(
                    io.Float,
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How strong the LoRA is. 0 switches the node off; below it works the other way.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    "out_model", display_name="model", tooltip="Samples with the LoRA on that instance alone."
                )
            ],
        )

    @classmethod
    def execute(
        cls, model: Any, layout: Layout, instance: str, lora_name: str, strength: float
    ) -> io.NodeOutput:
        bound, report = lora_for_instance(model, layout, instance, lora_name, strength)
        return io.NodeOutput(bound, ui=ui.PreviewText(report))


NODES = [InstanceLora]
