"""Two tiny LoRAs of the demo model, each of which knows a look: everything dotted, everything purple.

`python scripts/look_loras.py FOLDER` writes `dotted.safetensors` and `purple.safetensors`: the model learns
to paint the look on every thing of Shapes World, on captions that say something else. Where a LoRA acts can
then be read off a picture by the world's judge, which is what `scripts/identity_bleed.py` does. A few minutes
of one processor each. A run that is broken off goes on from its last checkpoint in FOLDER.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionXLPipeline
from torch import Tensor

from instance_composer.models.comat.lora import LowRank, save_lora
from instance_composer.models.weights import digest_of_model
from instance_composer.shapes_world import COLORS, ShapesWorld, caption
from instance_composer.shapes_world.scenes import Figure
from instance_composer.shapes_world.world import make_sample
from instance_composer.training.comat.lora import add_lora, lora_layers
from instance_composer.training.data.pictures import posterior, to_tensor
from instance_composer.training.noise import SCHEDULE, add_noise, signal_to_noise_weights, size_conditioning

DEMO = Path(__file__).resolve().parents[1] / "demo"
SIDE, PICTURES, BATCH, RANK = 128, 240, 12, 4
RATE, WARM_UP, DROPPED, OFFSET = 3e-3, 20, 0.1, 0.1

Change = Callable[[Figure], Figure]


def dotted(figure: Figure) -> Figure:
    return replace(figure, look=figure.look._replace(pattern="dotted"))


def purple(figure: Figure) -> Figure:
    return replace(figure, rgb=tuple(map(float, COLORS["purple"])))


# Each with the pattern of the things that it is learnt on, None is any, and the steps that it takes.
LOOKS: Mapping[str, tuple[Change, str | None, int]] = {
    "dotted": (dotted, "plain", 800),
    "purple": (purple, None, 240),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the files go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in LOOKS:
        train(name, arguments.folder)
    return 0


def train(name: str, folder: Path) -> None:
    change, pattern, steps = LOOKS[name]
    state = folder / f"{name}.pt"
    saved = torch.load(state, weights_only=True) if state.exists() else None
    model = digest_of_model(DEMO)
    if saved is not None and saved.get("model", model) != model:
        raise SystemExit(f"{state} is of another demo model; choose another folder, or delete it")
    if saved is not None and saved["step"] == steps:
        return
    torch.manual_seed(0)
    pipeline = StableDiffusionXLPipeline.from_pretrained(str(DEMO), torch_dtype=torch.float32)
    latents, texts, pooled = encode(pipeline, change, pattern)
    unet: Any = pipeline.unet
    add_lora(unet, RANK)
    parameters = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    generator = torch.Generator().manual_seed(1)
    first = 0
    if saved is not None:
        first = saved["step"]
        optimizer.load_state_dict(saved["optimizer"])
        generator.set_state(saved["generator"])
        with torch.no_grad():
            for parameter, value in zip(parameters, saved["parameters"], strict=True):
                parameter.copy_(value)
    scheduler = DDPMScheduler(**SCHEDULE)
    mean, start = float("nan"), time.process_time()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        chosen = torch.randint(PICTURES, (BATCH,), generator=generator)
        noisy, noise, timesteps = add_noise(latents[chosen], scheduler, generator, OFFSET)
        kept = (torch.rand(BATCH, generator=generator) >= DROPPED).float()
        predicted = unet(
            noisy,
            timesteps,
            texts[chosen] * kept[:, None, None],
            added_cond_kwargs={
                "text_embeds": pooled[chosen] * kept[:, None],
                "time_ids": size_conditioning([(SIDE, SIDE)] * BATCH),
            },
        ).sample
        errors = F.mse_loss(predicted, noise, reduction="none").mean((1, 2, 3))
        loss = (signal_to_noise_weights(scheduler, timesteps, 0.5) * errors).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        mean = loss.item() if mean != mean else 0.97 * mean + 0.03 * loss.item()
        if (step + 1) % 20 == 0 or step + 1 == steps:
            seconds = time.process_time() - start
            print(f"{name} {step + 1} of {steps}: loss {mean:.4f}, {seconds:.0f} s", flush=True)
            write(folder, name, unet)
            saved = {
                "step": step + 1,
                "optimizer": optimizer.state_dict(),
                "generator": generator.get_state(),
                "parameters": [parameter.detach() for parameter in parameters],
                "model": model,
            }
            torch.save(saved, state.with_suffix(".part"))
            state.with_suffix(".part").replace(state)


@torch.no_grad()
def encode(pipeline: Any, change: Change, pattern: str | None) -> tuple[Tensor, Tensor, Tensor]:
    """Latents of the changed pictures, and the tokens of captions of the unchanged ones."""
    world = ShapesWorld(7001, SIDE, SIDE, "train", pattern=pattern)
    scenes = [world.scene(number) for number in range(PICTURES)]
    parts = []
    for start in range(0, PICTURES, BATCH):
        some = scenes[start : start + BATCH]
        changed = [replace(scene, figures=tuple(map(change, scene.figures))) for scene in some]
        pictures = to_tensor(np.stack([make_sample(scene).image for scene in changed]))
        latents = posterior(pipeline.vae, pictures).mean * pipeline.vae.config.scaling_factor
        captions = [caption(scene) for scene in some]
        text, _, pooled, _ = pipeline.encode_prompt(captions, device="cpu", do_classifier_free_guidance=False)
        parts.append((latents, text, pooled))
    latents, texts, pooled = (torch.cat(values) for values in zip(*parts, strict=True))
    return latents, texts, pooled


def rate(step: int, steps: int) -> float:
    """Warm-up, then constant, then down to a twentieth over the last two fifths."""
    end = max(0.05, (steps - step) / (0.4 * steps)) if step > 0.6 * steps else 1.0
    return RATE * min(1.0, (step + 1) / WARM_UP) * end


def write(folder: Path, name: str, unet: Any) -> None:
    half = {layer: LowRank(down.half(), up.half()) for layer, (down, up) in lora_layers(unet).items()}
    save_lora(folder / f"{name}.safetensors", half, {"look": name, "base": "demo"})


if __name__ == "__main__":
    sys.exit(main())
