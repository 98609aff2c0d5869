"""The node that draws single instances of a finished picture again."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..hosts.comfyui.repair.redraw import (
    LARGEST_SEED,
    SAMPLERS,
    SCHEDULERS,
    Sampling,
    read_wanted,
    redraw,
)
from ..hosts.comfyui.schema import schema, socket
from ..layout import Layout
from .sockets import InstanceLayoutSocket


class RepairInstance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_RepairInstance",
            display_name="Repair Instance",
            category="instance composer/repair",
            description=(
                "Draws only the instances of a picture again that went wrong. Everything outside their "
                "regions stays as it is, to the bit."
            ),
            is_output_node=True,  # the editor runs this node alone, and it shows what it drew
            search_aliases=["inpaint", "detailer", "fix", "redraw", "draw again", "mend", "crop and stitch"],
            inputs=[
                socket(io.Image, "image", tooltip="The finished picture, or a batch of them."),
                socket(io.Vae, "vae", tooltip="The checkpoint's autoencoder."),
                socket(
                    io.Model,
                    "model",
                    tooltip="As it went to the sampler of the picture: with Apply IFAdapter, LoRAs and all.",
                ),
                socket(
                    io.Conditioning,
                    "positive",
                    tooltip="The prompt as it went to the sampler; what was placed in it stays in its place.",
                ),
                socket(io.Conditioning, "negative", tooltip="The negative as it went to the sampler."),
                socket(InstanceLayoutSocket, "layout", tooltip="The layout that the picture was drawn by."),
                socket(
                    io.String,
                    "instances",
                    default="",
                    tooltip=(
                        "Which ones to draw again, one after the other, such as 2, 5: the number or name "
                        "that the editor shows (the id); one that is no id is the place from the back. A "
                        "seed of its own goes behind an @, as in 2@17. Empty: none."
                    ),
                ),
                socket(
                    io.Int,
                    "seed",
                    default=0,
                    min=0,
                    max=LARGEST_SEED,
                    control_after_generate=True,
                    tooltip="The noise of those instances that have no seed of their own.",
                ),
                socket(io.Int, "steps", default=20, min=1, max=10000, tooltip="Steps of the sampler."),
                socket(
                    io.Float,
                    "cfg",
                    default=7.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How strongly the prompt guides; as for the picture.",
                ),
                socket(
                    io.Combo,
                    "sampler_name",
                    options=list(SAMPLERS),
                    default="euler",
                    tooltip="The sampler, as in KSampler.",
                ),
                socket(
                    io.Combo,
                    "scheduler",
                    options=list(SCHEDULERS),
                    default="normal",
                    tooltip="The noise levels of the steps, as in KSampler.",
                ),
                socket(
                    io.Float,
                    "denoise",
                    default=1.0,
                    min=0.05,
                    max=1.0,
                    step=0.01,
                    tooltip=(
                        "1 forgets what was there, which a thing that is missing or wrong needs. Around 0.5 "
                        "keeps its shape and changes details."
                    ),
                ),
                socket(
                    io.Float,
                    "context",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip=(
                        "How much of the picture around the region the model sees, on every side, as a "
                        "share of the region's longer side. The less, the larger it draws; 10 is all."
                    ),
                ),
                socket(
                    io.Float,
                    "grow",
                    default=0.1,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip=(
                        "How far beyond its region the instance may be drawn, as a share of the region's "
                        "longer side; never into the region of another."
                    ),
                ),
                socket(
                    io.Int,
                    "tries",
                    default=1,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip="How many pictures to make of each, to choose from, with Pick Best for example.",
                ),
            ],
            outputs=[
                io.Image.Output("out_image", display_name="image", tooltip="The picture with them repaired."),
                io.Mask.Output("mask", tooltip="What may have changed; everything else has not."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        vae: Any,
        model: Any,
        positive: Any,
        negative: Any,
        layout: Layout,
        instances: str,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        context: float = 1.0,
        grow: float = 0.1,
        tries: int = 1,
    ) -> io.NodeOutput:
        done = redraw(
            image,
            vae,
            model,
            positive,
            negative,
            layout,
            read_wanted(instances, layout),
            Sampling(seed, steps, cfg, sampler_name, scheduler, denoise),
            context=context,
            grow=grow,
            tries=tries,
        )
        shown = ui.PreviewImage(done.images, cls=cls).as_dict()
        return io.NodeOutput(done.images, done.mask, ui={**shown, "text": [done.report]})


NODES = [RepairInstance]
