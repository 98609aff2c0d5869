"""Pictures of a model for a captioner, made in as many processes as it is started in.

`captioner_pictures.py MODEL FOLDER` decodes twenty; `FOLDER/RANK.txt` tells which ones a process made.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.shapes_world import ShapesWorld
from instance_composer.training.captioner.pictures import decoded_pictures

COUNT = 20

if __name__ == "__main__":
    torch.set_num_threads(1)
    model, folder = map(Path, sys.argv[1:])
    rank = Accelerator().process_index
    pictures = decoded_pictures(load_sdxl(model), ShapesWorld(1, 64, 64), COUNT, folder / "pictures", "one")
    make, made = pictures._make, []

    def noted(numbers):
        made.extend(numbers)
        return make(numbers)

    pictures._make = noted
    pictures.prepare("decode")
    assert len(pictures) == COUNT
    (folder / f"{rank}.txt").write_text(" ".join(map(str, made)))
