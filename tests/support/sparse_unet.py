"""A diffusers folder with a UNet of SDXL's plan at any width, and what loading it takes in memory.

The file is sparse: its weights are zero and take no disk.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

FULL_WIDTH = 320


def unet_config(width: int) -> dict[str, Any]:
    """unet/config.json of SDXL base, what matters of it, with every width scaled."""
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 128,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "block_out_channels": [width, 2 * width, 4 * width],
        "layers_per_block": 2,
        "transformer_layers_per_block": [1, 2, 10],
        "attention_head_dim": [width // 64, 2 * width // 64, 4 * width // 64],
        "cross_attention_dim": 2048 * width // FULL_WIDTH,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }


def write_sparse_unet(folder: Path, width: int) -> Path:
    """Write the folder, its weights in fp32, and return the weight file."""
    config = unet_config(width)
    with torch.device("meta"):
        weights = UNet2DConditionModel(**config).state_dict()
    header: dict[str, Any] = {}
    end = 0
    for name, value in weights.items():
        start, end = end, end + 4 * value.numel()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


class WatchedMemory:
    """The most memory this process takes beyond what it took before, in bytes, looked at every 10 ms.

    `private` is its own; `mapped` are pages of files, which the system may drop at any time. Linux alone.
    """

    def __enter__(self) -> WatchedMemory:
        self._before, self._running = _resident(), True
        self.private = self.mapped = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()

    def _watch(self) -> None:
        while self._running:
            now = _resident()
            self.private = max(self.private, now[0] - self._before[0])
            self.mapped = max(self.mapped, now[1] - self._before[1])
            time.sleep(0.01)


def _resident() -> tuple[int, int]:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    values = {name: value for name, _, value in (line.partition(":") for line in lines)}
    private, mapped = (1024 * int(values[name].split()[0]) for name in ("RssAnon", "RssFile"))
    return private, mapped
