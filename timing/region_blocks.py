"""Cost of Draw Regions in a stack of Flux blocks of real size: a pass with regions against a plain one.

ComfyUI's own Flux class (COMFYUI_PATH or ~/comfy/ComfyUI) with random weights at real width (3072, 24 heads
of 128), `--double` and `--single` blocks of 19 and 38, at `--pixels` squared with a prompt of 256 tokens and
captions of `--caption`. Shares of a pass without regions: with regions, and with a prompt as long as prompt
and captions together. Passes in turns, so that whatever else the machine does meets all of them; CPU seconds,
the least of the repeats. All passes use torch's kernel, as ComfyUI does on a GPU; with `--attention default`
passes without regions compute attention as ComfyUI does on a CPU, by plain matrices in parts, which is
slower. bfloat16 halves the memory; a CPU without instructions for it is slow at it.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

COMFYUI = Path(os.environ.get("COMFYUI_PATH", Path.home() / "comfy" / "ComfyUI"))
PROMPT = 256


def main() -> None:
    options = _options()
    from instance_composer.hosts.comfyui.methods.process import start_comfyui

    start_comfyui(COMFYUI, tempfile.mkdtemp())
    from comfy.cli_args import args

    args.use_pytorch_cross_attention = options.attention == "torch"
    torch.set_num_threads(options.threads)
    model = _model(options.double, options.single, getattr(torch, options.dtype))
    print("| instances | plain s | regions | a prompt as long |\n|---|---|---|---|")
    with torch.inference_mode():
        for count in options.instances:
            _measure(model, count, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process: {peak:.1f} GiB")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cost of Draw Regions in a stack of Flux blocks.")
    parser.add_argument("--instances", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--double", type=int, default=1)
    parser.add_argument("--single", type=int, default=1)
    parser.add_argument("--pixels", type=int, default=1024)
    parser.add_argument("--caption", type=int, default=16, help="tokens of a caption, without padding")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--attention", choices=("torch", "default"), default="torch")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _model(double: int, single: int, dtype: torch.dtype) -> Any:
    import comfy.model_patcher
    import comfy.supported_models

    sizes = {
        "image_model": "flux",
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": 2,
        "vec_in_dim": 768,
        "context_in_dim": 4096,
        "hidden_size": 3072,
        "mlp_ratio": 4.0,
        "num_heads": 24,
        "depth": double,
        "depth_single_blocks": single,
        "axes_dim": [16, 56, 56],
        "theta": 10000,
        "qkv_bias": True,
        "guidance_embed": True,
        "txt_ids_dims": [],
    }
    settings = comfy.supported_models.Flux(sizes)
    settings.set_inference_dtype(dtype, None)
    model = settings.get_model({}, "", torch.device("cpu"))
    for weight in model.diffusion_model.parameters():
        # Values do not matter to time as long as they are finite and no denormals.
        weight.data.normal_(std=0.02)
    device = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)


def _measure(model: Any, count: int, options: argparse.Namespace) -> None:
    from instance_composer.hosts.comfyui.attention.placed import Caption
    from instance_composer.hosts.comfyui.attention.terms import carry
    from instance_composer.hosts.comfyui.attention.wrappers import bind
    from instance_composer.hosts.comfyui.regions.term import RegionTerm
    from instance_composer.models.regions import Regions

    side = options.pixels // 8
    texts = torch.randn(1, PROMPT + count * options.caption, 4096)
    prompt, rest = texts[:, :PROMPT], texts[:, PROMPT:].split(options.caption, 1)
    # Columns over the middle half of the picture's height.
    boxes = [(n / count, 0.25, (n + 1) / count, 0.75) for n in range(count)]
    captions = tuple(Caption(one, {}, slice(None)) for one in rest)
    term = RegionTerm(captions, Regions.of_boxes(boxes), 1.0, 0.0, 0.0, (0.0, 1.0), ())
    values = {"pooled_output": torch.zeros(1, 768)}
    bound = bind(model)
    ways = [
        (model, [[prompt, values]]),
        (bound, carry([[prompt, values]], term)),
        (model, [[texts, values]]),
    ]
    noise = torch.randn(1, 16, side, side)
    rounds = [[_seconds(one, given, noise) for one, given in ways] for _ in range(options.repeats)]
    plain, *others = (min(times) for times in zip(*rounds, strict=True))
    print(f"| {count} | {plain:.1f} | {' | '.join(f'{one / plain:.2f}' for one in others)} |", flush=True)


def _seconds(model: Any, positive: list[Any], noise: torch.Tensor) -> float:
    """CPU seconds of one evaluation of the model, without guidance."""
    import comfy.sample

    start = time.process_time()
    comfy.sample.sample(
        model,
        noise,
        1,
        1.0,
        "euler",
        "simple",
        positive,
        positive,
        torch.zeros_like(noise),
        disable_pbar=True,
    )
    return time.process_time() - start


if __name__ == "__main__":
    sys.exit(main())
