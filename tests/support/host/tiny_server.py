"""What a ComfyUI server of the tests has: the pack, and models that are tiny."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from comfyui_location import REPOSITORY
from safetensors.torch import save_file
from tiny_captioners import write_tiny_qwen
from tiny_rewards import write_tiny_rewards
from tiny_sdxl import UNET, write_tiny_unet
from torch import Tensor

FOLDER = "ComfyUI-Instance-Composer"
# The second loads the checkpoint that is written below.
PACKS = {FOLDER: REPOSITORY, "tiny-loader": REPOSITORY / "tests" / "support" / "host" / "tiny_loader_pack"}


def write_tiny_models(models: Path, unet: dict[str, Tensor], adapter: Path) -> None:
    """Fill the folder of a server's models: checkpoint, adapter, a tuned UNet, rewards and a judge."""
    for folder in ("tiny", "ifadapter"):
        (models / folder).mkdir(parents=True)
    weights = {name: value.contiguous() for name, value in unet.items()}
    save_file(weights, models / "tiny" / "unet.safetensors", {"config": json.dumps(UNET)})
    shutil.copy(adapter, models / "ifadapter" / "tiny.safetensors")
    # As IterComp is published.
    write_tiny_unet(models / "diffusers" / "tuned", {name: value * 1.02 for name, value in weights.items()})
    write_tiny_rewards(models / "composition_rewards" / "tiny")
    write_tiny_qwen(models / "vision_language_models" / "tiny-qwen")
