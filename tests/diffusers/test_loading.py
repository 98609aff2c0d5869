"""Models and LoRAs from disk, and what is said about files that are something else."""

import json
import shutil

import pytest
import torch
from diffusers import EDMEulerScheduler, EulerDiscreteScheduler, StableDiffusionXLPipeline
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

pytestmark = pytest.mark.text_encoders
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


def with_scheduler(sdxl_folder, folder, **said):
    """A copy of the folder whose scheduler says something else."""
    shutil.copytree(sdxl_folder, folder)
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | said))
    return folder


def marked(pipeline, file, marks, texts=None):
    """The model as a single file with marks."""
    write_single_file(pipeline, file)
    save_file(load_file(file) | {name: torch.zeros(0) for name in marks}, file, texts)
    return file


@pytest.mark.parametrize(
    ("marks", "texts", "said"),
    [
        (("v_pred", "ztsnr"), {}, {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}),
        (("v_pred",), {}, {"prediction_type": "v_prediction"}),
        ((), {"modelspec.prediction_type": "v"}, {"prediction_type": "v_prediction"}),
        ((), {}, {}),
    ],
)
def test_a_single_file_predicts_what_its_marks_say(
    pipeline, sdxl_folder, adapter, layout, tmp_path, marks, texts, said
):
    """As the same model in a folder whose scheduler says it, whatever that of the configuration says."""
    folder = with_scheduler(sdxl_folder, tmp_path / "folder", **said)
    file = marked(pipeline, tmp_path / "model.safetensors", marks, texts)
    of_folder, of_file = load_sdxl(folder), load_sdxl(file, config=sdxl_folder)
    assert dict(of_file.scheduler.config) == dict(of_folder.scheduler.config)
    expected = render(of_folder, adapter, layout)
    assert torch.equal(render(of_file, adapter, layout), expected)
    changed = (expected - render(load_sdxl(sdxl_folder), adapter, layout)).abs().max()
    assert (changed > 0.1) == bool(said)


def test_zero_terminal_snr_begins_with_noise_alone(sdxl_folder, tmp_path, caplog):
    folder = with_scheduler(
        sdxl_folder, tmp_path / "folder", prediction_type="v_prediction", rescale_betas_zero_snr=True
    )
    scheduler = load_sdxl(folder).scheduler
    assert "folder says zero terminal SNR with timestep_spacing leading" in caplog.text
    scheduler.set_timesteps(4)
    assert scheduler.timesteps[0] == 999
    assert scheduler.sigmas[0] == scheduler.sigmas.max() > 4000


def test_marks_of_edm_are_drawn_on_its_noise_levels(pipeline, sdxl_folder, adapter, layout, tmp_path):
    file = write_single_file(pipeline, tmp_path / "model.safetensors")
    cosxl = {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)}
    save_file(load_file(file) | cosxl, file)
    loaded = load_sdxl(file, config=sdxl_folder)
    assert isinstance(loaded.scheduler, EDMEulerScheduler)
    assert loaded.scheduler.config.prediction_type == "v_prediction"
    assert loaded.scheduler.config.sigma_data == 1
    assert render(loaded, adapter, layout).isfinite().all()
    playground = {"edm_mean": torch.full((1, 4, 1, 1), 0.5), "edm_std": torch.full((1, 4, 1, 1), 2.0)}
    write_single_file(pipeline, file)
    save_file(load_file(file) | playground, file)
    loaded = load_sdxl(file, config=sdxl_folder)
    assert (loaded.scheduler.config.sigma_data, loaded.scheduler.config.sigma_max) == (0.5, 80)
    assert loaded.vae.config.latents_mean == [0.5] * 4
    loaded.save_pretrained(tmp_path / "saved")
    again = load_sdxl(tmp_path / "saved")
    assert isinstance(again.scheduler, EDMEulerScheduler)
    assert torch.equal(again.scheduler.sigmas, loaded.scheduler.sigmas)


def test_a_scheduler_that_is_not_drawn_here_is_named(sdxl_folder, tmp_path):
    folder = with_scheduler(sdxl_folder, tmp_path / "folder", prediction_type="sample")
    with pytest.raises(
        UnsuitableModelError, match=r"folder says EulerDiscreteScheduler with sample, and drawn"
    ):
        load_sdxl(folder)


def quantised(state, prefix=""):
    """Matrices of the UNet as fp8 with scales."""
    made = {}
    for name, value in state.items():
        if not name.startswith(prefix) or value.ndim != 2 or not name.endswith(".weight"):
            made[name] = value
            continue
        scale = value.abs().max() / 448
        made[name] = (value / scale).to(torch.float8_e4m3fn)
        made[name.removesuffix("weight") + "weight_scale"] = scale
    return made


@pytest.mark.parametrize("part", ["unet", "vae"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantised_weights_are_restored(pipeline, sdxl_folder, tmp_path, part, dtype):
    """In a single file and in a folder, as the numbers they stand for in the precision that was asked for."""
    prefix = {"unet": "model.diffusion_model.", "vae": "first_stage_model."}[part]
    file = write_single_file(pipeline, tmp_path / "model.safetensors")
    save_file(quantised(load_file(file), prefix), file)
    folder = shutil.copytree(sdxl_folder, tmp_path / "folder")
    weights = folder / part / "diffusion_pytorch_model.safetensors"
    save_file(quantised(load_file(weights)), weights)
    expected = getattr(pipeline, part).state_dict()
    for loaded in (load_sdxl(file, config=sdxl_folder, dtype=dtype), load_sdxl(folder, dtype=dtype)):
        found = getattr(loaded, part).state_dict()
        assert found.keys() == expected.keys()
        for key, value in found.items():
            assert value.dtype == dtype
            # fp8 rounds to 4 bits, bfloat16 to 8 once more.
            assert (value.float() - expected[key]).norm() <= 0.04 * expected[key].norm(), key


def test_quantised_text_encoders_are_named(pipeline, sdxl_folder, tmp_path):
    file = write_single_file(pipeline, tmp_path / "model.safetensors")
    save_file(quantised(load_file(file), "conditioner.embedders.0."), file)
    with pytest.raises(UnsuitableModelError, match=r"model\.safetensors has quantised weights beside UNet"):
        load_sdxl(file, config=sdxl_folder)
    folder = shutil.copytree(sdxl_folder, tmp_path / "folder")
    weights = folder / "text_encoder" / "model.safetensors"
    save_file(quantised(load_file(weights)), weights, {"format": "pt"})
    with pytest.raises(UnsuitableModelError, match="folder/text_encoder has quantised weights"):
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
