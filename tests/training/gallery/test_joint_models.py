"""Stable Diffusion 3 and Flux as members; of what cannot be opened a sentence each, and the rest draws."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, StableDiffusion3Pipeline
from PIL import Image
from tiny_joint_models import write_tiny_flux, write_tiny_stable_diffusion_3

from instance_composer.rankings.errors import GalleryError
from instance_composer.rankings.gallery import read_gallery
from instance_composer.rankings.pictures import picture_file
from instance_composer.training.gallery.diffusers_member import check_tunable, dtype_of
from instance_composer.training.gallery.sampling import open_member, sample

PROMPT = "a red circle and a blue square"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("joint")
    write_tiny_stable_diffusion_3(folder / "sd3")
    write_tiny_flux(folder / "flux")
    # A pipeline of no pictures, one that is not there, one that lacks a part, one with a torn file.
    for name, kind in (("sound", "AudioLDM2Pipeline"), ("unheard", "NoSuchPipeline")):
        (folder / name).mkdir()
        (folder / name / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    for name, part in (("partial", "transformer"), ("torn", "text_encoder")):
        shutil.copytree(folder / "flux", folder / name)
        (weights,) = (folder / name / part).glob("*.safetensors")
        whole = weights.read_bytes()
        weights.unlink()
        if name == "torn":
            weights.write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture
def run(models, tmp_path) -> Path:
    (tmp_path / "attribute.txt").write_text(PROMPT)
    members = dict.fromkeys(("sound", "unheard", "partial", "torn", "sd3"), "steps = 2")
    members |= {"flux": "steps = 2\nguidance = 3.5", "strong": "steps = 2\nguidance = 30"}
    text = ['base = "sd3"', 'size = "64x64"', "[prompts]", 'attribute = "attribute.txt"']
    for name, keys in members.items():
        model = models / ("flux" if name == "strong" else name)
        text += [f"[members.{name}]", 'kind = "diffusers"', f'model = "{model}"', keys]
    (tmp_path / "gallery.toml").write_text("\n".join(text))
    return tmp_path


def test_both_draw_and_what_cannot_be_opened_is_told_and_left_out(run):
    gallery = read_gallery(run)
    notes = sample(run, gallery, gallery.joined(0), gallery.prompts)
    assert [note.split(" draws nothing: ")[0] for note in notes] == ["sound", "unheard", "partial", "torn"]
    assert all("cannot be loaded as a text-to-image model (" in note for note in notes)
    assert len({note.split("(", 1)[1] for note in notes}) == 4
    assert all("\n" not in note for note in notes)
    drawn = {}
    for name in ("sd3", "flux", "strong"):
        with Image.open(picture_file(run, name, gallery.prompts[0])) as picture:
            drawn[name] = np.asarray(picture)
    assert all(one.shape == (64, 64, 3) for one in drawn.values())
    assert not np.array_equal(drawn["flux"], drawn["strong"])


def test_what_overflows_in_half_precision_is_drawn_in_bfloat16_wherever_it_comes_from():
    kinds = ("FluxPipeline", "StableDiffusion3Pipeline", "StableDiffusionXLPipeline", "")
    found = [dtype_of(kind, torch.device("cuda")) for kind in kinds]
    assert found == [torch.bfloat16, torch.bfloat16, torch.float16, torch.float16]
    assert {dtype_of(kind, torch.device("cpu")) for kind in kinds} == {torch.float32}


def test_what_tuning_cannot_begin_with_is_told_and_so_is_a_negative_prompt_without_effect(run):
    members = read_gallery(run).members
    with pytest.raises(GalleryError, match=r"which is a FluxPipeline; feedback learning tunes SDXL"):
        check_tunable(members["flux"])
    on_the_hub = replace(members["flux"], options={"model": "owner/model"})
    with pytest.raises(GalleryError, match="which is not on this disk"):
        check_tunable(on_the_hub)
    negative = replace(members["flux"], options={**members["flux"].options, "negative": "blurry"})
    with pytest.raises(GalleryError, match='"negative" would change nothing: FluxPipeline'):
        open_member(negative, read_gallery(run), torch.device("cpu"))


@pytest.mark.parametrize(("name", "kind"), [("sd3", StableDiffusion3Pipeline), ("flux", FluxPipeline)])
def test_a_member_is_its_own_pipeline_and_a_seed_its_picture(run, name, kind):
    gallery = read_gallery(run)
    drawer = open_member(gallery.members[name], gallery, torch.device("cpu"))
    assert type(drawer.pipeline) is kind
    first, again, other = (np.asarray(drawer.draw(gallery.prompts[0], seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
