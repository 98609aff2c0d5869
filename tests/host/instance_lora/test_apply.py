"""LoRA for Instance on a tiny SDXL: Load LoRA where the instance is everything, nothing where it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import comfy.lora
import comfy.sd
import folder_paths
import node_helpers
import pytest
import torch
from comfyui_probe import evaluate
from host_cases import EFFECT, assert_same, noise, sample
from safetensors.torch import load_file, save_file

from instance_composer.hosts.comfyui.attention.errors import UnexplainedRowsError
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.comfyui.instance_lora.apply import lora_for_instance, loras_of, model_seen_from
from instance_composer.hosts.comfyui.regions.apply import draw_regions
from instance_composer.layout import Box, Instance, Layout
from instance_composer.models.errors import CheckpointError
from instance_composer.nodes.instance_lora import InstanceLora

LATENTS = noise(1, 16, 16)
WHOLE = Layout((Instance("all", Box(0.0, 0.0, 1.0, 1.0), "everything"),))
PAIR = Layout(
    (
        Instance("left", Box(0.0, 0.0, 0.5, 1.0), "a cat"),
        Instance("right", Box(0.5, 0.0, 1.0, 1.0), "a dog"),
    )
)
LINEAR = ("attn1.to_q", "attn1.to_v", "attn1.to_out.0", "attn2.to_q", "attn2.to_out.0", "ff.net.0.proj")
TEXT = ("attn2.to_k", "attn2.to_v")


@pytest.fixture(scope="module")
def loras(model, tmp_path_factory):
    """Files in models/loras, named by the layers they change."""
    folder = tmp_path_factory.mktemp("loras")
    folder_paths.add_model_folder_path("loras", str(folder))
    weights = model.get_model_object("diffusion_model").state_dict()
    generator = torch.Generator().manual_seed(5)

    def write(name, wanted):
        state = {}
        for key, weight in weights.items():
            layer = key.removesuffix(".weight")
            if key == layer or weight.ndim < 2 or not wanted(layer):
                continue
            down = torch.randn(2, *weight.shape[1:], generator=generator) / weight[0].numel() ** 0.5
            up = torch.randn(weight.shape[0], 2, *(1,) * (weight.ndim - 2), generator=generator)
            name_of = f"diffusion_model.{layer}"
            state[f"{name_of}.lora_down.weight"], state[f"{name_of}.lora_up.weight"] = down, up
            state[f"{name_of}.alpha"] = torch.tensor(1.0)
        assert state
        save_file(state, folder / name)

    write("linear.safetensors", lambda layer: layer.endswith((*LINEAR, "proj_in", "proj_out")))
    write("text.safetensors", lambda layer: layer.endswith(TEXT))
    write("convolutions.safetensors", lambda layer: layer.endswith(("in_layers.2", "out_layers.3", ".op")))
    write("time.safetensors", lambda layer: layer.endswith("emb_layers.1"))
    return folder


def with_whole_lora(model, file, strength=0.7):
    state = load_file(file)
    return comfy.sd.load_lora_for_models(model, None, state, strength, 0.0)[0]


@pytest.mark.parametrize("name", ["linear", "text", "convolutions"])
def test_an_instance_that_is_the_whole_picture_is_load_lora(model, prompts, loras, name):
    file = f"{name}.safetensors"
    bound, report = lora_for_instance(model, WHOLE, "all", file, 0.7)
    expected = evaluate(with_whole_lora(model, loras / file), *prompts, LATENTS, 500)
    assert_same(evaluate(bound, *prompts, LATENTS, 500), expected, 1e-4)
    assert (expected.positive - evaluate(model, *prompts, LATENTS, 500).positive).abs().max() > EFFECT
    assert file in report


def test_nothing_is_changed_without_strength_or_instance(model, prompts, loras):
    off = replace(PAIR, instances=(PAIR.instances[0], replace(PAIR.instances[1], enabled=False)))
    wrong = replace(PAIR, instances=(replace(PAIR.instances[0], box=Box(0.6, 0.1, 0.5, 0.5)),))
    without = (PAIR, "left", 0.0), (wrong, "left", 0.0), (PAIR, "3", 1.0), (off, "right", 1.0)
    for layout, instance, strength in without:
        bound, report = lora_for_instance(model, layout, instance, "linear.safetensors", strength)
        assert bound is model
        assert "Strength 0" in report or "No effect" in report


def test_the_model_stays_as_it_was_and_runs_repeat_themselves(model, prompts, loras):
    before = evaluate(model, *prompts, LATENTS, 500)
    bound, _ = lora_for_instance(model, PAIR, "left", "linear.safetensors")
    first, second = (evaluate(bound, *prompts, LATENTS, 500) for _ in range(2))
    assert_same(first, second, 0)
    assert_same(evaluate(model, *prompts, LATENTS, 500), before, 0)
    assert (first.positive - before.positive).abs().max() > EFFECT
    unet = model.get_model_object("diffusion_model")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in unet.modules())


def test_two_instances_with_one_lora_each_are_the_whole_picture_with_it(model, prompts, loras):
    """Split over all cells a LoRA of layers that mix no cells is the whole one."""
    bound = model
    for instance in ("left", "right"):
        bound, _ = lora_for_instance(bound, PAIR, instance, "text.safetensors", 0.7)
    assert len(loras_of(bound)) == 2
    assert len({one.regions for one in loras_of(bound)}) == 1
    expected = evaluate(with_whole_lora(model, loras / "text.safetensors"), *prompts, LATENTS, 500)
    assert_same(evaluate(bound, *prompts, LATENTS, 500), expected, 1e-4)


def test_where_regions_overlap_the_front_is_alone(model, prompts, loras):
    behind = Layout((WHOLE.instances[0], replace(WHOLE.instances[0], id="front")))
    hidden, _ = lora_for_instance(model, behind, "all", "linear.safetensors")
    assert_same(evaluate(hidden, *prompts, LATENTS, 500), evaluate(model, *prompts, LATENTS, 500), 0)


def test_it_goes_with_the_adapter_and_is_seen_from_a_part(applied, loras):
    model, positive, negative = applied
    right = Layout((Instance("right", Box(0.5, 0.0, 1.0, 1.0), "a dog"),))
    bound, _ = lora_for_instance(model, right, "1", "linear.safetensors")
    changed = evaluate(bound, positive, negative, LATENTS, 500)
    without = evaluate(model, positive, negative, LATENTS, 500)
    assert (changed.positive - without.positive).abs().max() > EFFECT
    left = model_seen_from(bound, (0.0, 0.0, 0.5, 1.0))
    assert_same(evaluate(left, positive, negative, LATENTS, 500), without, 0)
    everywhere, _ = lora_for_instance(model, WHOLE, "1", "linear.safetensors")
    assert_same(
        evaluate(model_seen_from(bound, (0.5, 0.0, 1.0, 1.0)), positive, negative, LATENTS, 500),
        evaluate(everywhere, positive, negative, LATENTS, 500),
    )


@pytest.mark.parametrize("reader", ["Draw Regions", "silhouettes"])
def test_captions_read_in_the_same_layers_are_not_taken_for_the_prompt(
    model, clip, adapter, prompts, loras, reader
):
    """They go through the layers of keys and values too, before or after the LoRA's part of a layer."""

    def read(model):
        if reader == "Draw Regions":
            return *draw_regions(model, clip, PAIR, prompts[0], prompt=0.5), prompts[1]
        return apply_ifadapter(model, clip, adapter, PAIR, *prompts, silhouettes_from=0.3)

    def tuned(model):
        return lora_for_instance(model, PAIR, "left", "text.safetensors", 0.7)[0]

    without = read(model)
    # Early enough for silhouettes to be read.
    after = evaluate(tuned(without[0]), *without[1:], LATENTS, 900)
    assert_same(after, evaluate(*read(tuned(model)), LATENTS, 900))
    assert (after.positive - evaluate(*without, LATENTS, 900).positive).abs().max() > EFFECT


def test_what_of_a_file_cannot_act_is_said(model, loras: Path):
    state = load_file(loras / "linear.safetensors") | load_file(loras / "time.safetensors")
    state["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = torch.zeros(4, 2)
    save_file(state, loras / "mixed.safetensors")
    report = InstanceLora.execute(model, PAIR, "2", "mixed.safetensors", 1.0).ui.as_dict()["text"][0]
    assert "instance right (a dog)" in report
    assert "text encoder part (1 tensors)" in report
    assert "time and size embeddings" in report
    assert "start and end" not in report
    left = replace(
        PAIR, instances=tuple(replace(one, id=i) for one, i in zip(PAIR.instances, "23", strict=True))
    )
    _, report = lora_for_instance(model, left, "2", "linear.safetensors")
    assert "instance 2 (a cat)" in report
    assert "2 was taken for the id of an instance (a cat); number 2 from the back is 3 (a dog)." in report
    early = replace(PAIR, instances=(PAIR.instances[0], replace(PAIR.instances[1], end=0.5)))
    _, report = lora_for_instance(model, early, "2", "linear.safetensors")
    assert "start and end are not used" in report
    assert "strength" not in report
    weak = replace(PAIR, instances=(PAIR.instances[0], replace(PAIR.instances[1], strength=0.5)))
    _, report = lora_for_instance(model, weak, "2", "linear.safetensors")
    assert "The instance's own strength (0.5) is not used." in report
    with pytest.raises(CheckpointError, match="no layer of this MODEL that can act on one instance"):
        lora_for_instance(model, PAIR, "2", "time.safetensors")
    with pytest.raises(FileNotFoundError):
        lora_for_instance(model, PAIR, "2", "missing.safetensors")


def test_a_part_of_the_picture_sampled_by_itself_is_refused(model, prompts, loras):
    bound, _ = lora_for_instance(model, PAIR, "left", "linear.safetensors")
    area = node_helpers.conditioning_set_values(prompts[0], {"area": (8, 8, 0, 0), "strength": 1.0})
    with pytest.raises(UnexplainedRowsError, match="a part of it is being sampled"):
        evaluate(bound, prompts[0] + area, prompts[1], LATENTS, 500)


def test_context_windows_over_the_picture_are_refused(model, prompts, loras):
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    bound, _ = lora_for_instance(model, PAIR, "left", "linear.safetensors")
    for dimension, length, refused in ((3, 16, True), (0, 2, False)):
        latents = {"samples": torch.zeros(1 if refused else 3, 4, 16, 24)}
        settings = (length, 0, "standard_static", 1, False, "pyramid", dimension, False)
        windows = ContextWindowsManualNode.execute(bound, *settings).result[0]
        if refused:
            with pytest.raises(UnexplainedRowsError, match="context windows over height or width"):
                sample((windows, *prompts), latents, steps=1)
        else:
            assert sample((windows, *prompts), latents, steps=1).isfinite().all()


def test_a_file_for_another_architecture_is_told_with_its_layer(model, loras: Path):
    state = load_file(loras / "linear.safetensors")
    layer = next(key for key in state if key.endswith("attn2.to_q.lora_down.weight"))
    state[layer] = torch.randn(2, state[layer].shape[1] // 2)
    save_file(state, loras / "other.safetensors")
    name = layer.removeprefix("diffusion_model.").removesuffix(".lora_down.weight")
    told = (
        rf"other\.safetensors .*another architecture .*\(TinySDXL\).* layer {name} matrices of .* do not fit"
    )
    with pytest.raises(CheckpointError, match=told):
        lora_for_instance(model, PAIR, "2", "other.safetensors")


def test_layers_that_the_model_does_not_have_are_counted(model, loras: Path):
    state = load_file(loras / "linear.safetensors")
    _, report = lora_for_instance(model, PAIR, "2", "linear.safetensors")
    assert "Left out" not in report
    parts = ("lora_up.weight", "lora_down.weight")
    extra = {f"lora_unet_down_blocks_9_attn.{part}": torch.zeros(2, 2) for part in parts}
    save_file(state | extra, loras / "more.safetensors")
    report = InstanceLora.execute(model, PAIR, "2", "more.safetensors", 1.0).ui.as_dict()["text"][0]
    assert "Left out: 2 tensors of layers that this MODEL does not have." in report
    save_file(extra, loras / "none.safetensors")
    with pytest.raises(CheckpointError, match=r"It has 2 tensors of layers that this MODEL does not have\."):
        lora_for_instance(model, PAIR, "2", "none.safetensors")


@pytest.mark.parametrize(
    ("begins", "down", "up"),
    [
        ("lora_unet_input_", ".lora_down.weight", ".lora_up.weight"),
        ("diffusion_model.", ".lora_A.weight", ".lora_B.weight"),
        ("lora_unet_down_", ".lora_down.weight", ".lora_up.weight"),
        ("lycoris_", ".lora_down.weight", ".lora_up.weight"),
        ("down_blocks.", "_lora.down.weight", "_lora.up.weight"),
        ("unet.down_blocks.", ".lora.down.weight", ".lora.up.weight"),
    ],
)
def test_names_of_several_trainers_are_of_layers_that_there_are(model, loras: Path, begins, down, up):
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    target = next(layer for layer in keys.values() if str(layer).endswith("attn2.to_q.weight"))
    name = next(name for name, layer in keys.items() if layer == target and name.startswith(begins))
    layer = target.removeprefix("diffusion_model.").removesuffix(".weight")
    weight = model.get_model_object("diffusion_model").get_submodule(layer).weight
    state = {name + down: torch.zeros(2, weight.shape[1]), name + up: torch.zeros(weight.shape[0], 2)}
    save_file(state | {f"{name}.alpha": torch.tensor(1.0)}, loras / "named.safetensors")
    _, report = lora_for_instance(model, PAIR, "2", "named.safetensors")
    assert "in 1 layers." in report
    assert "Left out" not in report
