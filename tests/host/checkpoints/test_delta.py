"""The delta of a tuned UNet on other models, and as a LoRA, on tiny models of SDXL's shape."""

from __future__ import annotations

import comfy.model_management
import comfy.sd
import comfy.supported_models
import folder_paths
import pytest
import torch
from comfy_extras.nodes_model_merging import ModelAdd, ModelSubtract
from diffusers import UNet2DConditionModel
from host_cases import assert_same, noise
from patched_weights import assert_equal, predict, weights_of
from tiny_comfyui import CPU, Patcher, random_like, tiny_model, tiny_unet_config
from tiny_sdxl import UNET

import nodes
from instance_composer.hosts.comfyui.attention.errors import ModelMismatchError
from instance_composer.hosts.comfyui.checkpoints.delta import apply_delta, extract_delta, extract_lora
from instance_composer.models.itercomp import ExtractionSettings, total_error
from instance_composer.models.sdxl.names import GROUPS


@pytest.fixture(scope="module")
def community(unet_weights):
    """A checkpoint trained from base by somebody else."""
    moves = random_like(unet_weights, seed=12)
    return tiny_model(UNET, {name: value + 0.05 * moves[name] for name, value in unet_weights.items()})


def test_the_delta_is_that_of_cores_merge_nodes(community, tuned, model):
    strength = -0.37
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


# As a LoRA.


def with_lora(model, file, strength=1.0):
    """A MODEL with a LoRA file, by core's own node."""
    return nodes.LoraLoaderModelOnly().load_lora_model_only(model, file.name, strength)[0]


@pytest.fixture
def output(tmp_path, monkeypatch):
    """ComfyUI's output folder, which its server looks for LoRAs in too."""
    folder = tmp_path / "output"
    monkeypatch.setattr(folder_paths, "output_directory", str(folder))
    entries = {**folder_paths.folder_names_and_paths, "loras": ([str(folder / "loras")], {".safetensors"})}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", entries)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return folder


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


def test_full_rank_reproduces_the_tuned_model(tuned, model, output, caplog):
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


def test_the_reported_errors_are_those_of_the_written_file(tuned, model, output):
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
