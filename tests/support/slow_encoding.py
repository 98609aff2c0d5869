"""`slow_encoding.py FOLDER`: two processes encode three pictures, slower than their barrier would wait."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from PIL import Image

from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.training.data.folder import LayoutFolder
from instance_composer.training.data.folder_latents import encode_folder
from instance_composer.training.demo_model.architecture import make_autoencoder

BARRIER, PAUSE = 3, 3


class Slow(LayoutFolder):
    def __getitem__(self, number):
        time.sleep(PAUSE)
        return super().__getitem__(number)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = Path(sys.argv[1])
    patience = InitProcessGroupKwargs(timeout=timedelta(seconds=BARRIER))
    accelerator = Accelerator(kwargs_handlers=[patience])
    data = folder / "data"
    if accelerator.is_main_process:
        data.mkdir()
        for name, color in zip("abc", ("red", "green", "blue"), strict=True):
            Image.new("RGB", (64, 64), color).save(data / f"{name}.png")
            layout = Layout((Instance("1", Box(0.2, 0.2, 0.8, 0.8), "a thing"),), Canvas(64, 64), "")
            (data / f"{name}.json").write_text(layout.to_json())
    accelerator.wait_for_everyone()
    encoded = encode_folder(Slow(data, 64, 64), make_autoencoder(), folder / "latents")
    words = f"{len(encoded)} by {accelerator.num_processes} processes"
    (folder / f"done-{accelerator.process_index}").write_text(words)
