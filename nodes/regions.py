"""The node that draws a layout's instances without an adapter."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..hosts.comfyui.regions.apply import EVERY, draw_regions
from ..hosts.comfyui.schema import schema, socket
from ..layout import Layout
from .inputs import layers_input, window_inputs
from .notes import noted, told_on
from .sockets import InstanceLayoutSocket


class DrawRegions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_DrawRegions",
            display_name="Draw Regions",
            category="instance composer/conditioning",
            description=(
                "Draws every instance of a layout in its region by its caption, in one pass and without an "
                "adapter, with many models. Connect both outputs to the sampler."
            ),
            has_intermediate_output=True,  # the node shows what is worth a look in the layout
            search_aliases=[
                "regional prompt",
                "attention couple",
                "layout to image",
                "area conditioning",
                "flux regional",
                "place",
                "box",
                "area",
                "multi subject",
                "character",
            ],
            # In the order of the outputs: a bypassed node hands each of them the input in the same place.
            inputs=[
                socket(
                    io.Model,
                    "model",
                    tooltip="A model that the help page lists, LoRAs and other patches included.",
                ),
                socket(
                    io.Conditioning,
                    "positive",
                    tooltip="The prompt of the whole picture; outside the regions it alone counts.",
                ),
                socket(
                    io.Clip, "clip", tooltip="The text encoders of the prompt; they read the captions too."
                ),
                socket(InstanceLayoutSocket, "layout", tooltip="Captions and regions of the instances."),
                socket(
                    io.Float,
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    tooltip=(
                        "How many times each word of a caption counts in its region, beside what else is "
                        "seen there. 0 switches the node off. On SDXL and SD1.5 try 4 to 16 where things "
                        "do not come out."
                    ),
                ),
                socket(
                    io.Float,
                    "prompt_inside",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "How many times each word of the prompt counts inside the regions: 0 leaves them to "
                        "their captions, 1 is as much as outside."
                    ),
                ),
                socket(
                    io.Float,
                    "isolate",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip=(
                        "Until this share of the noise schedule an instance sees itself and its caption "
                        "alone; afterwards the picture grows together."
                    ),
                ),
                *window_inputs(
                    start=(
                        "Where in the sampling run it begins to act, as a share of the noise schedule (not "
                        "of the steps): 0 is the first step."
                    ),
                    end="Where in the sampling run it stops. After it nothing is computed.",
                ),
                layers_input(
                    "In which of the layers that read text the regions act",
                    default=EVERY,
                    optional=True,
                    advanced=True,
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Model.Output(
                    "out_model", display_name="model", tooltip="Samples with the instances drawn."
                ),
                io.Conditioning.Output(
                    "out_positive", display_name="positive", tooltip="The prompt with its instances."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        clip: Any,
        layout: Layout,
        strength: float,
        prompt_inside: float,
        isolate: float,
        start: float,
        end: float,
        layers: str = EVERY,
    ) -> io.NodeOutput:
        drawn = draw_regions(
            model, clip, layout, positive, strength, prompt_inside, isolate, start, end, layers, told_on(cls)
        )
        return io.NodeOutput(*drawn, ui=noted(layout, strength))


NODES = [DrawRegions]
