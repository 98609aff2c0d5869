"""The files that the pages speak of, at tiny size, made once and linked into the folder of each page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip(
    "diffusers", reason='diffusers is not installed; get it with: pip install ".[dev,training]"'
)

import diffusers
import torch
import transformers
from PIL import Image
from single_file import write_single_file
from tiny_annotators import write_tiny_blip, write_tiny_grounding_dino
from tiny_rewards import HEADS, WORDS, tiny_state, write_tiny_rewards
from tiny_sdxl import UNET, write_tiny_ifadapter, write_tiny_sdxl

from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.rewards import RewardModel
from instance_composer.models.sdxl.files import METADATA
from instance_composer.shapes_world import ShapesWorld

LINES = """0.05 0.40 0.45 0.95: a tabby cat with a red collar
0.55 0.35 0.95 0.95: a black labrador wearing sunglasses
"""
# As many residual blocks as SDXL has, which `convert` asks for, and fewer layers in them.
FLAT_UNET = {**UNET, "transformer_layers_per_block": (1, 1, 1)}
PAIR = {"prompt": "a red circle", "better": "a.png", "worse": "b.png", "aspect": "attribute"}


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The models are tiny: more threads cost more than they bring."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_progress_bars():
    """Bars of the libraries would bury the report."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def shelf(tmp_path_factory) -> Path:
    """A folder with everything that a page names, under the name it has there."""
    shelf = tmp_path_factory.mktemp("shelf")
    write_tiny_sdxl(shelf / "sdxl-base", unet=FLAT_UNET)
    _tuned_models(shelf)
    _layouts(shelf)
    _pictures(shelf)
    IFAdapter.load(write_tiny_ifadapter(shelf / "adapter.safetensors", unet=FLAT_UNET)).save(
        shelf / "spd_adapter.bin"
    )
    write_tiny_rewards(shelf / "rewards")
    metadata = {**HEADS, "words": WORDS, "aspect": "attribute"}
    RewardModel.from_state_dict(tiny_state(), metadata).save(shelf / "reward.safetensors")
    write_tiny_grounding_dino(shelf / "grounding-dino-tiny")
    write_tiny_blip(shelf / "blip-image-captioning-large")
    return shelf


def _tuned_models(shelf: Path) -> None:
    """SDXL base and a community model in one file each; IterComp, and what stands for the demo model."""
    pipeline = load_sdxl(shelf / "sdxl-base")
    # A real SDXL tells the size of its attention heads by its widths; these need to be told.
    metadata = {METADATA: json.dumps(FLAT_UNET)}
    write_single_file(pipeline, shelf / "sd_xl_base_1.0.safetensors", metadata)
    for seed, name in enumerate(("community.safetensors", "IterComp")):
        noise = torch.Generator().manual_seed(seed)
        for parameter in pipeline.unet.parameters():
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=noise) * parameter.data.std()
        if name == "IterComp":
            pipeline.save_pretrained(shelf / name)
        else:
            write_single_file(pipeline, shelf / name, metadata)
    write_tiny_sdxl(shelf / "demo", unet=FLAT_UNET)
    write_tiny_rewards(shelf / "demo" / "rewards")
    write_tiny_sdxl(shelf / "runs" / "demo" / "base-numbers" / "model", unet=FLAT_UNET)


def _layouts(shelf: Path) -> None:
    (shelf / "pets.txt").write_text(LINES, encoding="utf-8")
    (shelf / "answer.txt").write_text(LINES, encoding="utf-8")
    document = {
        "version": 1,
        "canvas": {"width": 64, "height": 64},
        "instances": [{"id": "1", "box": [0.1, 0.1, 0.6, 0.9], "caption": "a red circle"}],
    }
    (shelf / "pets.json").write_text(json.dumps(document), encoding="utf-8")
    (shelf / "layouts").mkdir()
    (shelf / "layouts" / "pets.json").write_text(json.dumps(document), encoding="utf-8")


def _pictures(shelf: Path) -> None:
    """Pictures of Shapes World: bare, in a folder, beside their layouts, and compared with each other."""
    world = ShapesWorld(seed=1, width=64, height=64, figures=2)
    for folder in ("photos", "pictures"):
        (shelf / folder).mkdir()
    for number in range(3):
        picture = Image.fromarray(world[number].image)
        picture.save(shelf / "photos" / f"{number}.png")
        picture.save(shelf / "pictures" / f"{number}.png")
        (shelf / "pictures" / f"{number}.json").write_text(world[number].layout.to_json(), encoding="utf-8")
    Image.fromarray(world[3].image).save(shelf / "picture.png")
    for name, color in (("a", "red"), ("b", "blue"), ("c", "green")):
        Image.new("RGB", (32, 32), color).save(shelf / f"{name}.png")
    for name in ("train", "held-out"):
        (shelf / f"{name}.jsonl").write_text(json.dumps(PAIR) + "\n", encoding="utf-8")
    own = shelf / "runs" / "demo" / "ranked"
    own.mkdir(parents=True)
    for name in ("0", "1"):
        shutil.copy(shelf / "photos" / f"{name}.png", own)
    ranking = {"prompt": "a red circle", "images": ["0.png", "1.png"], "ranks": {"attribute": [1, 2]}}
    (own / "rankings.jsonl").write_text(json.dumps(ranking) + "\n", encoding="utf-8")
    (shelf / "prompts.txt").write_text("a red circle\n", encoding="utf-8")
