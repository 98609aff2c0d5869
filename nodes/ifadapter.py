"""Nodes that place instances with an IFAdapter."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..hosts.comfyui.ifadapter.apply import apply_ifadapter
from ..hosts.comfyui.ifadapter.compose import compose
from ..hosts.comfyui.schema import schema, socket
from ..layout import Layout
from .inputs import silhouettes_input, window_inputs
from .notes import noted, told_on
from .sockets import IFAdapterSocket, InstanceLayoutSocket


class ApplyIFAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_ApplyIFAdapter",
            display_name="Apply IFAdapter",
            category="instance composer/conditioning",
            description=(
                "Places every instance of a layout: what its caption says, where its region is. "
                "Connect all three outputs to the sampler."
            ),
            has_intermediate_output=True,  # the node shows what is worth a look in the layout
            search_aliases=[
                "regional prompt",
                "layout to image",
                "instance placement",
                "area conditioning",
                "gligen",
                "place",
                "box",
                "area",
                "multi subject",
                "character",
            ],
            # In the order of the outputs: a bypassed node hands each of them the input in the same place.
            inputs=[
                socket(io.Model, "model", tooltip="An SDXL checkpoint, LoRAs and other patches included."),
                socket(
                    io.Conditioning,
                    "positive",
                    tooltip="The prompt of the whole picture; it should mention every instance.",
                ),
                socket(
                    io.Conditioning,
                    "negative",
                    tooltip=(
                        "The negative prompt. It gets the same regions without captions. For the published "
                        "setup connect ConditioningZeroOut of the prompt here."
                    ),
                ),
                socket(io.Clip, "clip", tooltip="SDXL's text encoders; they read the instance captions too."),
                socket(IFAdapterSocket, "ifadapter", tooltip="From Load IFAdapter."),
                socket(InstanceLayoutSocket, "layout", tooltip="Captions and regions of the instances."),
                socket(
                    io.Float,
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=5.0,
                    step=0.05,
                    tooltip="How strongly instances are placed; 1 is as trained, 0 switches the adapter off.",
                ),
                *window_inputs(
                    start=(
                        "Where in the sampling run the adapter begins to act, as a share of the noise "
                        "schedule (not of the steps): 0 is the first step."
                    ),
                    end=(
                        "Where in the sampling run the adapter stops. 1 is the end; around 0.3 leaves style "
                        "and detail to checkpoint and LoRAs. After it nothing is computed."
                    ),
                ),
                silhouettes_input("the attention to each caption"),
                socket(
                    io.Float,
                    "occlusion",
                    optional=True,
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "How much an instance hides of those behind it in the stack where they overlap: 0 "
                        "mixes them, as published; at 1 what is in front hides all behind it where it is "
                        "strongest."
                    ),
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Model.Output(
                    "out_model", display_name="model", tooltip="Samples with the instances placed."
                ),
                io.Conditioning.Output(
                    "out_positive", display_name="positive", tooltip="The prompt with its instances."
                ),
                io.Conditioning.Output(
                    "out_negative",
                    display_name="negative",
                    tooltip="The negative with the regions, uncaptioned.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        ifadapter: Any,
        layout: Layout,
        positive: Any,
        negative: Any,
        strength: float,
        start: float,
        end: float,
        silhouettes_from: float = 0.0,
        occlusion: float = 0.0,
    ) -> io.NodeOutput:
        applied = apply_ifadapter(
            model,
            clip,
            ifadapter,
            layout,
            positive,
            negative,
            strength,
            start,
            end,
            silhouettes_from,
            told_on(cls),
            occlusion,
        )
        return io.NodeOutput(*applied, ui=noted(layout, strength))


class ComposeLayout(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_ComposeLayout",
            display_name="Compose Layout",
            category="instance composer/conditioning",
            description=(
                "Everything a sampler asks for, from a checkpoint and a layout: the prompt encoded, every "
                "instance in its place, an empty latent of the layout's size."
            ),
            has_intermediate_output=True,  # the node shows what is worth a look in the layout
            search_aliases=[
                "instance composer",
                "layout to image",
                "regional prompt",
                "place",
                "box",
                "area",
                "multi subject",
                "character",
            ],
            inputs=[
                socket(io.Model, "model", tooltip="An SDXL checkpoint, LoRAs and other patches included."),
                socket(io.Clip, "clip", tooltip="SDXL's text encoders; they read prompt and captions."),
                socket(IFAdapterSocket, "ifadapter", tooltip="From Load IFAdapter."),
                socket(
                    InstanceLayoutSocket,
                    "layout",
                    tooltip=(
                        "Captions, regions, prompt, negative and size of the picture. Without a negative "
                        "the prompt zeroed out takes its place, as the adapter was published."
                    ),
                ),
                socket(
                    io.Float,
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=5.0,
                    step=0.05,
                    tooltip="How strongly instances are placed; 1 is as trained, 0 switches the adapter off.",
                ),
                socket(
                    io.Int,
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many pictures are drawn in one run.",
                ),
                *window_inputs(
                    start=(
                        "Where in the sampling run the adapter begins to act, as a share of the noise "
                        "schedule (not of the steps): 0 is the first step."
                    ),
                    end=(
                        "Where in the sampling run the adapter stops. 1 is the end; around 0.3 leaves style "
                        "and detail to checkpoint and LoRAs."
                    ),
                    advanced=True,
                ),
                socket(
                    io.String,
                    "prompt",
                    optional=True,
                    force_input=True,
                    tooltip=(
                        "The prompt of the whole picture, as it is written. Without one it is the layout's "
                        "own, with the captions that it does not name."
                    ),
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Model.Output(
                    "out_model", display_name="model", tooltip="Samples with the instances placed."
                ),
                io.Conditioning.Output("positive", tooltip="The prompt with its instances."),
                io.Conditioning.Output("negative", tooltip="The negative with the regions, uncaptioned."),
                io.Latent.Output("latent", tooltip="An empty latent of the layout's size."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        ifadapter: Any,
        layout: Layout,
        strength: float,
        batch_size: int,
        start: float,
        end: float,
        prompt: str = "",
    ) -> io.NodeOutput:
        composed = compose(
            model,
            clip,
            ifadapter,
            layout,
            prompt,
            strength=strength,
            start=start,
            end=end,
            batch_size=batch_size,
            tell=told_on(cls),
        )
        return io.NodeOutput(*composed, ui=noted(layout, strength))


NODES = [ApplyIFAdapter, ComposeLayout]
