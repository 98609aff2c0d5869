"""Contents of files by names and shapes of real architectures, and IterComp's delta with files."""

from __future__ import annotations

import json
import shutil

import diffusers
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from single_file import write_single_file
from tiny_sdxl import SHALLOW_UNET, UNET

from instance_composer.cli import main
from instance_composer.models.sdxl.architecture import SDXL_DEPTHS, sdxl_structure
from instance_composer.models.sdxl.files import open_unet
from instance_composer.models.sdxl.names import unet_names
from instance_composer.models.weights import CheckpointError

SDXL = {
    **UNET,
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SMALL_TRANSFORMER = {"num_attention_heads": 1, "attention_head_dim": 8, "num_layers": 1}
OTHERS = {
    "SD 1.x": (
        diffusers.UNet2DConditionModel,
        {"cross_attention_dim": 768},
        r"the UNet of SD 1.x \(4 levels",
    ),
    "SD 2.x": (diffusers.UNet2DConditionModel, {"cross_attention_dim": 1024}, r"the UNet of SD 2.x"),
    "refiner": (
        diffusers.UNet2DConditionModel,
        {
            **UNET,
            "block_out_channels": (384, 768, 1536, 1536),
            "down_block_types": (
                "DownBlock2D",
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "DownBlock2D",
            ),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": 4,
            "attention_head_dim": (6, 12, 24, 24),
            "cross_attention_dim": 1280,
        },
        "the refiner of SDXL",
    ),
    "SSD-1B": (
        diffusers.UNet2DConditionModel,
        {**SDXL, "transformer_layers_per_block": (1, 2, 4)},
        r"distilled or altered SDXL: its transformer depths are \(0, 0, 2, 2, 4, 4\)",
    ),
    "one block a level": (
        diffusers.UNet2DConditionModel,
        SHALLOW_UNET,
        r"part of an SDXL UNet or a distilled one; it lacks input_blocks\.2\.0",
    ),
    "ControlNet": (diffusers.ControlNetModel, {}, "a ControlNet"),
    "SD 3": (diffusers.SD3Transformer2DModel, {**SMALL_TRANSFORMER, "caption_projection_dim": 8}, "SD 3"),
    "Flux": (
        diffusers.FluxTransformer2DModel,
        {**SMALL_TRANSFORMER, "num_single_layers": 1, "axes_dims_rope": (2, 2, 4)},
        "Flux",
    ),
    "VAE": (diffusers.AutoencoderKL, {}, r"an autoencoder \(VAE\)"),
}


def shapes_of(kind, config):
    """Original names and shapes of a real architecture, without its weights."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in kind(**config).state_dict().items()}
    names = unet_names(list(shapes))
    return {names[name]: shape for name, shape in shapes.items()}


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_are_named(name):
    kind, config, message = OTHERS[name]
    with pytest.raises(CheckpointError, match=f"x.safetensors holds .*{message}.*Needed is"):
        sdxl_structure("x.safetensors", shapes_of(kind, config))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["lora_unet_input_blocks_4_1_proj_in.lora_up.weight"], "a LoRA, which is loaded with Load LoRA"),
        (["unet.down_blocks.1.attentions.0.proj_in.lora_A.weight"], "a LoRA"),
        (["text_proj_model.latents", "pos_net.linears.0.weight"], "an IFAdapter, .* with Load IFAdapter"),
        (["image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"], "an IP-Adapter"),
        (["text_model.embeddings.position_embedding.weight"], "a text encoder"),
        (["a.weight", "b.weight"], "nothing this pack knows: a.weight, b.weight"),
        ([], "nothing this pack knows: none"),
    ],
)
def test_files_of_other_kinds_are_named(names, message, tmp_path):
    save_file({name: torch.zeros(2, 2) for name in names}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=f"x.safetensors holds {message}"):
        open_unet(tmp_path / "x.safetensors")


@pytest.mark.parametrize("inputs", [4, 9])
def test_sdxl_and_inpainting_sdxl_are_known(inputs):
    structure = sdxl_structure("x", shapes_of(UNet2DConditionModel, {**SDXL, "in_channels": inputs}))
    assert (structure.in_channels, structure.width, structure.multipliers) == (inputs, 320, (1, 2, 4))
    assert (structure.context, structure.vector, structure.depths) == (2048, 2816, SDXL_DEPTHS)


@pytest.fixture(scope="module")
def models(sdxl_folder, pipeline, tmp_path_factory):
    """Base as a single file, two models tuned from it as folders."""
    folder = tmp_path_factory.mktemp("models")
    write_single_file(pipeline, folder / "base.safetensors")
    # A file of a model smaller than SDXL tells its sizes.
    state, config = load_file(folder / "base.safetensors"), open_unet(sdxl_folder).config
    metadata = {"instance_composer.unet": json.dumps(config)}
    save_file(state, folder / "base.safetensors", metadata)
    for seed, name in enumerate(("itercomp", "community")):
        unet = UNet2DConditionModel.from_config(dict(pipeline.unet.config))
        generator = torch.Generator().manual_seed(seed)
        moved = {
            key: value * (1 + 0.05 * torch.randn(value.shape, generator=generator))
            for key, value in pipeline.unet.state_dict().items()
        }
        unet.load_state_dict(moved)
        unet.save_pretrained(folder / name / "unet", max_shard_size="1MB")
    return folder


def convert(*words):
    return main(["convert", *map(str, words)])


def weights_of(path):
    return {name: value.clone() for name, value in open_unet(path).weights.stream()}


def test_a_folder_becomes_one_file_of_half_the_size(models, tmp_path, capsys):
    target = tmp_path / "unet.safetensors"
    assert convert("unet", models / "itercomp", target, "--dtype", "fp16") == 0
    assert "weights of the UNet in itercomp" in capsys.readouterr().out
    before, after = weights_of(models / "itercomp"), load_file(target)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value.half()) for name, value in before.items())
    assert open_unet(target).head_dim == open_unet(models / "itercomp").head_dim


def test_the_delta_is_added_to_a_file_that_keeps_the_rest(models, tmp_path):
    target = tmp_path / "made.safetensors"
    sources = ("--itercomp", models / "itercomp", "--base", models / "base.safetensors")
    assert convert("delta", models / "base.safetensors", target, *sources) == 0
    before, after = load_file(models / "base.safetensors"), load_file(target)
    assert before.keys() == after.keys()
    for name, value in weights_of(models / "itercomp").items():
        torch.testing.assert_close(after[f"model.diffusion_model.{name}"], value, atol=1e-7, rtol=1e-6)
    others = [name for name in before if not name.startswith("model.diffusion_model.")]
    assert others
    assert all(torch.equal(before[name], after[name]) for name in others)


def test_strength_and_blocks_of_a_delta(models, tmp_path):
    target = tmp_path / "made.safetensors"
    sources = ("--itercomp", models / "itercomp", "--base", models / "base.safetensors")
    options = ("--strength", "-0.5", "--blocks", "middle")
    assert convert("delta", models / "community", target, *sources, *options) == 0
    made, start = weights_of(target), weights_of(models / "community")
    tuned, base = weights_of(models / "itercomp"), weights_of(models / "base.safetensors")
    for name, value in made.items():
        share = -0.5 if name.startswith("middle_block.") else 0.0
        expected = start[name] + share * (tuned[name] - base[name])
        torch.testing.assert_close(value, expected, atol=1e-7 if share else 0, rtol=1e-6 if share else 0)


def test_a_lora_of_two_files_has_a_table_of_its_errors(models, tmp_path, capsys):
    target, table = tmp_path / "lora.safetensors", tmp_path / "errors.csv"
    sources = ("--itercomp", models / "itercomp", "--base", models / "base.safetensors")
    assert convert("lora", target, *sources, "--rank", "3", "--dtype", "fp32", "--table", table) == 0
    assert "relative error of the whole delta: 0." in capsys.readouterr().out
    state = load_file(target)
    name = "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    key = f"lora_unet_{name[:-7].replace('.', '_')}"
    delta = weights_of(models / "itercomp")[name] - weights_of(models / "base.safetensors")[name]
    missed = (delta - state[f"{key}.lora_up.weight"] @ state[f"{key}.lora_down.weight"]).norm()
    (line,) = (line for line in table.read_text().splitlines() if line.startswith(name))
    assert float(line.split(",")[4]) == pytest.approx(float(missed), rel=1e-4)
    assert len(table.read_text().splitlines()) == 1 + len(open_unet(models / "itercomp").weights)


def test_diffusers_reads_the_lora(models, tmp_path, pipeline, sdxl_folder):
    """Matrices alone: diffusers has no place for the difference of norms and biases."""
    from instance_composer.hosts.diffusers_sdxl import load_sdxl

    target = tmp_path / "lora.safetensors"
    sources = ("--itercomp", models / "itercomp", "--base", models / "base.safetensors")
    options = ("--rank", "500", "--full", "--matrices-only", "--dtype", "fp32")
    assert convert("lora", target, *sources, *options) == 0
    own = load_sdxl(sdxl_folder)
    own.load_lora_weights(str(target))
    own.fuse_lora(lora_scale=1.0)
    layer = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    found = own.unet.get_submodule(layer).get_base_layer().weight
    tuned = weights_of(models / "itercomp")["middle_block.1.transformer_blocks.0.attn2.to_k.weight"]
    torch.testing.assert_close(found, tuned, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("unet", "absent", "a.safetensors"), "There is no file or folder absent"),
        (("unet", "{models}/itercomp", "a.bin"), "written as .safetensors, not as a.bin"),
        (
            ("lora", "a.safetensors", "--itercomp", "{models}/itercomp", "--base", "{models}/itercomp"),
            "have the same weights; nothing to extract",
        ),
        (
            (
                "lora",
                "a.safetensors",
                "--itercomp",
                "{models}/itercomp",
                "--base",
                "{models}/base.safetensors",
                "--rank",
                "0",
            ),
            "rank is 0",
        ),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    models, tmp_path, capsys, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    assert convert(*(word.format(models=models) for word in words)) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spelling", ["scale_weight", "weight_scale", "comfy_quant"])
def test_quantised_files_are_read_as_their_numbers(models, tmp_path, spelling, capsys):
    """By every action, with nothing left over of how they were stored."""
    before = weights_of(models / "base.safetensors")
    told = {"instance_composer.unet": json.dumps(open_unet(models / "base.safetensors").config)}
    stored = {}
    for name, value in before.items():
        stored[name] = value
        if value.ndim == 2 and name.endswith(".weight"):
            layer, scale = name.removesuffix(".weight"), value.abs().max() / 448
            stored[name] = (value / scale).to(torch.float8_e4m3fn)
            stored[f"{layer}.{'scale_weight' if spelling == 'scale_weight' else 'weight_scale'}"] = scale
            if spelling == "comfy_quant":
                mark = b'{"format": "float8_e4m3fn"}'
                stored[f"{layer}.comfy_quant"] = torch.tensor(list(mark), dtype=torch.uint8)
    if spelling == "scale_weight":
        stored["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    source, target = tmp_path / "scaled.safetensors", tmp_path / "out.safetensors"
    save_file(stored, source, told)
    assert convert("unet", source, target) == 0
    assert "quantised weights as fp32 (--dtype fp16 is half the size)" in capsys.readouterr().out
    whole = load_file(target)
    assert whole.keys() == before.keys()
    for name, value in whole.items():
        assert (value - before[name]).norm() <= 0.04 * before[name].norm(), name
    assert (
        convert("delta", source, target, "--itercomp", models / "itercomp", "--base", source, "--force") == 0
    )
    tuned = weights_of(models / "itercomp")
    for name, value in load_file(target).items():
        torch.testing.assert_close(value, tuned[name], atol=1e-5, rtol=1e-5)
    assert (
        convert("lora", target, "--itercomp", source, "--base", models / "base.safetensors", "--force") == 0
    )
    assert "Inf" not in capsys.readouterr().out


def test_what_a_model_predicts_stays_with_it(models, sdxl_folder, tmp_path):
    """From a folder's scheduler to the marks of a single file, and from one single file to the next."""
    folder = shutil.copytree(sdxl_folder, tmp_path / "velocity")
    file = folder / "scheduler" / "scheduler_config.json"
    said = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    file.write_text(json.dumps(json.loads(file.read_text()) | said))
    for source in (folder, folder / "unet"):
        assert convert("unet", source, tmp_path / "one.safetensors", "--force") == 0
        assert {"v_pred", "ztsnr"} < load_file(tmp_path / "one.safetensors").keys()
    for action in ("unet", "delta"):
        more = ["--itercomp", models / "itercomp", "--base", sdxl_folder] if action == "delta" else []
        for source in (folder, tmp_path / "one.safetensors"):
            assert convert(action, source, tmp_path / "two.safetensors", "--force", *more) == 0
            assert open_unet(tmp_path / "two.safetensors").prediction == open_unet(folder).prediction
    assert not {"v_pred", "ztsnr"} & set(open_unet(tmp_path / "two.safetensors").weights)
    assert convert("unet", sdxl_folder, tmp_path / "plain.safetensors") == 0
    assert not {"v_pred", "ztsnr"} & load_file(tmp_path / "plain.safetensors").keys()
