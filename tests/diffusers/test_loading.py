"""Models and LoRAs from disk, and what is said about files that are something else."""

import json
import shutil

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from single_file import write_single_file

from instance_composer.hosts.diffusers_sdxl import (
    UnsuitableModelError,
    encode_layout,
    generate,
    load_loras,
    load_sdxl,
)

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")


def same_weights(one, other):
    for part in PARTS:
        first, second = getattr(one, part).state_dict(), getattr(other, part).state_dict()
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_folder(pipeline, sdxl_folder):
    loaded = load_sdxl(sdxl_folder, dtype=torch.bfloat16)
    assert {getattr(loaded, part).dtype for part in PARTS} == {torch.bfloat16}
    assert isinstance(pipeline.scheduler, EulerDiscreteScheduler)
    assert pipeline.scheduler.config.beta_end == 0.012


def test_a_folder_with_half_precision_files_only(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "half", variant="fp16")
    assert (tmp_path / "half/unet/diffusion_pytorch_model.fp16.safetensors").exists()
    same_weights(load_sdxl(tmp_path / "half"), pipeline)


def test_a_single_file(pipeline, sdxl_folder, tmp_path):
    file = write_single_file(pipeline, tmp_path / "model.safetensors")
    same_weights(load_sdxl(file, config=sdxl_folder), pipeline)


def test_a_single_file_without_configuration_says_where_it_could_come_from(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    file = write_single_file(pipeline, tmp_path / "model.safetensors")
    with pytest.raises(UnsuitableModelError, match=r"--config .* a diffusers SDXL folder"):
        load_sdxl(file)
    with pytest.raises(UnsuitableModelError, match=r"has no model_index\.json"):
        load_sdxl(file, config=tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            ["cond_stage_model.transformer.x", "model.diffusion_model.x", "first_stage_model.x"],
            "Diffusion 1 or 2",
        ),
        (["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"], "is Stable Diffusion 3"),
        (["double_blocks.0.img_attn.proj.weight"], "is Flux"),
        (
            ["conditioner.embedders.0.model.x", "model.diffusion_model.label_emb.0.0.weight"],
            "is the SDXL refiner",
        ),
        (
            ["model.diffusion_model.label_emb.0.0.weight", "first_stage_model.x"],
            "lacks the first text encoder, the second text encoder",
        ),
        (["text_proj_model.latents"], "not a whole SDXL checkpoint"),
    ],
)
def test_other_single_files_are_named(tmp_path, keys, message):
    save_file({key: torch.zeros(1) for key in keys}, tmp_path / "model.safetensors")
    with pytest.raises(UnsuitableModelError, match=message):
        load_sdxl(tmp_path / "model.safetensors")


@pytest.mark.parametrize("kind", ["StableDiffusionPipeline", "StableDiffusion3Pipeline", "FluxPipeline"])
def test_other_folders_are_named(tmp_path, kind):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(UnsuitableModelError, match=f"is a {kind}, .* SDXL only"):
        load_sdxl(tmp_path)


def test_files_that_cannot_be_read(sdxl_folder, tmp_path):
    with pytest.raises(UnsuitableModelError, match="there is no model at"):
        load_sdxl(tmp_path / "missing")
    with pytest.raises(UnsuitableModelError, match=r"has no model_index\.json"):
        load_sdxl(tmp_path)
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(UnsuitableModelError, match="can carry code"):
        load_sdxl(tmp_path / "model.ckpt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10" + bytes(7) + b"{")
    with pytest.raises(UnsuitableModelError, match="may be truncated"):
        load_sdxl(tmp_path / "cut.safetensors")
    (tmp_path / "model_index.json").write_text("[]")
    with pytest.raises(UnsuitableModelError, match="cannot be read as the index"):
        load_sdxl(tmp_path)
    folder = shutil.copytree(sdxl_folder, tmp_path / "cut")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UnsuitableModelError, match=r"cut cannot be loaded .* truncated"):
        load_sdxl(folder)


def test_an_inpainting_model_is_refused(pipeline, sdxl_folder, tmp_path):
    folder = shutil.copytree(sdxl_folder, tmp_path / "inpaint")
    config = json.loads((folder / "unet/config.json").read_text())
    (folder / "unet/config.json").write_text(json.dumps(config | {"in_channels": 9}))
    weights = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    weights["conv_in.weight"] = torch.zeros(32, 9, 3, 3)
    save_file(weights, folder / "unet/diffusion_pytorch_model.safetensors")
    with pytest.raises(UnsuitableModelError, match="takes 9 input channels"):
        load_sdxl(folder)


@pytest.fixture
def lora_file(sdxl_folder, tmp_path):
    """A LoRA on the query and output projections of every attention of UNet and first text encoder."""
    pipeline = load_sdxl(sdxl_folder)
    layers = {}
    for part, targets in (("unet", ["to_q", "to_out.0"]), ("text_encoder", ["q_proj"])):
        module = getattr(pipeline, part)
        module.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=targets, init_lora_weights=False))
        layers[part] = get_peft_model_state_dict(module)
    StableDiffusionXLPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=layers["unet"], text_encoder_lora_layers=layers["text_encoder"]
    )
    return tmp_path / "pytorch_lora_weights.safetensors"


def test_a_lora_is_part_of_the_model(sdxl_folder, lora_file, adapter, layout):
    """Loaded at a strength it equals weights with that much of it added by hand, phrases included."""
    pipeline, merged = load_sdxl(sdxl_folder), load_sdxl(sdxl_folder)
    untouched = render(merged, adapter, layout)
    load_loras(pipeline, [(lora_file, 0.5)])
    lora = load_file(lora_file)
    for key, down in lora.items():
        if key.endswith("lora_A.weight"):
            part, _, name = key.removesuffix(".lora_A.weight").partition(".")
            module = getattr(merged, part)
            module = module.get_submodule(name if part == "unet" else _present(module, name))
            module.weight.data += 0.5 * lora[key.replace("lora_A", "lora_B")] @ down
    expected = render(merged, adapter, layout)
    assert (expected - untouched).abs().max() > 0.01
    torch.testing.assert_close(render(pipeline, adapter, layout), expected, atol=2e-3, rtol=0)


def _present(module, name):
    """transformers 5 dropped a prefix that LoRA files may have."""
    names = dict(module.named_modules())
    return name if name in names else name.removeprefix("text_model.")


def render(pipeline, adapter, layout):
    pipeline.set_progress_bar_config(disable=True)
    encoded = encode_layout(pipeline, adapter, layout)
    return generate(pipeline, encoded, height=128, width=128, steps=2, output_type="latent")


def test_loras_that_cannot_be_used(pipeline, tmp_path):
    with pytest.raises(UnsuitableModelError, match="there is no LoRA file"):
        load_loras(pipeline, [(tmp_path / "missing.safetensors", 1.0)])
    (tmp_path / "cut.safetensors").write_bytes(b"\x10" + bytes(7) + b"{")
    with pytest.raises(UnsuitableModelError, match="cannot be read as a safetensors file"):
        load_loras(pipeline, [(tmp_path / "cut.safetensors", 1.0)])
    save_file({"something": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UnsuitableModelError, match="LoRA other"):
        load_loras(pipeline, [(tmp_path / "other.safetensors", 1.0)])
    strange = {f"unet.mid_block.nothing.to_q.lora_{x}.weight": torch.zeros(2, 2) for x in "AB"}
    save_file(strange, tmp_path / "strange.safetensors")
    with pytest.raises(UnsuitableModelError, match="LoRA strange"):
        load_loras(pipeline, [(tmp_path / "strange.safetensors", 1.0)])
