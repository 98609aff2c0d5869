"""Costs of an IFAdapter, at SDXL's sizes and in float32 on the CPU.

`attention`: one adapted layer, for a conditional and an unconditional row. First the cropped semantic map
against the published algorithm written plainly, on the 32 x 32 grid of a 1024 px picture. The published
algorithm fills ten full-size slots and projects keys and values at every step; ours has them from
`keys_values`, once per prompt, as sampling does. Then both our computations side by side on 32 x 32 and
64 x 64 cells: the operations that a GPU would launch, the bytes they write, and CPU time (of all threads, so
take `--threads 1`).

`unet`: one guided evaluation of a whole SDXL UNet with random weights inside ComfyUI, with instances through
our conditioning and with ComfyUI's own area conditioning for the same boxes. Takes 11 GB of memory.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from instance_composer.models.ifadapter import (
    InstanceAttention,
    InstancePrompt,
    cropped_semantic_map,
    gathered_semantic_map,
    semantic_map,
)
from instance_composer.models.regions import Rectangle, Regions
from instance_composer.models.sdxl.attention_layers import number_attention_layers

sys.path.extend(str(Path(__file__).parents[1] / "tests" / folder) for folder in ("support", "support/host"))
from comfyui_process import start_comfyui
from device_watch import DEVICE, watched
from published_ifadapter import published_term

GRID = (32, 32)
LAYERS = 16
SDXL = {
    "image_size": 32,
    "use_spatial_transformer": True,
    "legacy": False,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "use_linear_in_transformer": True,
    "context_dim": 2048,
    "num_head_channels": 64,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}

LAYOUTS = {
    "1 instance, half the picture": [(0.1, 0.1, 0.8, 0.8)],
    "2 instances, half the picture": [(0.0, 0.2, 0.45, 0.8), (0.5, 0.2, 0.95, 0.7)],
    "4 instances, half the picture": [
        (0.05, 0.05, 0.4, 0.4),
        (0.55, 0.05, 0.9, 0.4),
        (0.05, 0.55, 0.4, 0.9),
        (0.55, 0.55, 0.9, 0.9),
    ],
    "8 instances, tiles": [
        (0.25 * x + 0.02, 0.5 * y + 0.05, 0.25 * x + 0.23, 0.5 * y + 0.45) for y in (0, 1) for x in range(4)
    ],
    "10 instances, whole picture tiled": [
        (0.2 * x, 0.5 * y, 0.2 * x + 0.2, 0.5 * y + 0.5) for y in (0, 1) for x in range(5)
    ],
    "4 instances, all on the same half": [(0.0, 0.0, 0.7, 0.7)] * 4,
    "1 instance, whole picture": [(0.0, 0.0, 1.0, 1.0)],
    "10 instances, each the whole picture": [(0.0, 0.0, 1.0, 1.0)] * 10,
}

# Name, then what each of the two computations is compared on.
KERNELS = {"cropped": cropped_semantic_map, "gathered": gathered_semantic_map}


def scattered(count: int, side: float) -> list[Rectangle]:
    """Squares of one size in rows over the picture, overlapping where they must."""
    across = math.ceil(count**0.5)
    gap = (1.0 - side) / max(across - 1, 1)
    corners = [(gap * (number % across), gap * (number // across)) for number in range(count)]
    return [(x, y, x + side, y + side) for x, y in corners]


COMPARED = {
    "2 of side 0.45": scattered(2, 0.45),
    "8 of side 0.3": scattered(8, 0.3),
    "10 of side 0.5": scattered(10, 0.5),
    "whole picture + 7 of side 0.15": [(0.0, 0.0, 1.0, 1.0), *scattered(7, 0.15)],
}


def random_layer() -> InstanceAttention:
    """A layer of SDXL's size with random weights; what they are does not change the time."""
    layer = InstanceAttention(width=1280, text_width=2048, head_dim=64, gate_hidden=80, gate_kernel=7)
    for parameter in layer.requires_grad_(False).parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.03)
    layer.alpha.fill_(0.5)
    return layer


def milliseconds(
    functions: list[Callable[[], Tensor]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Median time of each, the functions taking turns so that a busy machine slows all alike."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = clock()
            function()
            taken.append(1000 * (clock() - start))
    return [statistics.median(taken) for taken in times]


def peak_megabytes(function: Callable[[], Tensor]) -> float:
    """Most memory torch held at once beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak / 1e6


def attention_table(repeats: int) -> None:
    torch.manual_seed(0)
    layer, query = random_layer(), torch.randn(2, GRID[0] * GRID[1], 1280)
    print(
        "\nOne adapted layer, 2 rows, 32 x 32 cells. Peaks are memory beyond inputs while the term is "
        "computed;"
    )
    print("keys, values: what all 16 layers keep of both rows while sampling.\n")
    print("| layout | published | ours | ratio | peak published | peak ours | keys, values | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rectangles in LAYOUTS.items():
        boxes, count = torch.tensor(rectangles), len(rectangles)
        tokens = torch.randn(2 * count, 13, 2048)
        keys, values = (x.unflatten(0, (2, count)) for x in layer.keys_values(tokens))
        placement = Regions.of_boxes(boxes).place(GRID)
        assert placement is not None
        published = partial(
            published_term, layer, query, tokens, torch.cat((boxes, boxes)), [count, count], GRID
        )
        ours = partial(semantic_map, query, keys, values, layer.gate(), placement)
        difference = float((published() - ours()).abs().max())
        slow, fast = milliseconds([published, ours], repeats)
        kept = LAYERS * (keys.nbytes + values.nbytes) / 1e6
        print(
            f"| {name} | {slow:.0f} ms | {fast:.1f} ms | {slow / fast:.0f} "
            f"| {peak_megabytes(published):.0f} MB"
            f" | {peak_megabytes(ours):.0f} MB | {kept:.0f} MB | {difference:.0e} |",
            flush=True,
        )


def kernel_table(repeats: int) -> None:
    torch.manual_seed(0)
    layer = random_layer()
    print("\nBoth computations of one layer, 2 rows. Operations: kernels that a GPU would launch.\n")
    print("| cells, instances | operations | MiB written | ms of CPU time | difference |")
    print("|---|---|---|---|---|")
    for side in (32, 64):
        query = torch.randn(2, side * side, 1280)
        for name, rectangles in COMPARED.items():
            regions, shape = Regions.of_boxes(rectangles), (2, len(rectangles), 20, 13, 64)
            keys, values = torch.randn(shape) / 8, torch.randn(shape)
            placement = regions.place((side, side))
            assert placement is not None
            calls = [
                partial(kernel, query, keys, values, layer.gate(), placement) for kernel in KERNELS.values()
            ]
            cropped, gathered = (call() for call in calls)
            difference = float((cropped - gathered).abs().max())
            times = milliseconds(calls, repeats, time.process_time)
            counts = [launches(kernel, layer, regions, (side, side)) for kernel in KERNELS.values()]
            print(
                f"| {side} x {side}, {name} | {counts[0][0]} / {counts[1][0]} "
                f"| {counts[0][1]:.0f} / {counts[1][1]:.0f} | {times[0]:.0f} / {times[1]:.0f} "
                f"| {difference:.0e} |",
                flush=True,
            )


def launches(
    kernel: Callable[..., Tensor], layer: InstanceAttention, regions: Regions, grid: tuple[int, int]
) -> tuple[int, float]:
    """Operations and MiB written of a later call, on a device without values."""
    gate = layer.gate().to(DEVICE)
    query = torch.empty(2, grid[0] * grid[1], 1280, device=DEVICE)
    keys = values = torch.empty(2, len(regions), 20, 13, 64, device=DEVICE)
    placement = regions.place(grid, None, DEVICE)
    kernel(query, keys, values, gate, placement)
    with watched() as watch:
        kernel(query, keys, values, gate, placement)
    return watch.launches, watch.bytes / 2**20


def random_sdxl(width: int = SDXL["model_channels"]) -> Any:
    """The MODEL of a whole SDXL UNet; random weights of the size trained ones have."""
    import comfy.supported_models
    from comfy.model_patcher import ModelPatcher

    settings = comfy.supported_models.SDXL({**SDXL, "model_channels": width})
    settings.set_inference_dtype(torch.float32, None)
    cpu = torch.device("cpu")
    model = settings.get_model({}, "", cpu)
    noise = torch.randn(1 << 20) * 0.02
    for name, parameter in model.diffusion_model.requires_grad_(False).named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(float(name.endswith("weight")))
        else:
            for part in parameter.view(-1).split(len(noise)):
                part.copy_(noise[: len(part)])
    return ModelPatcher(model, load_device=cpu, offload_device=cpu)


def conditioning() -> list[Any]:
    return [[torch.randn(1, 77, 2048), {"pooled_output": torch.randn(1, 1280)}]]


def with_instances(model: Any, rectangles: list[Rectangle]) -> tuple[Any, list[Any], list[Any]]:
    """MODEL, positive and negative with random keys and values; they cost what an adapter's cost."""
    from instance_composer.hosts.comfyui.attention.terms import carry
    from instance_composer.hosts.comfyui.attention.wrappers import bind
    from instance_composer.hosts.comfyui.ifadapter.term import AdaptedLayers, InstanceTerm

    numbers = number_attention_layers(down=[2, 2, 10, 10], up=[10, 10, 10, 2, 2, 2], mid=10)
    blocks = {
        ({"up": "output", "mid": "middle"}[layer.stage], layer.position, layer.transformer_block): number
        for number, layer in numbers.items()
        if (layer.stage == "mid" or (layer.stage == "up" and layer.position < 3))
        and layer.transformer_block < 4
    }
    assert len(blocks) == LAYERS
    regions, gate = Regions.of_boxes(rectangles), random_layer().gate()

    def prompt() -> InstancePrompt:
        shape = (len(rectangles), 20, 13, 64)
        return InstancePrompt(
            regions,
            {number: torch.randn(shape) for number in blocks.values()},
            {number: torch.randn(shape) for number in blocks.values()},
        )

    layers = AdaptedLayers(dict.fromkeys(blocks.values(), gate), blocks)
    term = InstanceTerm(layers, prompt(), prompt(), 1.0, (0.0, 1.0))
    return (
        bind(model),
        carry(conditioning(), term),
        carry(conditioning(), replace(term, prompt=term.when_zeroed)),
    )


def with_areas(rectangles: list[Rectangle]) -> list[Any]:
    """A positive of the prompt and one area conditioning for each box, as ComfyUI's own nodes make it."""
    areas = [
        [text, {**values, "area": ("percentage", y1 - y0, x1 - x0, y0, x0), "strength": 1.0}]
        for x0, y0, x1, y1 in rectangles
        for text, values in conditioning()
    ]
    return conditioning() + areas


@contextmanager
def timed_patches() -> Iterator[list[float]]:
    """Seconds that our attn2 patches take beyond the attention they call."""
    from instance_composer.hosts.comfyui.attention.unet import patch

    spent = [0.0]

    def timed(function: Callable[..., Tensor], sign: float) -> Callable[..., Tensor]:
        def call(*args: Any) -> Tensor:
            start = time.perf_counter()
            result = function(*args)
            spent[0] += sign * (time.perf_counter() - start)
            return result

        return call

    called, plain = patch.AttentionPatch.__call__, patch.plain_attention
    patch.AttentionPatch.__call__ = timed(called, 1.0)
    patch.plain_attention = timed(plain, -1.0)
    try:
        yield spent
    finally:
        patch.AttentionPatch.__call__, patch.plain_attention = called, plain


def unet_table(side: int) -> None:
    start_comfyui()
    from comfyui_probe import evaluate

    torch.manual_seed(0)
    model, latents = random_sdxl(), torch.randn(1, 4, side // 8, side // 8)

    def seconds(model: Any, positive: list[Any], negative: list[Any]) -> float:
        start = time.perf_counter()
        evaluate(model, positive, negative, latents, timestep=500)
        return time.perf_counter() - start

    seconds(model, conditioning(), conditioning())
    plain = seconds(model, conditioning(), conditioning())
    print(f"\nOne guided evaluation of SDXL's UNet (random weights) at {side} x {side} px in ComfyUI.")
    print("Share: of the evaluation, what our attention patches take beyond the attention they call.\n")
    print("| regions | how | evaluation | to plain | share of the patches |")
    print("|---|---|---|---|---|")
    print(f"| none | prompt and negative | {plain:.1f} s | 1.00 | |", flush=True)
    for name in (
        "2 instances, half the picture",
        "4 instances, half the picture",
        "10 instances, whole picture tiled",
    ):
        with timed_patches() as spent:
            ours = seconds(*with_instances(model, LAYOUTS[name]))
        print(
            f"| {name} | Apply IFAdapter | {ours:.1f} s | {ours / plain:.2f} | {spent[0] / ours:.2%} |",
            flush=True,
        )
        areas = seconds(model, with_areas(LAYOUTS[name]), conditioning())
        print(f"| {name} | area conditioning | {areas:.1f} s | {areas / plain:.2f} | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=["attention", "unet"], help="default: both")
    parser.add_argument("--repeats", type=int, default=9, help="of each layer measurement")
    parser.add_argument("--side", type=int, default=512, help="of the picture for the UNet, in pixels")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    parts = arguments.parts or ["attention", "unet"]
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads, float32, CPU")
    with torch.inference_mode():
        if "attention" in parts:
            attention_table(arguments.repeats)
            kernel_table(arguments.repeats)
        if "unet" in parts:
            unet_table(arguments.side)


if __name__ == "__main__":
    main()
