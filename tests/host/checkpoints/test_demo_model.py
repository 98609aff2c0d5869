"""The demo model in ComfyUI: ordinary objects that predict and decode what diffusers does."""

from __future__ import annotations

import json
import shutil

import comfy.sd
import numpy as np
import pytest
import torch
from comfyui_probe import evaluate
from host_cases import EFFECT, assert_close, encode, noise
from patched_weights import assert_equal, weights_of
from safetensors.torch import load_file, save_file

import nodes
from instance_composer.demo import (
    ADAPTER,
    COMPOSITION_LORA,
    DemoModelError,
    demo_folder,
)
from instance_composer.hosts.comfyui.checkpoints import unet_files
from instance_composer.hosts.comfyui.checkpoints.delta import apply_delta
from instance_composer.hosts.comfyui.checkpoints.small_sdxl import DemoPartError, load_clip, load_vae
from instance_composer.hosts.comfyui.checkpoints.unet import load_model as load_named
from instance_composer.hosts.comfyui.checkpoints.unet import load_unet
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.comfyui.ifadapter.weights import load_adapter
from instance_composer.hosts.diffusers_sdxl import attach_prompts, encode_layout, load_sdxl
from instance_composer.layout import (
    Box,
    Canvas,
    Instance,
    Layout,
)
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.itercomp import ExtractionSettings, extract_layer, save_lora
from instance_composer.models.weights import CheckpointError

pytestmark = pytest.mark.text_encoders

# Predictions of order one; the hosts order their sums differently.
TOLERANCE = 2e-5
TIMESTEP = 600
LAYOUT = Layout(
    (
        Instance("1", Box(0.05, 0.1, 0.45, 0.6), "a red striped circle"),
        Instance("2", Box(0.5, 0.4, 0.95, 0.9), "a large blue square"),
    ),
    Canvas(160, 96),
    "a red striped circle and a large blue square on grey",
)


@pytest.fixture(scope="module")
def folder(fresh_demo):
    return fresh_demo


@pytest.fixture(scope="module")
def parts(folder):
    with torch.inference_mode():
        return load_unet(str(folder)), load_clip(folder), load_vae(folder), load_adapter(folder / ADAPTER)


@pytest.fixture(scope="module")
def pipeline(folder):
    return load_sdxl(folder)


def in_diffusers(pipeline, folder, latents):
    encoded = encode_layout(pipeline, IFAdapter.load(folder / ADAPTER), LAYOUT)
    height, width = (8 * side for side in latents.shape[-2:])
    sizes = torch.tensor([[height, width, 0, 0, height, width]] * 2, dtype=torch.float32)
    with attach_prompts(pipeline.unet, encoded.gates, [encoded.negative, encoded.positive]):
        predicted = pipeline.unet(
            torch.cat((latents, latents)),
            TIMESTEP,
            encoder_hidden_states=torch.cat((encoded.negative_prompt, encoded.prompt)),
            added_cond_kwargs={
                "text_embeds": torch.cat((encoded.negative_pooled, encoded.pooled)),
                "time_ids": sizes,
            },
        ).sample
    return predicted[1:], predicted[:1]


def test_the_same_noise_prediction_as_diffusers(folder, parts, pipeline):
    model, clip, _, adapter = parts
    latents = noise(1, 12, 20)
    positive = encode(clip, LAYOUT.prompt)
    negative = nodes.ConditioningZeroOut().zero_out(positive)[0]
    found = evaluate(*apply_ifadapter(model, clip, adapter, LAYOUT, positive, negative), latents, TIMESTEP)
    expected = in_diffusers(pipeline, folder, latents)
    assert_close(found.positive, expected[0], TOLERANCE)
    assert_close(found.negative, expected[1], TOLERANCE)
    plain = evaluate(model, positive, negative, latents, TIMESTEP)
    assert (plain.positive - found.positive).abs().max() > EFFECT


def test_the_same_pictures_from_latents_and_back_as_diffusers(parts, pipeline):
    _, _, vae, _ = parts
    picture = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(1))
    latents = pipeline.vae.encode(picture.movedim(-1, 1) * 2 - 1).latent_dist.mode()
    # ComfyUI draws from the posterior where diffusers gives its mode: a freshly started encoder has a
    # deviation of exp(-3).
    assert_close(vae.encode(picture), latents, tolerance=6 * np.exp(-3.0))
    expected = (pipeline.vae.decode(latents).sample.movedim(1, -1) + 1) / 2
    assert_close(vae.decode(latents), expected.clamp(0, 1), tolerance=1e-5)


def test_the_objects_are_those_of_any_checkpoint(parts):
    model, clip, vae, _ = parts
    assert type(model.clone()) is type(model)
    assert isinstance(clip, comfy.sd.CLIP)
    assert isinstance(vae, comfy.sd.VAE)
    (latent,) = nodes.EmptyLatentImage().generate(96, 64)
    sampled = nodes.common_ksampler(
        model, 1, 2, 4.0, "euler", "normal", encode(clip, "a red star on grey"), encode(clip, ""), latent
    )[0]
    (image,) = nodes.VAEDecode().decode(vae, sampled)
    assert image.shape == (1, 64, 96, 3)
    assert bool(image.isfinite().all())


def test_it_can_be_loaded_again_for_a_clone_without_shared_weights(parts):
    """ComfyUI asks for this in conditioning hooks and on several devices."""
    for patcher in (parts[0], parts[1].patcher):
        load, arguments = patcher.cached_patcher_init
        again = load(*arguments)
        ours, theirs = (one.model.state_dict() for one in (patcher, again))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_files_that_are_missing_are_named(folder, tmp_path):
    assert demo_folder(folder) == folder
    with pytest.raises(DemoModelError, match=r"lacks unet/.*ifadapter\.safetensors.* Install the pack again"):
        demo_folder(tmp_path)


def test_weights_that_do_not_fit_their_configuration_are_refused(folder, tmp_path):
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        shutil.copytree(folder / part, tmp_path / part)
    config = tmp_path / "text_encoder" / "config.json"
    more = json.loads(config.read_text())
    config.write_text(json.dumps({**more, "num_hidden_layers": more["num_hidden_layers"] + 1}))
    with pytest.raises(DemoPartError, match="weights of text_encoder, text_encoder_2 do not fit"):
        load_clip(tmp_path)
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    del state["mid_block.attentions.0.norm.bias"]
    save_file(state, weights)
    with pytest.raises(
        CheckpointError, match="is incomplete: 1 weights of the UNet are missing: middle_block"
    ):
        load_unet(str(tmp_path))


def test_another_models_file_in_place_of_the_autoencoder_is_named(folder, tmp_path):
    """ComfyUI would take what fits and leave the rest as it happens to be."""
    for part in ("unet", "vae", "text_encoder"):
        shutil.copytree(folder / part, tmp_path / part)
    file, unet = (tmp_path / part / "diffusion_pytorch_model.safetensors" for part in ("vae", "unet"))
    state = load_file(file)
    shutil.copy(unet, file)
    with pytest.raises(DemoPartError, match="by which an autoencoder of diffusers is known"):
        load_vae(tmp_path)
    save_file({name: value for name, value in state.items() if "quant_conv" not in name}, file)
    with pytest.raises(DemoPartError, match=r"weights of vae do not fit .* the first is post_quant_conv"):
        load_vae(tmp_path)
    save_file(state | {"decoder.conv_in.weight": torch.zeros(3, 4, 3, 3)}, file)
    with pytest.raises(
        DemoPartError, match=r"weights of vae do not fit .*size mismatch for decoder\.conv_in"
    ):
        load_vae(tmp_path)
    encoder = tmp_path / "text_encoder" / "model.safetensors"
    encoder.write_bytes(encoder.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read .* may be truncated"):
        load_clip(tmp_path)


def test_quantised_encoders_and_autoencoder_are_their_numbers(folder, parts, tmp_path):
    for part, stem in (
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
        ("text_encoder_2", "model"),
    ):
        shutil.copytree(folder / part, tmp_path / part)
        file = tmp_path / part / f"{stem}.safetensors"
        stored = {}
        for name, value in load_file(file).items():
            stored[name] = value
            if value.ndim == 2 and name.endswith(".weight") and "embedding" not in name:
                scale = value.float().abs().amax(dim=1, keepdim=True).clamp(min=1e-9) / 127
                stored[name] = (value / scale).round().to(torch.int8)
                stored[name.removesuffix("weight") + "weight_scale"] = scale
        assert len(stored) > len(load_file(file))
        save_file(stored, file)
    expected = encode(parts[1], LAYOUT.prompt)[0][0]
    found = encode(load_clip(tmp_path), LAYOUT.prompt)[0][0]
    # 127 steps for each row of a dozen layers.
    assert 0 < (found - expected).norm() < 0.05 * expected.norm()
    before, after = (one.first_stage_model.state_dict() for one in (parts[2], load_vae(tmp_path)))
    assert before.keys() == after.keys()
    for name, value in after.items():
        assert (value.float() - before[name].float()).norm() <= 0.02 * before[name].float().norm(), name
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


# The demo model after feedback learning, as Load IterComp UNet offers it.


@pytest.fixture(scope="module")
def tuned(folder, parts, tmp_path_factory):
    """(folder, weights): a copy with every matrix moved in two directions, and a LoRA of that beside it."""
    place = tmp_path_factory.mktemp("tuned") / "demo"
    shutil.copytree(folder, place)
    moved, state, settings = {}, {}, ExtractionSettings(rank=2, method="full", dtype=torch.float32)
    generator = torch.Generator().manual_seed(3)
    for key, value in weights_of(parts[0]).items():
        size = value.flatten(1).shape if value.ndim > 1 else (len(value), 1)
        up, down = (torch.randn(*shape, generator=generator) for shape in ((size[0], 2), (2, size[1])))
        delta = 0.01 * (up @ down).reshape(value.shape)
        moved[key] = value + delta
        state |= extract_layer(key.removeprefix("diffusion_model."), delta, settings)[0]
    save_lora(place / COMPOSITION_LORA, state, settings)
    return place, moved


def test_the_tuned_demo_model_is_the_demo_model_with_its_lora(tuned, parts, monkeypatch, caplog):
    place, expected = tuned
    for name in ("FOLDER", "demo_folder"):
        monkeypatch.setattr(unet_files, name, place if name == "FOLDER" else lambda: place)
    assert unet_files.list_unets()[-1] == unet_files.DEMO
    model, clip, vae = load_named(unet_files.DEMO)
    assert "not loaded" not in caplog.text
    found = weights_of(model)
    assert found.keys() == expected.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], atol=1e-5, rtol=0)
    assert torch.equal(encode(clip, LAYOUT.prompt)[0][0], encode(parts[1], LAYOUT.prompt)[0][0])
    latents = noise(1, 12, 20)
    assert torch.equal(vae.decode(latents), parts[2].decode(latents))

    # Its delta on the demo model itself, and the three models as they were.
    before, base = weights_of(parts[0]), parts[0]
    composed = weights_of(apply_delta(base, model, base))
    for key, value in composed.items():
        torch.testing.assert_close(value, expected[key], atol=1e-5, rtol=0)
    assert apply_delta(base, model, base, 0.0).patches == {}
    assert_equal(weights_of(base), before)
    assert_equal(weights_of(model), found)


def test_without_its_lora_the_tuned_demo_model_is_not_offered(folder, monkeypatch):
    monkeypatch.setattr(unet_files, "FOLDER", folder)
    assert unet_files.DEMO not in unet_files.list_unets()


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2", "vae"])
def test_a_part_that_is_cut_off_is_named(folder, tmp_path, part):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (file,) = (copy / part).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f"{file.name} cannot be read as a safetensors file"):
        load_vae(copy) if part == "vae" else load_clip(copy)


def test_weights_of_another_model_are_no_vae(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.copy(
        folder / "text_encoder" / "model.safetensors", copy / "vae" / "diffusion_pytorch_model.safetensors"
    )
    with pytest.raises(DemoPartError, match="weights of vae do not fit their configuration"):
        load_vae(copy)
