"""The node that loads the demo model."""

from __future__ import annotations

from comfy_api.latest import io

from ..demo import ADAPTER, demo_folder, transformer_folder
from ..hosts.comfyui.checkpoints.small_flux import load_transformer, load_unpadded_clip, no_ifadapter
from ..hosts.comfyui.checkpoints.small_sdxl import load_clip, load_vae
from ..hosts.comfyui.checkpoints.unet import load_unet
from ..hosts.comfyui.ifadapter.weights import load_adapter
from ..hosts.comfyui.schema import schema
from .sockets import IFAdapterSocket

MODEL, TRANSFORMER = MODELS = ("demo model", "demo transformer")


class LoadDemoCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_LoadDemoCheckpoint",
            display_name="Load Demo Checkpoint",
            category="instance composer/loaders",
            description=(
                "A small SDXL of coloured, patterned shapes with its IFAdapter, or a small Flux of the same "
                "world. Both come with the pack and sample on a CPU in seconds."
            ),
            search_aliases=["try instance composer", "shapes world", "demo model", "example checkpoint"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=list(MODELS),
                    default=MODEL,
                    optional=True,
                    tooltip=(
                        "demo model: a small SDXL. demo transformer: a small Flux, on which Draw Regions and "
                        "Attribute Concentration (local) act as on large transformers; it has no IFAdapter."
                    ),
                )
            ],
            outputs=[
                io.Model.Output(
                    "model",
                    tooltip=(
                        "Draws pictures like “a red striped circle and a blue square on grey”, of 128 × 128 "
                        "pixels and near it."
                    ),
                ),
                io.Clip.Output("clip", tooltip="Its two text encoders; they know the words of Shapes World."),
                io.Vae.Output("vae", tooltip="Its autoencoder."),
                IFAdapterSocket.Output(
                    "ifadapter",
                    tooltip="For Compose Layout or Apply IFAdapter; it fits the demo model alone.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model_name: str = MODEL) -> io.NodeOutput:
        folder = demo_folder()
        if model_name == TRANSFORMER:
            parts = load_transformer(transformer_folder()), load_unpadded_clip(folder), load_vae(folder)
            return io.NodeOutput(*parts, no_ifadapter())
        return io.NodeOutput(
            load_unet(str(folder)), load_clip(folder), load_vae(folder), load_adapter(folder / ADAPTER)
        )


NODES = [LoadDemoCheckpoint]
