"""CoMat by attention alone in several processes, each with the whole LoRA and with its part of it.

`comat_in_processes.py MODEL FOLDER` trains two steps into `FOLDER/plain` and into `FOLDER/shared`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import comat_run
import torch

if __name__ == "__main__":
    torch.set_num_threads(1)
    model, folder = map(Path, sys.argv[1:])
    for name, fsdp in (("plain", False), ("shared", True)):
        comat_run.train(
            model,
            folder / name,
            # A norm is summed in another order, and Adam's steps tell the sign of what is almost 0.
            {"fsdp": fsdp, "epsilon": 1e-6},
            concept_weight=0.0,
            fidelity_weight=0.0,
        )
