"""IterComp's UNet, its delta on other models, and the delta as a LoRA, on tiny models of SDXL's shape."""

from __future__ import annotations

import json
from pathlib import Path

import comfy.lora
import comfy.model_management
import comfy.sd
import comfy.supported_models
import comfy.utils
import folder_paths
import pytest
import torch
from comfy_extras.nodes_model_merging import ModelAdd, ModelSubtract
from comfyui_probe import evaluate
from diffusers import UNet2DConditionModel
from host_cases import assert_same, noise
from safetensors.torch import load_file, save_file
from sparse_unet import WatchedMemory, write_sparse_unet
from tiny_comfyui import CPU, Patcher, random_like, tiny_model, tiny_unet_config
from tiny_sdxl import UNET

import nodes
from instance_composer.hosts.comfyui.delta import apply_delta, extract_delta, extract_lora
from instance_composer.hosts.comfyui.layers import ModelMismatchError
from instance_composer.hosts.comfyui.unet import load_model, load_unet, unet_config
from instance_composer.hosts.comfyui.unet_files import list_unets, unet_path
from instance_composer.models.itercomp import (
    GROUPS,
    ExtractionSettings,
    sdxl_structure,
    total_error,
    unet_names,
)
from instance_composer.models.itercomp.files import METADATA
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
def tuned_weights(unet_weights):
    """The tiny UNet after a little tuning: every weight moved by a few per cent."""
    moves = random_like(unet_weights, seed=11)
    return {name: value + 0.03 * moves[name] for name, value in unet_weights.items()}


@pytest.fixture(scope="module")
def tuned(tuned_weights):
    return tiny_model(UNET, tuned_weights)


@pytest.fixture(scope="module")
def community(unet_weights):
    """A checkpoint trained from base by somebody else."""
    moves = random_like(unet_weights, seed=12)
    return tiny_model(UNET, {name: value + 0.05 * moves[name] for name, value in unet_weights.items()})


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


def weights_of(patcher):
    """What a MODEL computes with: its weights with their patches."""
    state = patcher.model_state_dict("diffusion_model.")
    return {key: patcher.patch_weight_to_device(key, device_to=CPU, return_weight=True) for key in state}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    differing = [key for key in found if not torch.equal(found[key], expected[key])]
    assert not differing


def predict(model, prompts):
    return evaluate(model, *prompts, noise(1, 16, 16), 500)


# Loading.


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
    assert list_unets() == ["IterComp/", "one.safetensors", "two.safetensors"]
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
    assert load_model("one.safetensors", companions=False)[1].message.startswith("CLIP was not loaded")


# The delta.


@pytest.mark.parametrize("strength", [0.37, -1.0])
def test_the_delta_is_that_of_cores_merge_nodes(community, tuned, model, strength):
    difference = ModelSubtract().merge(tuned, model, strength)[0]
    merged = ModelAdd().merge(community, difference)[0]
    assert_equal(weights_of(apply_delta(community, tuned, model, strength)), weights_of(merged))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_all_of_it_on_base_is_the_tuned_model(unet_weights, tuned_weights, dtype):
    base, tuned = (tiny_model(UNET, weights, dtype) for weights in (unet_weights, tuned_weights))
    found, expected = weights_of(apply_delta(base, tuned, base)), weights_of(tuned)
    for key, value in found.items():
        # One rounding of the sum in float32, and one to the dtype.
        room = torch.finfo(torch.float32).eps * value.float().abs().max() + 1e-12
        step = torch.finfo(dtype).eps * expected[key].float().abs() if dtype != torch.float32 else 0
        assert ((value.float() - expected[key].float()).abs() <= room + step).all(), key
    if dtype == torch.float16:
        same = sum(int((found[key] == expected[key]).sum()) for key in found)
        assert same / sum(value.numel() for value in found.values()) > 0.9999


def test_strength_0_changes_nothing(community, tuned, model, prompts):
    patched = apply_delta(community, tuned, model, 0.0)
    assert patched is not community
    assert (patched.patches, patched.patches_uuid) == ({}, community.patches_uuid)
    assert_same(predict(patched, prompts), predict(community, prompts), tolerance=0)


def test_input_middle_and_output_share_all_weights(community, tuned, model):
    patched = {group: set(apply_delta(community, tuned, model, 1.0, group).patches) for group in GROUPS}
    parts = [patched[group] for group in ("input", "middle", "output")]
    assert set.union(*parts) == patched["all"] == set(model.model_state_dict("diffusion_model."))
    assert sum(map(len, parts)) == len(patched["all"])
    assert all(0 < len(part) < len(patched["all"]) for part in parts)
    assert patched["cross-attention"] == {key for key in patched["all"] if ".attn2.to_" in key}

    chained = community
    for group in ("input", "middle", "output"):
        chained = apply_delta(chained, tuned, model, 0.7, group)
    assert_equal(weights_of(chained), weights_of(apply_delta(community, tuned, model, 0.7)))


def test_a_group_leaves_the_others_as_they_are(community, tuned, model):
    found, before = weights_of(apply_delta(community, tuned, model, 1.0, "middle")), weights_of(community)
    changed = {key for key in found if not torch.equal(found[key], before[key])}
    assert changed == {key for key in found if ".middle_block." in key}


def test_loras_and_the_delta_add_up(community, tuned, model):
    key = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_q"
    rows, columns = community.model_state_dict()[f"{key}.weight"].shape
    up, down = 0.1 * noise(1, rows, 4)[0, 0], 0.1 * noise(1, 4, columns)[0, 1]
    name = "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_q"
    lora = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    before = comfy.sd.load_lora_for_models(community, None, lora, 0.8, 0)[0]
    after = comfy.sd.load_lora_for_models(apply_delta(community, tuned, model, 0.5), None, lora, 0.8, 0)[0]
    (start, goal, place) = (one.model_state_dict()[f"{key}.weight"] for one in (model, tuned, community))
    expected = place + 0.5 * (goal - start) + 0.8 * up @ down
    for patched in (apply_delta(before, tuned, model, 0.5), after):
        torch.testing.assert_close(weights_of(patched)[f"{key}.weight"], expected, atol=1e-6, rtol=0)


def test_any_number_of_strengths_shares_the_two_models(community, tuned, model):
    owned = {
        value.untyped_storage().data_ptr()
        for one in (tuned, model)
        for value in one.model_state_dict("diffusion_model.").values()
    }
    for strength in (0.3, 0.9):
        patched = apply_delta(community, tuned, model, strength)
        assert patched.model is community.model
        for ((_, (goal, (_, start, *_)), *_),) in patched.patches.values():
            for tensor in (goal[0], start[0][0]):
                assert tensor.untyped_storage().data_ptr() in owned


def test_sampling_with_the_delta_leaves_all_three_as_they_were(community, tuned, model, prompts):
    models = (community, tuned, model)
    before = [{key: value.clone() for key, value in weights_of(one).items()} for one in models]
    plain = predict(community, prompts)
    changed = predict(apply_delta(community, tuned, model), prompts)
    assert (changed.positive - plain.positive).abs().max() > 0.05
    assert_same(predict(community, prompts), plain, tolerance=0)
    for one, weights in zip(models, before, strict=True):
        assert one.patches == {}
        assert_equal(weights_of(one), weights)


def test_the_delta_goes_onto_the_latent_channels_of_an_inpainting_model(tuned, model):
    wide = {**UNET, "in_channels": 9}
    inpainting = tiny_model(wide, random_like(UNet2DConditionModel(**wide).state_dict(), seed=3))
    before, found = weights_of(inpainting), weights_of(apply_delta(inpainting, tuned, model))
    key = "diffusion_model.input_blocks.0.0.weight"
    delta = tuned.model_state_dict()[key] - model.model_state_dict()[key]
    assert torch.equal(found[key][:, 4:], before[key][:, 4:])
    torch.testing.assert_close(found[key][:, :4] - before[key][:, :4], delta, atol=1e-6, rtol=0)


def test_models_that_do_not_fit_are_named(community, tuned, model):
    config = {**tiny_unet_config(UNET), "num_heads": -1, "num_head_channels": 16}
    settings = comfy.supported_models.SDXLRefiner(config)
    settings.set_inference_dtype(torch.float32, None)
    refiner = Patcher(settings.get_model({}, "", CPU), load_device=CPU, offload_device=CPU)
    for place, trio in {
        "model": (refiner, tuned, model),
        "itercomp": (community, refiner, model),
        "base": (community, tuned, refiner),
    }.items():
        with pytest.raises(ModelMismatchError, match=f"The MODEL at {place} is SDXLRefiner. .* SDXL alone"):
            apply_delta(*trio)
    distilled = {**UNET, "transformer_layers_per_block": (1, 1, 1)}
    small = tiny_model(distilled, UNet2DConditionModel(**distilled).state_dict())
    with pytest.raises(ModelMismatchError, match=r"at model and itercomp .* \d+ weights have .*SSD-1B"):
        apply_delta(small, tuned, model)
    with pytest.raises(ModelMismatchError, match="at itercomp and base are not of the same plan"):
        apply_delta(model, small, model)


@pytest.mark.parametrize(("strength", "blocks"), [(2.1, "all"), (float("nan"), "all"), (1.0, "down")])
def test_settings_that_are_not_offered_are_refused(community, tuned, model, strength, blocks):
    with pytest.raises(ValueError, match=r"strength is .*; it goes from -2 to 2|blocks is 'down'; it is one"):
        apply_delta(community, tuned, model, strength, blocks)


# The delta as a LoRA.


def with_lora(model, file, strength=1.0):
    """A MODEL with a LoRA file, by core's own node."""
    Path(folder_paths.folder_names_and_paths["loras"][0][0], "x.safetensors").write_bytes(file.read_bytes())
    loader = nodes.LoraLoaderModelOnly()
    return loader.load_lora_model_only(model, "x.safetensors", strength)[0]


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    return tmp_path / "output"


def settings_of(**changes):
    return {
        "rank": 4096,
        "energy": 1.0,
        "method": "full",
        "vectors": True,
        "precision": "fp32",
        "on_cpu": True,
        "prefix": "loras/itercomp",
        **changes,
    }


def test_full_rank_reproduces_the_tuned_model(tuned, model, output, model_folders, caplog):
    report = extract_lora(tuned, model, **settings_of())
    file = output / "loras" / "itercomp_00001_.safetensors"
    assert report.startswith("loras/itercomp_00001_.safetensors: ")
    found, expected = weights_of(with_lora(model, file)), weights_of(tuned)
    assert "not loaded" not in caplog.text
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], atol=2e-6, rtol=0)
    # And nothing but the delta: half of it is half way.
    half = weights_of(with_lora(model, file, 0.5))
    key = "diffusion_model.middle_block.0.in_layers.2.weight"
    middle = (expected[key] + model.model_state_dict()[key]) / 2
    torch.testing.assert_close(half[key], middle, atol=2e-6, rtol=0)


def test_the_reported_errors_are_those_of_the_written_file(tuned, model, output, model_folders):
    report = extract_lora(tuned, model, **settings_of(rank=6, method="randomized", precision="fp16"))
    file = output / "loras" / "itercomp_00001_.safetensors"
    found, goal, start = (weights_of(one) for one in (with_lora(model, file), tuned, model))
    table = file.with_suffix(".csv").read_text().splitlines()[1:]
    assert len(table) == len(found)
    reported = {line.split(",")[0]: float(line.split(",")[4]) for line in table}
    for name, error in reported.items():
        key = f"diffusion_model.{name}"
        measured = float((found[key] - goal[key]).norm())
        # Adding the delta to a weight rounds once more than the report does.
        rounding = 1e-6 * float(goal[key].norm())
        assert measured == pytest.approx(error, abs=rounding, rel=1e-3), name
    whole = sum(value**2 for value in reported.values()) ** 0.5
    size = sum(float((goal[key] - start[key]).norm()) ** 2 for key in goal) ** 0.5
    assert f"relative error of the whole delta: {whole / size:.4f}" in report


def test_without_norms_and_biases_only_matrices_are_kept(tuned, model):
    state, rows = extract_delta(tuned, model, ExtractionSettings(rank=2, vectors=False), CPU)
    assert {name.split(".", 1)[1] for name in state} == {"lora_up.weight", "lora_down.weight", "alpha"}
    assert {row.relative for row in rows if len(row.shape) == 1} == {1.0}
    assert 0 < total_error(rows) < 1


def test_the_delta_of_patched_models_is_that_of_what_they_compute_with(community, tuned, model):
    """A delta put on one model and taken off again by extraction is the delta."""
    short = ExtractionSettings(rank=1, dtype=torch.float32)
    direct, expected = extract_delta(tuned, model, short, CPU)
    patched, found = extract_delta(apply_delta(community, tuned, model), community, short, CPU)
    assert [row.name for row in found] == [row.name for row in expected]
    assert [row.size for row in found] == pytest.approx([row.size for row in expected], rel=1e-4)
    for name in direct:
        if name.endswith((".diff", ".diff_b")):
            torch.testing.assert_close(patched[name], direct[name], atol=1e-6, rtol=0)


def test_a_small_model_in_one_file_without_its_sizes_is_refused(tuned, tmp_path):
    """A guess would load, and draw something else."""
    state = {k[16:]: value.clone() for k, value in tuned.model_state_dict("diffusion_model.").items()}
    save_file(state, tmp_path / "small.safetensors")
    with pytest.raises(CheckpointError, match="with 32 channels instead of 320, and nothing tells the size"):
        load_unet(str(tmp_path / "small.safetensors"))


def test_the_same_model_twice_has_nothing_to_extract(model):
    with pytest.raises(ModelMismatchError, match="have the same weights; there is nothing to extract"):
        extract_delta(model, model, ExtractionSettings(), CPU)


def test_an_extraction_can_be_interrupted(tuned, model):
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        extract_delta(tuned, model, ExtractionSettings(), CPU)


def test_a_lora_is_written_inside_the_output_folder(tuned, model, output):
    with pytest.raises(Exception, match="outside the output folder"):
        extract_lora(tuned, model, **settings_of(prefix="../../elsewhere"))
