"""A small Flux in ComfyUI: it predicts, reads and samples what diffusers does, and nodes act on it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import comfy.sample
import pytest
import torch
from comfyui_probe import evaluate
from diffusers import FlowMatchEulerDiscreteScheduler
from host_cases import encode, noise
from safetensors.torch import save_file
from tiny_comfyui import random_like

import nodes
from instance_composer.cli import main
from instance_composer.evaluation.benchmark import Point
from instance_composer.evaluation.benchmarks.binding.plan import BindingPlan
from instance_composer.evaluation.benchmarks.placement.plan import PlacementPlan
from instance_composer.evaluation.scenes import Scenes
from instance_composer.generation import binding_methods, placing_methods
from instance_composer.generation.jobs import Sampling
from instance_composer.hosts.comfyui.checkpoints.small_flux import load_transformer, load_unpadded_clip
from instance_composer.hosts.comfyui.checkpoints.small_sdxl import load_clip
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.methods.process import answer, load_parts
from instance_composer.hosts.comfyui.prompts.entities import find_prompt_entities
from instance_composer.hosts.comfyui.regions.apply import draw_regions
from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.models.weights import CheckpointError
from instance_composer.nodes.demo import LoadDemoCheckpoint
from instance_composer.training.demo_model.transformer import make_transformer
from instance_composer.training.flow.frozen_texts import FrozenTexts
from instance_composer.training.flow.sampling import predict_velocity, sample_latents

pytestmark = pytest.mark.text_encoders

# Predictions of order one through seven blocks; the hosts order their sums differently.
TOLERANCE = 5e-5
MOVED = 1e-3
LONG, SHORT = "a red striped circle and a large blue square on grey", "a star"
LAYOUT = Layout(
    (
        Instance("1", Box(0.05, 0.1, 0.45, 0.6), "a red striped circle"),
        Instance("2", Box(0.5, 0.4, 0.95, 0.9), "a large blue square"),
    ),
    Canvas(160, 96),
    LONG,
)


@pytest.fixture(scope="module")
def pipeline(fresh_demo):
    return load_sdxl(fresh_demo)


@pytest.fixture(scope="module")
def transformer():
    made = make_transformer()
    made.load_state_dict(random_like(made.state_dict(), seed=5))
    return made.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def scheduler():
    """Steps moved towards noise."""
    return FlowMatchEulerDiscreteScheduler(shift=2.0)


@pytest.fixture(scope="module")
def folder(transformer, scheduler, tmp_path_factory):
    place = tmp_path_factory.mktemp("flux")
    transformer.save_pretrained(place / "transformer")
    scheduler.save_pretrained(place / "scheduler")
    return place


@pytest.fixture(scope="module")
def parts(fresh_demo, folder):
    with torch.inference_mode():
        return load_transformer(folder, torch.float32), load_unpadded_clip(fresh_demo)


def scaled(latents):
    """As ComfyUI hands out what is sampled: without SDXL's factor."""
    return latents / 0.13025


@pytest.mark.parametrize("text", [LONG, SHORT, ""])
def test_texts_are_those_of_training(pipeline, parts, text):
    expected = FrozenTexts(pipeline)([text])
    ((states, values),) = encode(parts[1], text)
    torch.testing.assert_close(states, expected.states, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(values["pooled_output"], expected.pooled, atol=TOLERANCE, rtol=0)


def test_a_text_beside_a_longer_one_is_read_as_alone(pipeline, transformer):
    texts = FrozenTexts(pipeline)
    latents, times = noise(2, 12, 20), torch.tensor([0.7, 0.2])
    together = predict_velocity(transformer, latents, times, texts([LONG, SHORT]))
    for row, text in enumerate((LONG, SHORT)):
        alone = predict_velocity(transformer, latents[row : row + 1], times[row : row + 1], texts([text]))
        torch.testing.assert_close(together[row : row + 1], alone, atol=TOLERANCE, rtol=0)
    other = predict_velocity(transformer, latents, times, texts([SHORT, SHORT]))
    assert (together - other)[0].abs().max() > MOVED


def test_sampling_draws_what_diffusers_draws(pipeline, transformer, scheduler, parts):
    texts, start = FrozenTexts(pipeline), noise(1, 12, 20)
    expected = sample_latents(
        transformer, scheduler, start, texts([LONG]), texts([""]), steps=3, guidance=4.0
    )
    model, clip = parts
    found = comfy.sample.sample(
        model,
        start,
        3,
        4.0,
        "euler",
        "normal",
        encode(clip, LONG),
        encode(clip, ""),
        torch.zeros_like(start),
        disable_pbar=True,
        seed=0,
    )
    torch.testing.assert_close(found, scaled(expected), atol=scaled(2e-4), rtol=0)
    assert expected.std() > 0.1


def test_it_is_loaded_again_with_the_same_weights(parts, folder):
    """ComfyUI asks for this in conditioning hooks and on several devices."""
    for patcher in (parts[0], parts[1].patcher):
        load, arguments = patcher.cached_patcher_init
        ours, theirs = (one.model.state_dict() for one in (patcher, load(*arguments)))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_draw_regions_and_concentration_act_on_it(parts):
    model, clip = parts
    latents, prompts = noise(1, 12, 20), (encode(clip, LONG), encode(clip, ""))
    plain = evaluate(model, *prompts, latents, 500)
    drawn = evaluate(*draw_regions(model, clip, LAYOUT, prompts[0]), prompts[1], latents, 500)
    entities = find_prompt_entities(clip, LONG, layout=LAYOUT).entities
    assert [one.entity.noun for one in entities][:2] == ["circle", "square"]
    moved = apply_concentration(model, prompts[0], entities, Concentration(strength=2.0), LAYOUT)
    bound = evaluate(*moved, prompts[1], latents, 500)
    for one in (drawn, bound):
        assert (one.positive - plain.positive).abs().max() > MOVED
        torch.testing.assert_close(one.negative, plain.negative, atol=TOLERANCE, rtol=0)
    again = evaluate(model, *prompts, latents, 500)
    assert torch.equal(again.positive, plain.positive)


def test_evaluations_draw_with_it(folder, tmp_path, capsys):
    parts, vae = load_parts(folder, None)
    assert parts.adapter is None
    plans = PlacementPlan(scenes=Scenes(size=(96, 64))), BindingPlan(scenes=Scenes(size=(96, 64)))
    pictures = set()
    for plan, methods, names in (
        (plans[0], placing_methods.METHODS, ("plain", "mask", "regions")),
        (plans[1], binding_methods.METHODS, ("local", "local-boxes", "regions+local")),
    ):
        for name in names:
            assert not methods[name].unet
            job = replace(plan.job(Point(name), 1), sampling=Sampling(2, 3.0, "euler", "normal", 0))
            answer(parts, vae, job, str(tmp_path / f"{name}.png"))
            pictures.add((tmp_path / f"{name}.png").read_bytes())
    assert len(pictures) == 6
    for evaluation, name in (("layout", "ifadapter"), ("binding", "latent")):
        words = [evaluation, str(tmp_path / "run"), "--model", str(folder), "--methods", f"plain,{name}"]
        assert main(["evaluate", *words]) != 0
        assert f"{name} act on a UNet" in capsys.readouterr().err


def test_padding_goes_behind_the_last_word_alone(parts, fresh_demo):
    padded = encode(load_clip(fresh_demo), SHORT)[0][0]
    own = encode(parts[1], SHORT)[0][0]
    assert own.shape[1] < padded.shape[1] == 77
    assert torch.equal(own, padded[:, : own.shape[1]])
    assert encode(parts[1], "a (star:1.5)")[0][0].shape == own.shape
    # Start, words and end: 77 tokens, and 27 of a second chunk.
    assert encode(parts[1], " ".join(["red"] * 100))[0][0].shape[1] == 77 + 27


def test_the_node_loads_the_shipped_one_without_an_adapter():
    model, clip, vae, adapter = LoadDemoCheckpoint.execute("demo transformer").result
    (latent,) = nodes.EmptyLatentImage().generate(64, 64)
    prompts = encode(clip, SHORT), encode(clip, "")
    sampled = nodes.common_ksampler(model, 1, 2, 3.0, "euler", "normal", *prompts, latent)[0]
    assert nodes.VAEDecode().decode(vae, sampled)[0].shape == (1, 64, 64, 3)
    assert "has no IFAdapter" in adapter.message
    assert LoadDemoCheckpoint.execute().result[3].model.config.layers


def test_weights_that_do_not_fit_are_refused_by_name(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = copy / "transformer" / "config.json"
    sizes = json.loads(config.read_text())
    config.write_text(json.dumps({**sizes, "num_layers": sizes["num_layers"] + 1}))
    with pytest.raises(
        CheckpointError, match=r"copy/transformer do not fit its config\.json: double_blocks\.2"
    ):
        load_transformer(copy)
    config.write_text(json.dumps({**sizes, "pooled_projection_dim": 24}))
    with pytest.raises(CheckpointError, match="size mismatch for vector_in"):
        load_transformer(copy)
    config.write_text("{}")
    with pytest.raises(CheckpointError, match=r"transformer/config\.json"):
        load_transformer(copy)
    config.write_text(json.dumps(sizes))
    save_file({"other": torch.zeros(2)}, copy / "transformer" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(CheckpointError, match=r"is no Flux\.1 as diffusers writes it"):
        load_transformer(copy)
