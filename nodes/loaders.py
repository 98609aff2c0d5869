"""Nodes that load model files."""

from __future__ import annotations

from comfy_api.latest import io

from ..hosts.comfyui.ifadapter.folder import adapter_path, list_adapters, register_folder
from ..hosts.comfyui.ifadapter.weights import load_adapter
from ..hosts.comfyui.schema import schema, socket
from .sockets import IFAdapterSocket

register_folder()


class LoadIFAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_LoadIFAdapter",
            display_name="Load IFAdapter",
            category="instance composer/loaders",
            description="Loads the weights that place instances by caption and region on SDXL.",
            search_aliases=["ifadapter loader", "instance adapter", "layout adapter", "spd_adapter"],
            inputs=[
                socket(
                    io.Combo,
                    "ifadapter_name",
                    options=list_adapters(),
                    tooltip="A file in models/ifadapter: spd_adapter.bin, or a .safetensors made of it.",
                )
            ],
            outputs=[IFAdapterSocket.Output("ifadapter", tooltip="For Compose Layout or Apply IFAdapter.")],
        )

    @classmethod
    def validate_inputs(cls, ifadapter_name: str | None) -> bool | str:
        """Whether the file is there, in this format or the other; a linked name is not known yet."""
        if ifadapter_name is None:
            return True
        try:
            adapter_path(ifadapter_name)
        except FileNotFoundError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, ifadapter_name: str) -> io.NodeOutput:
        return io.NodeOutput(load_adapter(adapter_path(ifadapter_name)))


NODES = [LoadIFAdapter]
