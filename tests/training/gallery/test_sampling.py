"""Members of every kind that needs no server, drawn once each, whatever happens to some of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import shared_gallery
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from tiny_sdxl import SHALLOW_UNET, tiny_vae, write_tiny_ifadapter
from transformers import CLIPTextConfig, CLIPTextModel
from two_processes import run_in_two

from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.rankings.errors import GalleryError
from instance_composer.rankings.gallery import read_gallery
from instance_composer.rankings.pictures import index, picture_file, read_record
from instance_composer.shapes_world import ShapesWorld
from instance_composer.training.gallery.layouts import LayoutFolder
from instance_composer.training.gallery.sampling import sample

PROMPTS = ["a red circle and a blue square", "a green star"]


def write_tiny_sd15(folder: Path, sdxl: Path) -> Path:
    """Stable Diffusion 1 in a folder, with the tokenizer of the tiny SDXL."""
    other = load_sdxl(sdxl)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=514, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            bos_token_id=512, eos_token_id=513, pad_token_id=513,
        )
    )  # fmt: skip
    unet = UNet2DConditionModel(
        block_out_channels=(32, 32), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1, cross_attention_dim=32,
        attention_head_dim=2, norm_num_groups=32, sample_size=8,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=tiny_vae(), text_encoder=text, tokenizer=other.tokenizer, unet=unet,
        scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(sdxl / "tokenizer" / file, folder / "tokenizer")
    return folder


@pytest.fixture(scope="module")
def models(tiny_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_sd15(folder / "sd15", tiny_model)
    write_tiny_ifadapter(folder / "adapter.safetensors", unet=SHALLOW_UNET)
    unet = load_sdxl(tiny_model).unet
    for parameter in unet.parameters():
        parameter.data += 0.05
    unet.save_pretrained(folder / "unet")
    return folder


@pytest.fixture
def run(tiny_model, models, tmp_path) -> Path:
    (tmp_path / "attribute.txt").write_text("\n".join(PROMPTS))
    layouts, finished = tmp_path / "layouts", tmp_path / "finished"
    layouts.mkdir()
    finished.mkdir()
    box = {"id": "1", "box": [0.1, 0.1, 0.6, 0.9], "caption": "a red circle"}
    document = {"version": 1, "canvas": {"width": 64, "height": 64}, "instances": [box]}
    (layouts / "attribute-00000.json").write_text(json.dumps(document))
    omost = 'canvas = Canvas()\ncanvas.set_global_description(description="a green star", detailed_descriptions=[], tags="", HTML_web_color_name="gray")\ncanvas.add_local_description(location="in the center", offset="no offset", area="a large square area", distance_to_viewer=1.0, description="a star", detailed_descriptions=[], tags="", atmosphere="", style="", quality_meta="", HTML_web_color_name="green")\n'  # noqa: E501
    (layouts / "plan.py").write_text(omost)
    Image.fromarray(ShapesWorld(1, 64, 64)[0].image).save(finished / "one.png")
    (finished / "one.txt").write_text(PROMPTS[0] + "\n")
    (tmp_path / "gallery.toml").write_text(
        f"""
base = "sdxl"
size = "64x64"
seed = 40
[prompts]
attribute = "attribute.txt"
[members.sdxl]
kind = "diffusers"
model = "{tiny_model}"
steps = 2
[members.tuned]
kind = "diffusers"
model = "{tiny_model}"
unet = "{models / "unet"}"
steps = 2
[members.sd15]
kind = "diffusers"
model = "{models / "sd15"}"
steps = 2
guidance = 3
[members.placed]
kind = "ifadapter"
model = "{tiny_model}"
adapter = "{models / "adapter.safetensors"}"
layouts = "layouts"
steps = 2
[members.bound]
kind = "concentration"
model = "{tiny_model}"
strength = 4
steps = 2
guidance = 3
[members.gone]
kind = "diffusers"
model = "{tmp_path / "nowhere"}"
[members.finished]
kind = "folder"
pictures = "finished"
"""
    )
    return tmp_path


def pixels(run: Path, member: str, prompt) -> np.ndarray:
    with Image.open(picture_file(run, member, prompt)) as picture:
        return np.asarray(picture)


def test_every_kind_draws_and_what_cannot_is_told_in_sentences(run):
    gallery = read_gallery(run)
    notes = sample(run, gallery, gallery.joined(0), gallery.prompts)
    assert len(notes) == 2
    gone, finished = sorted(notes, key=lambda note: note.startswith("finished"))
    assert gone.startswith("gone draws nothing: there is no model at ")
    assert finished.startswith("finished has no picture for a prompt: ")
    assert "put one there, with this prompt in the .txt of its name" in finished
    drawn = {}
    for line in index(run, [*gallery.members], gallery.prompts):
        drawn.setdefault(line["member"], []).append(line["number"])
    every = [0, 1]
    assert drawn == {
        "sdxl": every, "tuned": every, "sd15": every, "placed": every, "bound": every, "finished": [0],
    }  # fmt: skip
    first = gallery.prompts[0]
    pictures = [pixels(run, member, first) for member in drawn]
    assert all(one.shape == (64, 64, 3) for one in pictures)
    assert all(not np.array_equal(a, b) for n, a in enumerate(pictures) for b in pictures[n + 1 :])
    record = read_record(picture_file(run, "placed", gallery.prompts[1]))
    assert (record["seed"], record["prompt"], record["kind"]) == (41, PROMPTS[1], "ifadapter")
    assert record["options"]["adapter"] == "adapter.safetensors"


def test_nothing_is_drawn_twice_and_what_is_missing_comes_out_the_same(run):
    gallery = read_gallery(run)
    members = [gallery.members["sdxl"]]
    sample(run, gallery, members, gallery.prompts)
    first, second = (picture_file(run, "sdxl", prompt) for prompt in gallery.prompts)
    contents, made = first.read_bytes(), second.stat().st_mtime_ns
    first.unlink()
    sample(run, gallery, members, gallery.prompts)
    assert first.read_bytes() == contents
    assert second.stat().st_mtime_ns == made


def test_aspects_with_the_same_prompts_share_pictures_and_layouts(run):
    text = (run / "gallery.toml").read_text()
    named = 'attribute = "attribute.txt"\n'
    assert named in text
    (run / "gallery.toml").write_text(text.replace(named, f'{named}spatial = "attribute.txt"\n'))
    gallery = read_gallery(run)
    assert len(gallery.prompts) == 2 * len(PROMPTS)
    assert sample(run, gallery, [gallery.members["placed"]], gallery.prompts) == []
    drawn = [file.relative_to(run).as_posix() for file in (run / "pictures").rglob("*.png")]
    assert sorted(drawn) == [f"pictures/placed/attribute/0000{number}.png" for number in range(2)]
    listed = index(run, ["placed"], gallery.prompts)
    assert [(line["aspect"], line["number"]) for line in listed] == [("attribute", 0), ("attribute", 1)]


def test_another_setting_does_not_mix_with_pictures_that_are_there(run):
    gallery = read_gallery(run)
    sample(run, gallery, [gallery.members["sdxl"]], gallery.prompts)
    text = (run / "gallery.toml").read_text().replace("steps = 2", "steps = 3", 1)
    (run / "gallery.toml").write_text(text)
    gallery = read_gallery(run)
    (note,) = sample(run, gallery, [gallery.members["sdxl"]], gallery.prompts)
    assert "was made otherwise: options was" in note
    assert "have the pictures made again" in note
    text = text.replace("steps = 3", "steps = 2", 1).replace("seed = ", "seed = 1", 1)
    (run / "gallery.toml").write_text(text)
    gallery = read_gallery(run)
    (note,) = sample(run, gallery, [gallery.members["sdxl"]], gallery.prompts)
    assert "was made otherwise: seed was" in note


@pytest.mark.slow
def test_processes_share_the_pictures_and_make_the_same_ones(run):
    gallery = read_gallery(run)
    sample(run, gallery, [gallery.members["sdxl"]], gallery.prompts)
    alone = [picture_file(run, "sdxl", prompt).read_bytes() for prompt in gallery.prompts]
    shutil.rmtree(run / "pictures")
    run_in_two(shared_gallery, run)
    assert [picture_file(run, "sdxl", prompt).read_bytes() for prompt in gallery.prompts] == alone


def test_layouts_are_found_by_name_and_by_their_prompt(run):
    gallery = read_gallery(run)
    folder = LayoutFolder(run / "layouts", gallery.size)
    by_name, by_prompt = (folder.find(prompt) for prompt in gallery.prompts)
    assert (by_name.prompt, by_name.instances[0].caption) == (PROMPTS[0], "a red circle")
    assert "a green star" in by_prompt.prompt
    (run / "layouts" / "plan.py").unlink()
    (run / "layouts" / "notes.json").write_text("[]")
    folder = LayoutFolder(run / "layouts", gallery.size)
    assert len(folder.notes) == 1
    with pytest.raises(GalleryError, match=r"write one as attribute-00001\.json"):
        folder.find(gallery.prompts[1])
