"""A loop small enough for a test: five ways of drawing Shapes World, rankings by its truth, tiny models."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from tiny_rewards import write_tiny_rewards
from tiny_sdxl import SHALLOW_UNET, write_tiny_ifadapter, write_tiny_sdxl

from instance_composer.shapes_world import make_sample
from instance_composer.shapes_world.preferences import Comparisons

SIDE, PROMPTS = 64, 4
# Every setting that costs time, at its least.
BRIEF = [
    *("rewards.steps=2", "rewards.batch=2", "rewards.every_sample=1", "rewards.learning_rate=0.001"),
    *("feedback.steps=1", "feedback.batch=1", "feedback.accumulate=1", "feedback.every_sample=0"),
]


def write_loop(run: Path) -> Path:
    """A run's folder with a gallery, prompts that say a relation, layouts, real renders and rewards."""
    run.mkdir(parents=True, exist_ok=True)
    write_tiny_sdxl(run / "sdxl", unet=SHALLOW_UNET)
    write_tiny_ifadapter(run / "adapter.safetensors", unet=SHALLOW_UNET)
    write_tiny_rewards(run / "start")
    world = Comparisons(3, SIDE, SIDE, figures=(0.0, 1.0))
    scenes, prompts = [], []
    number = 0
    while len(prompts) < PROMPTS:
        comparison = world[number]
        number += 1
        if comparison.wishes[0].relation:
            scenes.append(comparison.scenes[0])
            prompts.append(comparison.wishes[0].prompt)
    for folder in ("layouts", "renders"):
        (run / folder).mkdir()
    for aspect in ("attribute", "spatial"):
        (run / f"{aspect}.txt").write_text("\n".join(prompts) + "\n")
    for number, (scene, prompt) in enumerate(zip(scenes, prompts, strict=True)):
        sample = make_sample(scene)
        Image.fromarray(sample.image).save(run / "renders" / f"{number}.png")
        (run / "renders" / f"{number}.txt").write_text(prompt)
        for aspect in ("attribute", "spatial"):
            file = run / "layouts" / f"{aspect}-{number:05d}.json"
            file.write_text(sample.layout.to_json(), encoding="utf-8")
    (run / "gallery.toml").write_text(GALLERY, encoding="utf-8")
    return run


GALLERY = f"""
base = "base"
size = "{SIDE}x{SIDE}"
held-out = 2

[prompts]
attribute = "attribute.txt"
spatial = "spatial.txt"

[members.base]
kind = "diffusers"
model = "sdxl"
steps = 2

[members.placed]
kind = "ifadapter"
model = "sdxl"
adapter = "adapter.safetensors"
layouts = "layouts"
steps = 2

[members.bound]
kind = "concentration"
model = "sdxl"
layouts = "layouts"
steps = 2

[members.renders]
kind = "folder"
pictures = "renders"

[members.late]
kind = "diffusers"
model = "sdxl"
steps = 3
joins = 1
"""
