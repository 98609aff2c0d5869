"""What an IFAdapter adds to a picture of a plain diffusers pipeline, on the demo model.

Side by side, picture by picture in turns, in CPU time of the process: the pipeline with the prompt's
conditions and nothing attached, the same with a layout of five things at strength 1, and at strength 0. The
ratio is of pictures of one turn, its median and quartiles over all turns.
Sampling only; what a layout takes once (captions to tokens, keys and values) stands beside it. `--operations`
counts those of a picture with and without.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from instance_composer.hosts.diffusers_sdxl import EncodedLayout, encode_layout, generate, load_sdxl
from instance_composer.layout import formats
from instance_composer.models.ifadapter import IFAdapter

DEMO = Path(__file__).parents[1] / "demo"
LAYOUTS = {
    "5 things": "5-five-things",
    "2 things": "1-two-looks-never-seen-together",
}


def plain(pipeline: Any, encoded: EncodedLayout, steps: int, batch: int, side: int) -> Any:
    """The pipeline as diffusers has it, with the same conditions and noise."""
    return pipeline(
        prompt_embeds=encoded.prompt,
        pooled_prompt_embeds=encoded.pooled,
        negative_prompt_embeds=encoded.negative_prompt,
        negative_pooled_prompt_embeds=encoded.negative_pooled,
        num_images_per_prompt=batch,
        height=side,
        width=side,
        num_inference_steps=steps,
        guidance_scale=7.5,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in range(batch)],
        output_type="latent",
    ).images


def in_turns(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """CPU milliseconds of each call, the calls taking turns so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.process_time()
            call()
            times[name].append(1000 * (time.process_time() - started))
    return times


class Operations(TorchDispatchMode):
    """Counts what is dispatched inside the `with` block."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def operations(call: Callable[[], Any]) -> int:
    """Operators that a call dispatches, views included."""
    with Operations() as counted:
        call()
    return counted.count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20, help="pictures of each kind")
    parser.add_argument("--steps", type=int, default=20, help="of a picture")
    parser.add_argument("--side", type=int, nargs="*", default=[128], help="of the picture in pixels")
    parser.add_argument("--batch", type=int, nargs="*", default=[1], help="pictures in one call")
    parser.add_argument("--operations", action="store_true", help="count operations of a picture instead")
    parser.add_argument("--save", type=Path, help="write the latents, to compare them with another run's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = load_sdxl(DEMO)
    pipeline.set_progress_bar_config(disable=True)
    adapter = IFAdapter.load(DEMO / "ifadapter.safetensors")
    print(f"torch {torch.__version__}, 1 thread, float32, {arguments.steps} steps, medians of CPU time")
    print("\n| layout | pixels, batch | plain | adapter | at strength 0 | ratio | once a layout |")
    print("|---|---|---|---|---|---|---|")
    kept: dict[str, torch.Tensor] = {}
    for (name, file), side, batch in product(LAYOUTS.items(), arguments.side, arguments.batch):
        layout = formats.read_file(DEMO / "layouts" / f"{file}.json").layout
        with torch.no_grad():
            encoded = encode_layout(pipeline, adapter, layout)
            ours = partial(
                generate,
                pipeline,
                encoded,
                height=side,
                width=side,
                seeds=range(batch),
                steps=arguments.steps,
                output_type="latent",
            )
            calls = {
                "plain": partial(plain, pipeline, encoded, arguments.steps, batch, side),
                "adapter": ours,
                "without": partial(ours, scale=0.0),
                "once": partial(encode_layout, pipeline, adapter, layout),
            }
            kept[f"{name}, {side}, {batch}"] = ours()
            if arguments.operations:
                counts = [operations(calls[call]) for call in ("plain", "adapter")]
                print(f"{name}: {counts[0]} operations without, {counts[1]} with the adapter")
                continue
            times = in_turns(calls, arguments.repeats)
        middle = {call: statistics.median(taken) for call, taken in times.items()}
        low, ratio, high = statistics.quantiles(
            (own / base for own, base in zip(times["adapter"], times["plain"], strict=True)), n=4
        )
        print(
            f"| {name} | {side}, {batch} | {middle['plain']:.0f} ms | {middle['adapter']:.0f} ms "
            f"| {middle['without']:.0f} ms | {ratio:.2f} ({low:.2f} to {high:.2f}) "
            f"| {middle['once']:.0f} ms |",
            flush=True,
        )
    if arguments.save:
        torch.save(kept, arguments.save)
        print(f"latents are in {arguments.save}", file=sys.stderr)


if __name__ == "__main__":
    main()
