"""Nodes for the browser tests: what a run hands over, boxes from upstream, heat maps,
a sampler that shows previews."""

from __future__ import annotations

import json
import time

import comfy.utils
import torch
from comfy_api.latest import ComfyExtension, io, ui
from PIL import Image


class ShowLayout(io.ComfyNode):
    """Writes down the layout that arrives and returns a red picture, as a sampler that shows its own."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        layout = io.Custom("INSTANCE_LAYOUT").Input("layout")
        return io.Schema(
            node_id="Test_ShowLayout",
            category="test",
            is_output_node=True,
            inputs=[layout, io.Int.Input("previews", default=0)],
            outputs=[io.Latent.Output("latent")],
        )

    @classmethod
    def execute(cls, layout, previews) -> io.NodeOutput:
        progress = comfy.utils.ProgressBar(previews)
        for step in range(previews):
            time.sleep(0.5)
            progress.update_absolute(
                step + 1, previews, ("JPEG", Image.new("RGB", (64, 64), (0, 60 * step, 255)), 64)
            )
        picture = torch.zeros(1, 64, 64, 3)
        picture[..., 0] = 1.0
        shown = ui.PreviewImage(picture, cls=cls).as_dict()
        latent = {"samples": torch.zeros(1, 4, 8, 8)}
        return io.NodeOutput(latent, ui={**shown, "text": [layout.to_json()]})


class Sample(io.ComfyNode):
    """A latent, with a layout or from a prompt alone."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Test_Sample",
            category="test",
            inputs=[
                io.Custom("INSTANCE_LAYOUT").Input("layout", optional=True),
                io.String.Input("text", default="", optional=True, force_input=True),
                io.Int.Input("batch", default=1),
            ],
            outputs=[io.Latent.Output("latent")],
        )

    @classmethod
    def execute(cls, batch, layout=None, text="") -> io.NodeOutput:
        return io.NodeOutput({"samples": torch.zeros(batch, 4, 8, 8)})


class Decode(io.ComfyNode):
    """Pictures of one colour; each of a batch has more green in it, by 0.25."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        numbers = [io.Float.Input(name, default=0.0) for name in ("red", "blue")]
        sides = [io.Int.Input(name, default=64) for name in ("width", "height")]
        return io.Schema(
            node_id="Test_Decode",
            category="test",
            inputs=[io.Latent.Input("latent"), *numbers, *sides],
            outputs=[io.Image.Output("image")],
        )

    @classmethod
    def execute(cls, latent, red, blue, width, height) -> io.NodeOutput:
        pictures = torch.zeros(len(latent["samples"]), height, width, 3)
        for number, picture in enumerate(pictures):
            picture[:] = torch.tensor([red, 0.25 * number, blue])
        return io.NodeOutput(pictures)


class Boxes(io.ComfyNode):
    """A BOUNDING_BOX from JSON, as a detector would give it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        text = io.String.Input("text", default='[[{"x": 100, "y": 100, "width": 300, "height": 200}]]')
        boxes = io.Custom("BOUNDING_BOX").Output("boxes")
        return io.Schema(node_id="Test_Boxes", category="test", inputs=[text], outputs=[boxes])

    @classmethod
    def execute(cls, text: str) -> io.NodeOutput:
        return io.NodeOutput(json.loads(text))


class ShowHeat(io.ComfyNode):
    """The message of Show Attention Maps: heat on the left half, and a picture with the heat in it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        layout = io.Custom("INSTANCE_LAYOUT").Input("layout")
        return io.Schema(node_id="Test_ShowHeat", category="test", is_output_node=True, inputs=[layout])

    @classmethod
    def execute(cls, layout) -> io.NodeOutput:
        heat = torch.zeros(1, 64, 64, 3)
        heat[:, :, :32] = 1.0
        shown = ui.PreviewImage(heat, cls=cls).as_dict()
        files = [{**shown["images"][0], "instance": instance.id} for instance in layout.active]
        return io.NodeOutput(ui={**shown, "instance_heat_maps": files, "text": [layout.to_json()]})


class TestNodes(ComfyExtension):
    async def get_node_list(self):
        return [ShowLayout, Sample, Decode, ShowHeat, Boxes]


async def comfy_entrypoint() -> TestNodes:
    return TestNodes()
