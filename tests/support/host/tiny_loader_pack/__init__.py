"""A custom node pack for tests: what a checkpoint loader gives, from a tiny UNet of the tests' own.

Put beside the pack in custom_nodes. Reads models/tiny/unet.safetensors, whose metadata holds the config.
"""

import json
import sys
from pathlib import Path

import folder_paths
from safetensors import safe_open

sys.path.extend(str(folder) for folder in Path(__file__).resolve().parents[1:3])


class TinySDXL:
    """Stands in for CheckpointLoaderSimple."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802 - ComfyUI's name
        return {"required": {}}

    def load(self):
        from tiny_comfyui import tiny_clip, tiny_model, tiny_vae

        path = Path(folder_paths.models_dir) / "tiny" / "unet.safetensors"
        with safe_open(path, "pt") as file:
            config = json.loads(file.metadata()["config"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return tiny_model(config, weights), tiny_clip(), tiny_vae()


NODE_CLASS_MAPPINGS = {"TinySDXL": TinySDXL}
