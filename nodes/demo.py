"""The node that loads the demo model."""

from __future__ import annotations

from comfy_api.latest import io

from ..demo import ADAPTER, demo_folder
from ..hosts.comfyui.checkpoints.small_sdxl import load_clip, load_vae
from ..hosts.comfyui.checkpoints.unet import load_unet
from ..hosts.comfyui.ifadapter.weights import load_adapter
from ..hosts.comfyui.schema import schema
from .sockets import IFAdapterSocket


class LoadDemoCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_LoadDemoCheckpoint",
            display_name="Load Demo Checkpoint",
            category="instance composer/loaders",
            description=(
                "A small SDXL of coloured, patterned shapes with its IFAdapter. It comes with the pack and "
                "samples on a CPU in seconds."
            ),
            search_aliases=["try instance composer", "shapes world", "demo model", "example checkpoint"],
            outputs=[
                io.Model.Output(
                    "model",
                    tooltip=(
                        "Draws pictures like “a red striped circle and a blue square on grey”, 128 to 320 "
                        "pixels a side."
                    ),
                ),
                io.Clip.Output("clip", tooltip="Its two text encoders; they know the words of Shapes World."),
                io.Vae.Output("vae", tooltip="Its autoencoder."),
                IFAdapterSocket.Output(
                    "ifadapter", tooltip="For Compose Layout or Apply IFAdapter; it fits this model alone."
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        folder = demo_folder()
        return io.NodeOutput(
            load_unet(str(folder)), load_clip(folder), load_vae(folder), load_adapter(folder / ADAPTER)
        )


NODES = [LoadDemoCheckpoint]
