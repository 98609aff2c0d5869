"""Loading IterComp's UNet and applying its delta, at SDXL's size.

`load` makes a diffusers folder as IterComp is published (fp32, one safetensors file), loads it in fp16 with
the pack and with ComfyUI's own loader, each in a process of its own. The file is sparse: its weights are zero
and take no disk, so that the speed of the disk does not count. Memory is what the load adds at its most; file
pages may be dropped by the system at any time. Processor time is of all threads.
`delta` times what a strength costs: making the patches, and computing the weights with them.
`--width` below 320 (in steps of 64) scales every width down; ComfyUI's loader, which knows SDXL's
sizes alone, is then told them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.extend(str(Path(__file__).parents[1] / "tests" / folder) for folder in ("support", "support/host"))

from comfyui_process import start_comfyui
from sparse_unet import FULL_WIDTH, WatchedMemory, write_sparse_unet

HALF = {"dtype": torch.float16}


def load_once(folder: Path, loader: str) -> None:
    """Load in this process and print what it took as JSON."""
    start_comfyui()
    import comfy.sd

    from instance_composer.hosts.comfyui.checkpoints.unet import load_unet

    config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    small = config["block_out_channels"][0] != FULL_WIDTH
    with WatchedMemory() as memory, torch.inference_mode():
        start, busy = time.perf_counter(), time.process_time()
        if loader == "core":
            file = folder / "unet" / "diffusion_pytorch_model.safetensors"
            model = _load_as_core(folder, file) if small else comfy.sd.load_diffusion_model(str(file), HALF)
        else:
            model = load_unet(str(folder), torch.float16)
        seconds, processor = time.perf_counter() - start, time.process_time() - busy
    size = sum(p.numel() * p.element_size() for p in model.model.diffusion_model.parameters())
    found = {"seconds": seconds, "processor": processor, "size": size}
    print(json.dumps({**found, "private": memory.private, "mapped": memory.mapped}))


def _load_as_core(folder: Path, file: Path) -> Any:
    """The steps of ComfyUI's loader after it has recognised the sizes, for a model that it does not know."""
    import comfy.model_patcher
    import comfy.utils

    from instance_composer.hosts.comfyui.checkpoints.unet import empty_model
    from instance_composer.models.sdxl.files import open_unet
    from instance_composer.models.sdxl.names import unet_names

    model = empty_model(open_unet(folder), torch.float16)
    weights = comfy.utils.load_torch_file(str(file))
    names = unet_names(list(weights))
    model.load_model_weights({names[name]: value for name, value in weights.items()}, "")
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


def load_table(folder: Path, repeats: int) -> None:
    print("\n| loader | wall | processor | model | private memory | to the model | file pages |")
    print("|---|---|---|---|---|---|---|")
    for loader in ["ours", "core"] * repeats:
        command = [sys.executable, __file__, "once", "--folder", str(folder), "--loader", loader]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        one = json.loads(done.stdout.splitlines()[-1])
        megabytes = {name: f"{one[name] / 1e6:,.0f} MB" for name in ("size", "private", "mapped")}
        print(
            f"| {loader} | {one['seconds']:.1f} s | {one['processor']:.1f} s | {megabytes['size']} "
            f"| {megabytes['private']} | {one['private'] / one['size']:.2f} | {megabytes['mapped']} |",
            flush=True,
        )


def delta_table(folder: Path) -> None:
    """One model in two of the three roles; what the weights are does not change the time."""
    start_comfyui()
    from instance_composer.hosts.comfyui.checkpoints.delta import apply_delta
    from instance_composer.hosts.comfyui.checkpoints.unet import load_unet

    with torch.inference_mode():
        model, tuned = (load_unet(str(folder), torch.float16) for _ in range(2))
        print("\n| strength | blocks | making the patches | computing the weights | memory of the patches |")
        print("|---|---|---|---|---|")
        kept = []
        for strength, blocks in ((1.0, "all"), (0.5, "all"), (1.0, "cross-attention")):
            with WatchedMemory() as memory:
                start = time.perf_counter()
                kept.append(apply_delta(model, tuned, model, strength, blocks))
                made = time.perf_counter() - start
            start = time.perf_counter()
            for key in kept[-1].patches:
                kept[-1].patch_weight_to_device(key, device_to=torch.device("cpu"), return_weight=True)
            computed = time.perf_counter() - start
            print(
                f"| {strength:g} | {blocks} | {1000 * made:.0f} ms | {computed:.1f} s "
                f"| {memory.private / 1e6:.0f} MB |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["load", "delta", "once"], help="once: one load, by itself")
    parser.add_argument("--width", type=int, default=FULL_WIDTH, help="of the first level, SDXL has 320")
    parser.add_argument("--folder", type=Path, help="an existing folder instead of a sparse one")
    parser.add_argument("--loader", choices=["ours", "core"], default="ours", help="for once")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.part == "once":
        load_once(arguments.folder, arguments.loader)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "IterComp"
        if not arguments.folder:
            size = write_sparse_unet(folder, arguments.width).stat().st_size
            print(f"torch {torch.__version__}, width {arguments.width}, file of {size / 1e9:.2f} GB, fp32")
        if arguments.part == "load":
            load_table(folder, arguments.repeats)
        else:
            delta_table(folder)


if __name__ == "__main__":
    main()
