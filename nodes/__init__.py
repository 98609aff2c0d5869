"""The nodes, one file per family. Each file ends in a list `NODES`."""

from __future__ import annotations

import logging
from importlib import import_module

from comfy_api.latest import ComfyExtension, io

from ..hosts.comfyui.inputs import checked, name_errors

FAMILIES = (
    "layout",
    "layout_changes",
    "loaders",
    "ifadapter",
    "regions",
    "repair",
    "instance_lora",
    "demo",
    "entities",
    "concentration",
    "itercomp",
    "rewards",
    "attention_maps",
    "segmentation",
)

logger = logging.getLogger("instance_composer")


def collect_nodes(families: tuple[str, ...] = FAMILIES) -> list[type[io.ComfyNode]]:
    """The nodes of all families that import; one that does not is logged with its traceback and left out."""
    nodes: list[type[io.ComfyNode]] = []
    for family in families:
        try:
            nodes.extend(checked(node) for node in import_module(f".{family}", __name__).NODES)
        except Exception:
            logger.exception(
                "The %s nodes of Instance Composer could not be loaded; the others were.", family
            )
    return nodes


class InstanceComposerExtension(ComfyExtension):
    """The pack's nodes, for ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        try:
            import_module("..hosts.comfyui.server.routes", __name__).register_routes()
        except Exception:
            logger.exception("The layout editor cannot ask for numbers of tokens or other formats.")
        nodes = collect_nodes()
        name_errors()
        return nodes
