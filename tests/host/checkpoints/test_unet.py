"""IterComp's UNet from every kind of file, at tiny sizes, and what files that are not whole get."""

from __future__ import annotations

import json
from pathlib import Path

import comfy.model_management
import comfy.supported_models
import comfy.utils
import folder_paths
import pytest
import torch
from diffusers import UNet2DConditionModel
from host_cases import assert_same
from patched_weights import assert_equal, predict, weights_of
from safetensors.torch import load_file, save_file
from sparse_unet import WatchedMemory, write_sparse_unet
from tiny_comfyui import tiny_unet_config
from tiny_sdxl import UNET

from instance_composer.hosts.comfyui.checkpoints.unet import load_model, load_unet, unet_config
from instance_composer.hosts.comfyui.checkpoints.unet_files import DEMO, list_unets, unet_path
from instance_composer.models.sdxl.architecture import sdxl_structure
from instance_composer.models.sdxl.files import METADATA
from instance_composer.models.sdxl.names import unet_names
from instance_composer.models.weights import MAPPED, CheckpointError

# unet/config.json of SDXL base, what matters of it.
SDXL = {
    **UNET,
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}

# What a single file of a model smaller than SDXL carries.
CONFIG = {METADATA: json.dumps(UNET)}


@pytest.fixture(scope="module")
def diffusers_unet(tuned_weights):
    unet = UNet2DConditionModel(**UNET)
    unet.load_state_dict(tuned_weights)
    return unet


@pytest.fixture(scope="module")
def folder(diffusers_unet, tmp_path_factory):
    """The tuned UNet as IterComp is published: a diffusers folder in fp32."""
    path = tmp_path_factory.mktemp("diffusers") / "IterComp"
    diffusers_unet.save_pretrained(path / "unet")
    return path


def test_names_are_those_core_gives_a_full_sdxl():
    with torch.device("meta"):
        shapes = {
            name: tuple(value.shape) for name, value in UNet2DConditionModel(**SDXL).state_dict().items()
        }
    theirs = comfy.utils.unet_to_diffusers(tiny_unet_config(SDXL))
    found = unet_names(list(shapes))
    assert found == {name: theirs[name] for name in shapes}
    structure = sdxl_structure("SDXL", {found[name]: shape for name, shape in shapes.items()})
    config = unet_config(structure)
    known = comfy.supported_models.SDXL.unet_config
    assert {name: config[name] for name in known} == known
    assert config["transformer_depth_output"] == [0, 0, 0, 2, 2, 2, 10, 10, 10]
    assert config["channel_mult"] == [1, 2, 4]


@pytest.mark.parametrize("container", ["one", "shards", "bin", "bin shards", "unet alone", "half"])
def test_every_container_gives_the_same_model(
    folder, diffusers_unet, tuned, prompts, container, tmp_path, request
):
    path = tmp_path / "IterComp"
    if container == "one":
        path = folder
    elif container == "unet alone":
        diffusers_unet.save_pretrained(path)
    elif container == "half":
        # Where full precision is there it is taken, as for an exact delta.
        diffusers_unet.save_pretrained(path / "unet")
        save_file({}, path / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    else:
        size = "1MB" if "shards" in container else "10GB"
        options = {"max_shard_size": size, "safe_serialization": "bin" not in container}
        diffusers_unet.save_pretrained(path / "unet", **options)
        assert (len(list((path / "unet").iterdir())) > 3) == ("shards" in container)
    loaded = load_unet(str(path))
    assert_equal(weights_of(loaded), weights_of(tuned))
    if container == "one":
        assert_same(predict(loaded, prompts), predict(tuned, prompts), tolerance=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_are_cast_as_core_casts_them(folder, tuned, dtype):
    loaded = load_unet(str(folder), dtype)
    expected = {key: value.to(dtype) for key, value in tuned.model_state_dict("diffusion_model.").items()}
    found = loaded.model_state_dict("diffusion_model.")
    assert {value.dtype for value in found.values()} == {dtype}
    assert loaded.model.get_dtype() == dtype
    assert_equal({k: v.float() for k, v in found.items()}, {k: v.float() for k, v in expected.items()})


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_single_file_gives_the_same_weights(tuned, tmp_path, prefix):
    state = {
        f"{prefix}{key.removeprefix('diffusion_model.')}": value.clone()
        for key, value in tuned.model_state_dict("diffusion_model.").items()
    }
    if prefix:
        state["model_ema.decay"] = torch.zeros(1)
    save_file(state, tmp_path / "itercomp.safetensors", CONFIG)
    assert_equal(weights_of(load_unet(str(tmp_path / "itercomp.safetensors"))), weights_of(tuned))


def test_a_v_prediction_file_is_loaded_as_one(tuned, tmp_path):
    state = {
        f"model.{key}": value.clone() for key, value in tuned.model_state_dict("diffusion_model.").items()
    }
    save_file({**state, "v_pred": torch.zeros(0)}, tmp_path / "v.safetensors", CONFIG)
    loaded = load_unet(str(tmp_path / "v.safetensors"))
    assert loaded.model.model_type.name == "V_PREDICTION"
    assert tuned.model.model_type.name == "EPS"


def test_a_folder_is_loaded_as_what_its_scheduler_says(diffusers_unet, tmp_path):
    diffusers_unet.save_pretrained(tmp_path / "model" / "unet")
    (tmp_path / "model" / "scheduler").mkdir()
    said = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    (tmp_path / "model" / "scheduler" / "scheduler_config.json").write_text(json.dumps(said))
    loaded = load_unet(str(tmp_path / "model")).model
    assert loaded.model_type.name == "V_PREDICTION"
    assert loaded.model_sampling.zsnr


def test_a_file_is_loaded_as_what_its_metadata_says(tuned, tmp_path):
    state = {k[16:]: value.clone() for k, value in tuned.model_state_dict("diffusion_model.").items()}
    save_file(state, tmp_path / "v.safetensors", CONFIG | {"modelspec.prediction_type": "v"})
    assert load_unet(str(tmp_path / "v.safetensors")).model.model_type.name == "V_PREDICTION"


def test_quantised_weights_are_loaded_as_their_numbers(tuned, tmp_path, caplog):
    state, expected = {}, {}
    for key, value in tuned.model_state_dict("diffusion_model.").items():
        name = key.removeprefix("diffusion_model.")
        state[name] = expected[key] = value.clone()
        if value.ndim == 2:
            scale = value.abs().amax(dim=1, keepdim=True) / 127
            state[name] = (value / scale).round().to(torch.int8)
            state[name.removesuffix("weight") + "weight_scale"] = scale
            expected[key] = state[name].float() * scale
    save_file(state, tmp_path / "int8.safetensors", CONFIG)
    loaded = load_unet(str(tmp_path / "int8.safetensors"), torch.float32)
    assert_equal(weights_of(loaded), expected)
    assert "weights are quantised (int8) and were restored" in caplog.text
    assert "weights are not used" not in caplog.text


def test_weights_that_are_no_numbers_are_named(tuned, tmp_path):
    state = {k[16:]: value.clone() for k, value in tuned.model_state_dict("diffusion_model.").items()}
    state["middle_block.1.proj_in.weight"][0, 0] = torch.nan
    save_file(state, tmp_path / "nan.safetensors", CONFIG)
    with pytest.raises(CheckpointError, match=r"not finite in 1 weights: middle_block\.1\.proj_in\.weight"):
        load_unet(str(tmp_path / "nan.safetensors"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read where Linux tells it")
def test_memory_holds_the_model_in_its_new_precision_and_little_else(tmp_path):
    file = write_sparse_unet(tmp_path / "wide", width=64)
    size = file.stat().st_size / 2
    assert file.stat().st_size > 1.4 * MAPPED
    with WatchedMemory() as memory:
        load_unet(str(tmp_path / "wide"), torch.float16)
    assert memory.private < 1.15 * size
    # The largest tensors are read before pages are given back.
    assert memory.mapped < 1.1 * MAPPED


def test_the_loaded_model_can_be_made_again(folder, tuned):
    """ComfyUI asks for this in conditioning hooks and on several devices."""
    loaded = load_unet(str(folder))
    function, arguments = loaded.cached_patcher_init
    again = function(*arguments, disable_dynamic=True)
    assert again.model is not loaded.model
    assert_equal(weights_of(again), weights_of(tuned))


def test_an_interrupted_load_stops_and_the_next_one_is_whole(folder, tuned):
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        load_unet(str(folder))
    assert_equal(weights_of(load_unet(str(folder))), weights_of(tuned))


class Opens:
    """Pickled, it runs code when it is unpickled."""

    def __reduce__(self):
        return (open, ("/dev/null",))


def spoil(folder: Path, kind: str) -> None:
    """Damage a folder of two shards in one way."""
    unet = folder / "unet"
    first, second = sorted(unet.glob("*-of-*.safetensors"))[:2]
    if kind == "truncated":
        second.write_bytes(second.read_bytes()[:-1000])
    elif kind == "pointer":
        second.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n" * 20)
    elif kind == "missing shard":
        first.unlink()
    elif kind == "other shard":
        save_file({"other": torch.zeros(1)}, first)
    elif kind == "incomplete":
        index = unet / "diffusion_pytorch_model.safetensors.index.json"
        state = load_file(first)
        gone = [name for name in state if "ff.net" in name][:2]
        save_file({name: value for name, value in state.items() if name not in gone}, first)
        content = json.loads(index.read_text())
        content["weight_map"] = {n: f for n, f in content["weight_map"].items() if n not in gone}
        index.write_text(json.dumps(content))
    elif kind == "outside":
        index = unet / "diffusion_pytorch_model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {"conv_in.weight": "../../secret.safetensors"}}))
    else:
        for file in unet.glob("diffusion_pytorch_model*"):
            file.unlink()
        if kind == "code":
            torch.save({"conv_in.weight": Opens()}, unet / "diffusion_pytorch_model.bin")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", r"00002-of-\d+.safetensors cannot be read .* may be truncated"),
        ("pointer", r"00002-of-\d+.safetensors is a text file .* Git LFS pointer"),
        ("missing shard", r"1 of \d+ shards of .* are missing: .*00001-of-.* into IterComp/unet"),
        ("other shard", r"lack \d+ of its \d+ weights: .* another model or version"),
        ("incomplete", r"IterComp is incomplete: 2 weights of the UNet are missing: .*ff\.net"),
        ("outside", "names files outside its own folder"),
        ("code", r"diffusion_pytorch_model.bin was refused: .* could run code"),
        ("empty", r"IterComp/unet has no UNet weights: it holds config.json. Expected is"),
    ],
)
def test_a_damaged_folder_says_what_is_wrong(diffusers_unet, tmp_path, kind, message):
    folder = tmp_path / "IterComp"
    diffusers_unet.save_pretrained(folder / "unet", max_shard_size="1MB")
    spoil(folder, kind)
    with pytest.raises(CheckpointError, match=message):
        load_unet(str(folder))


@pytest.fixture
def model_folders(folder, tuned, tmp_path, monkeypatch):
    """ComfyUI's model folders with the tuned UNet in all three places."""
    entries = {
        kind: ([str(tmp_path / kind)], {".safetensors"})
        for kind in ("diffusers", "checkpoints", "diffusion_models", "loras", "embeddings")
    }
    for places, _ in entries.values():
        Path(places[0]).mkdir()
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", entries)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    (tmp_path / "diffusers" / "IterComp").symlink_to(folder)
    for part in ("vae", "transformer"):
        # Folders of other models, which are not offered.
        other = tmp_path / "diffusers" / "SD3" / part
        other.mkdir(parents=True)
        (other / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
        save_file({}, other / "diffusion_pytorch_model.safetensors")
    state = {k[16:]: value.clone() for k, value in tuned.model_state_dict("diffusion_model.").items()}
    save_file(state, tmp_path / "diffusion_models" / "one.safetensors", CONFIG)
    save_file(state, tmp_path / "checkpoints" / "two.safetensors", CONFIG)
    save_file({}, tmp_path / "secret.safetensors")
    return tmp_path


def test_the_loader_offers_folders_and_files(model_folders):
    assert list_unets() == ["IterComp/", "one.safetensors", "two.safetensors", DEMO]
    for name in list_unets():
        assert unet_path(name).exists()


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "SD3/vae/", "../diffusers/IterComp/", "absent", ""]
)
def test_names_that_lead_elsewhere_are_refused(model_folders, name):
    with pytest.raises(FileNotFoundError, match=r"There is no UNet .* Put the published folder"):
        unet_path(name)


def test_what_a_folder_does_not_have_is_said_where_it_is_needed(model_folders, tuned):
    model, clip, vae = load_model("IterComp/")
    assert_equal(weights_of(model), weights_of(tuned))
    assert clip.message == "IterComp/ has no CLIP. Load it with another node."
    assert vae.message == "IterComp/ has no VAE. Load it with another node."
    assert load_model("one.safetensors", text_and_vae=False)[1].message.startswith("CLIP was not loaded")


def test_a_small_model_in_one_file_without_its_sizes_is_refused(tuned, tmp_path):
    """A guess would load, and draw something else."""
    state = {k[16:]: value.clone() for k, value in tuned.model_state_dict("diffusion_model.").items()}
    save_file(state, tmp_path / "small.safetensors")
    with pytest.raises(CheckpointError, match="with 32 channels instead of 320, and nothing tells the size"):
        load_unet(str(tmp_path / "small.safetensors"))
