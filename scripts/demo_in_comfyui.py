"""The demo model in a ComfyUI without server, for the measurements of this folder."""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from made_with import check_made_with
from numpy.typing import NDArray

from instance_composer.demo import ADAPTER
from instance_composer.evaluation.scorers.placement import ATTRIBUTES, score
from instance_composer.hosts.comfyui.methods.process import start_comfyui
from instance_composer.layout import Layout
from instance_composer.models.weights import digest_of_model, digest_of_weights

DEMO = Path(__file__).resolve().parents[1] / "demo"
GUIDANCE = 3.0
# An instance is right if what was matched to it covers its box at least so well and looks as it should.
OVERLAP = 0.5


class Demo(NamedTuple):
    """What is loaded once: MODEL, CLIP, adapter, VAE."""

    model: Any
    clip: Any
    adapter: Any
    vae: Any


def add_comfyui(parser: argparse.ArgumentParser) -> None:
    where = Path(os.environ.get("COMFYUI_PATH", "~/comfy/ComfyUI")).expanduser()
    parser.add_argument("--comfyui", type=Path, default=where, help="a checkout of ComfyUI")


def load_demo(comfyui: Path) -> Demo:
    start_comfyui(comfyui, tempfile.mkdtemp(prefix="instance-composer-"))
    from instance_composer.hosts.comfyui.checkpoints.small_sdxl import load_clip, load_vae
    from instance_composer.hosts.comfyui.checkpoints.unet import load_unet
    from instance_composer.hosts.comfyui.ifadapter.weights import load_adapter

    demo = str(DEMO)
    return Demo(load_unet(demo), load_clip(demo), load_adapter(DEMO / ADAPTER), load_vae(demo))


def prompts(demo: Demo, layout: Layout) -> tuple[Any, Any]:
    """The layout's prompt encoded, and zeroed out."""
    from instance_composer.hosts.comfyui.methods.placing import encode, zero_out

    positive = encode(demo.clip, layout.prompt)
    return positive, zero_out(positive)


def draw(demo: Demo, trio: Sequence[Any], layout: Layout, seed: int, steps: int = 20) -> Any:
    """A picture (1, H, W, 3) of MODEL, positive and negative."""
    import comfy.sample
    import torch

    model, positive, negative = trio
    empty = torch.zeros(1, 4, layout.canvas.height // 8, layout.canvas.width // 8)
    noise = comfy.sample.prepare_noise(empty, seed)
    rest = ("euler", "normal", positive, negative, empty)
    latents = comfy.sample.sample(model, noise, steps, GUIDANCE, *rest, disable_pbar=True, seed=seed)
    return demo.vae.decode(latents)


def to_bytes(picture: Any) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of 0 to 1 as 0 to 255."""
    return (picture.numpy() * 255).round().astype(np.uint8)


def right(picture: Any, layout: Layout) -> list[bool]:
    """For each instance whether the judge finds it where it should be and as it should look."""
    found = score(to_bytes(picture), layout)["instances"]
    return [one["overlap"] >= OVERLAP and all(one[name] for name in ATTRIBUTES) for one in found]


def read(file: Path, **asked: Any) -> list[dict[str, Any]]:
    """The rows of a measurement so far; SystemExit where they were made otherwise than `asked` now."""
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    model = {**digest_of_model(DEMO), "IFAdapter": digest_of_weights([DEMO / ADAPTER])}
    check_made_with(file.with_suffix(".made-with.json"), {"model": model, **asked}, bool(rows))
    return rows


def share(count: int, of: int) -> str:
    """A count and its 95 % interval (Wilson's) in per cent."""
    if not of:
        return "none"
    z, part = 1.96, count / of
    middle = part + z * z / (2 * of)
    half = z * math.sqrt(part * (1 - part) / of + z * z / (4 * of * of))
    low, high = (abs(middle + side) / (1 + z * z / of) for side in (-half, half))
    return f"{count} of {of} ({100 * low:.0f}–{100 * high:.0f} %)"
