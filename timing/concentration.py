"""Cost of attribute concentration, at SDXL's sizes and in float32 on the CPU, and pictures of its terms.

`layer`: what `local` adds to one cross-attention layer, next to the transformer block around it, in time of
the processor.
`unet`: one guided evaluation of a whole SDXL UNet with random weights inside ComfyUI, with `local` in all
layers of a preset, and with `latent`. Takes 11 GB of memory, `latent` more: the peak is printed.
`figures FOLDER`: the pictures of the help page, computed on a small layer made by hand.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ifadapter import conditioning, random_sdxl, timed_patches
from PIL import Image, ImageDraw
from torch import Tensor, nn

from instance_composer.models.concentration import LocalGuidance, Targets, concentrate
from instance_composer.models.regions import Regions

sys.path.extend(str(Path(__file__).parents[1] / "tests" / folder) for folder in ("support", "support/host"))
from comfyui_process import start_comfyui

TEXT = 77
# Four entities of three tokens: two attributes and a noun, each in a quarter of the picture.
GROUPS = tuple((3 * n + 1, 3 * n + 2, 3 * n + 3) for n in range(4))
QUARTERS = [(0.5 * x, 0.5 * y, 0.5 * x + 0.5, 0.5 * y + 0.5) for y in (0, 1) for x in (0, 1)]
# Width and tokens of the layers that a picture of 1024 and of 512 px has.
LAYERS = [(640, 64), (1280, 32), (640, 32), (1280, 16)]


def four_entities(derived: bool = False) -> Targets:
    nouns = tuple(group[-1:] for group in GROUPS)
    return Targets(GROUPS, nouns, Regions.of_boxes(QUARTERS), (derived,) * len(GROUPS))


def random_block(width: int) -> nn.Module:
    """A transformer block of SDXL as ComfyUI computes it, random weights."""
    from comfy.ldm.modules.attention import BasicTransformerBlock
    from comfy.ops import disable_weight_init

    block = BasicTransformerBlock(
        width, width // 64, 64, context_dim=2048, dtype=torch.float32, operations=disable_weight_init
    )
    for parameter in block.requires_grad_(False).parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.02)
    return block


def processor_milliseconds(functions: list[Callable[[], Tensor]], repeats: int) -> list[float]:
    """Median time of this process of each, which other work on the machine hardly changes."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            taken.append(1000 * (time.process_time() - start))
    return [statistics.median(taken) for taken in times]


def layer_table(repeats: int) -> None:
    start_comfyui()
    print("\nOne layer, 4 entities of 3 tokens. The block runs for two rows, prompt and negative; the prompt")
    print("alone is guided.\n")
    print("| width | cells | block | local | share | local, own maps | local, 3 inner steps |")
    print("|---|---|---|---|---|---|---|")
    for width, side in LAYERS:
        heads, grid = width // 64, (side, side)
        query, attended = (torch.randn(1, side * side, width) for _ in range(2))
        key, value = (torch.randn(1, TEXT, width) for _ in range(2))
        block, states, text = (
            random_block(width),
            torch.randn(2, side * side, width),
            torch.randn(2, TEXT, 2048),
        )
        local = [
            partial(concentrate, query, key, value, attended, heads, targets, grid, guidance)
            for targets, guidance in (
                (four_entities(), LocalGuidance()),
                (four_entities(derived=True), LocalGuidance()),
                (four_entities(), LocalGuidance(inner_steps=3)),
            )
        ]
        plain, once, own, inner = processor_milliseconds(
            [partial(block, states, context=text), *local], repeats
        )
        print(
            f"| {width} | {side} x {side} | {plain:.0f} ms | {once:.1f} ms | {once / plain:.2%} "
            f"| {own:.1f} ms | {inner:.1f} ms |",
            flush=True,
        )


def peak_gigabytes() -> float:
    """The most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def unet_table(side: int, width: int, presets: list[str], with_latent: bool) -> None:
    start_comfyui()
    from comfyui_probe import evaluate
    from prompt_entities import entity

    from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
    from instance_composer.layout import Box, Instance, Layout

    torch.manual_seed(0)
    model, latents = random_sdxl(width), torch.randn(1, 4, side // 8, side // 8)
    names = ("book", "vase", "cup", "hat")
    entities = [entity(f"big red {name}", *group) for name, group in zip(names, GROUPS, strict=True)]
    layout = Layout(tuple(Instance(n, Box(*box), f"a {n}") for n, box in zip(names, QUARTERS, strict=True)))

    def seconds(model: Any, positive: list[Any]) -> tuple[float, float]:
        """Of the processor, which other work hardly changes, and of the clock."""
        processor, clock = time.process_time(), time.perf_counter()
        evaluate(model, positive, negative, latents, timestep=500)
        return time.process_time() - processor, time.perf_counter() - clock

    positive, negative = conditioning(), conditioning()
    seconds(model, positive)
    plain, _ = seconds(model, positive)
    print(f"\nOne guided evaluation of SDXL's UNet (random weights, width {width}) at {side} x {side} px in")
    print("ComfyUI, in seconds of the processor.")
    print("Share: of the evaluation, what our attention patches take beyond the attention they call.\n")
    print("| mode | layers | evaluation | to plain | share of the patches | peak memory of the process |")
    print("|---|---|---|---|---|---|")
    print(f"| none | | {plain:.1f} s | 1.00 | | {peak_gigabytes():.1f} GB |", flush=True)
    modes = [("local", preset) for preset in presets]
    modes += [("latent", preset) for preset in ("coarse", "middle and decoder") if with_latent]
    for mode, preset in modes:
        settings = Concentration(mode=mode, layers=preset)
        with timed_patches() as spent:
            ours, clock = seconds(*apply_concentration(model, positive, entities, settings, layout))
        share = f"{spent[0] / clock:.2%}" if mode == "local" else ""
        peak = f"{peak_gigabytes():.1f} GB"
        print(f"| {mode} | {preset} | {ours:.1f} s | {ours / plain:.2f} | {share} | {peak} |", flush=True)


FIGURE_WORDS = ("red", "book", "yellow", "vase")
FIGURE_GRID = (24, 24)
FIGURE_BOXES = [(0.06, 0.2, 0.44, 0.86), (0.56, 0.2, 0.94, 0.86)]
CELL, GAP, MARGIN = 6, 10, 96
FIGURES = {
    "token": [("without", None), ("token term", (1.0, 0.0))],
    "pixel": [("without", None), ("pixel term", (0.0, 1.0)), ("both", (1.0, 1.0))],
}


def draw_figures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in FIGURES.items():
        picture = figure(rows)
        picture.save(folder / f"{name}_term.webp", quality=90)
        print(folder / f"{name}_term.webp", picture.size)


def figure(rows: list[tuple[str, tuple[float, float] | None]]) -> Image.Image:
    """Attention of four words as heat maps, a row for each way to guide it, regions outlined."""
    height, width = (CELL * cells for cells in FIGURE_GRID)
    made = Image.new(
        "RGB", (MARGIN + len(FIGURE_WORDS) * (width + GAP), 24 + len(rows) * (height + GAP)), "#202124"
    )
    pen = ImageDraw.Draw(made)
    for column, word in enumerate(FIGURE_WORDS):
        pen.text((MARGIN + column * (width + GAP) + width // 2, 6), word, "#e8eaed", anchor="ma")
    for row, (name, weights) in enumerate(rows):
        top = 24 + row * (height + GAP)
        pen.text((8, top + height // 2), name, "#e8eaed", anchor="lm")
        maps = guided_maps(weights)
        for column in range(len(FIGURE_WORDS)):
            left = MARGIN + column * (width + GAP)
            made.paste(
                heat_map(maps[:, column]).resize((width, height), Image.Resampling.NEAREST), (left, top)
            )
            x0, y0, x1, y1 = FIGURE_BOXES[column // 2]
            edges = (left + x0 * width, top + y0 * height, left + x1 * width, top + y1 * height)
            pen.rectangle(edges, outline="#ffffff")
    return made


def guided_maps(weights: tuple[float, float] | None) -> Tensor:
    """Attention (L, 4) of the four words in a layer of one head whose logits are written by hand."""
    y, x = torch.meshgrid(*(torch.linspace(0, 1, n) for n in FIGURE_GRID), indexing="ij")

    def spot(height: float, cx: float, cy: float, size: float) -> Tensor:
        return height * torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / size**2)

    book, vase = (0.25, 0.5), (0.75, 0.55)
    logits = [
        torch.full(FIGURE_GRID, 2.0),  # the start of the text, where attention rests
        spot(2.2, *book, 0.16) + spot(2.4, *vase, 0.15),  # red leaks onto the vase
        spot(3.2, *book, 0.16) + spot(0.8, *vase, 0.12),
        spot(1.6, *vase, 0.12) + spot(1.9, 0.5, 0.15, 0.2),  # yellow goes to the wall
        spot(2.6, *vase, 0.13) + spot(0.9, *book, 0.1),
    ]
    texts = len(logits)
    query = torch.stack(logits, -1).flatten(0, 1)[None] * texts**0.5
    key = value = torch.eye(texts)[None]
    attention = torch.stack(logits, -1).flatten(0, 1).softmax(-1)[None]
    if weights is None:
        return attention[0, :, 1:]
    targets = Targets(((1, 2), (3, 4)), ((2,), (4,)), Regions.of_boxes(FIGURE_BOXES), (False, False))
    guidance = LocalGuidance(*weights, strength=2.0)
    added = concentrate(query, key, value, attention, 1, targets, FIGURE_GRID, guidance)
    return (attention + added)[0, :, 1:]


def heat_map(attention: Tensor) -> Image.Image:
    """(L,) from 0 to 0.6 as black, red, yellow, white."""
    level = (attention / 0.6).clamp(0, 1).view(FIGURE_GRID)[..., None] * 3
    colours = (level - torch.arange(3.0)).clamp(0, 1) * 255
    return Image.fromarray(colours.to(torch.uint8).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["layer", "unet", "figures"])
    parser.add_argument("folder", type=Path, nargs="?", help="of the figures")
    parser.add_argument("--repeats", type=int, default=5, help="of each layer measurement")
    parser.add_argument("--side", type=int, default=512, help="of the picture for the UNet, in pixels")
    parser.add_argument("--width", type=int, default=320, help="of the UNet's first stage; SDXL has 320")
    parser.add_argument("--layers", nargs="*", default=["middle and decoder"], help="presets for local")
    parser.add_argument("--latent", action="store_true", help="measure latent too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads, float32, CPU")
    with torch.inference_mode():
        if arguments.part == "layer":
            layer_table(arguments.repeats)
        elif arguments.part == "unet":
            unet_table(arguments.side, arguments.width, arguments.layers, arguments.latent)
        elif arguments.folder is None:
            parser.error("figures needs a folder")
        else:
            draw_figures(arguments.folder)


if __name__ == "__main__":
    main()
