"""Bad input: an error in the user's words, and nothing half-applied."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import comfy.supported_models
import folder_paths
import pytest
import torch
from comfyui_probe import evaluate
from diffusers import UNet2DConditionModel
from host_cases import noise
from tiny_comfyui import CPU, Patcher, tiny_model, tiny_unet_config
from tiny_sdxl import UNET

from instance_composer.hosts.comfyui.attention.errors import ModelMismatchError
from instance_composer.hosts.comfyui.attention.unet.patch import copies_of_chunks
from instance_composer.hosts.comfyui.attention.wrappers import bind
from instance_composer.hosts.comfyui.attention_maps.record import record_attention
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.comfyui.ifadapter.folder import adapter_path, list_adapters, register_folder
from instance_composer.hosts.comfyui.ifadapter.weights import load_adapter
from instance_composer.hosts.comfyui.inputs import WrongInputError, checked
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.hosts.comfyui.regions.apply import draw_regions
from instance_composer.layout import (
    Box,
    Instance,
    Layout,
    LayoutError,
)
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.weights import CheckpointError
from instance_composer.nodes.loaders import LoadIFAdapter


def apply(model, clip, adapter, layout, prompts, **settings):
    return apply_ifadapter(model, clip, adapter, layout, *prompts, **settings)


def other_architecture(kind):
    """A MODEL of another architecture at toy size, of ComfyUI's own classes."""
    config = {**tiny_unet_config(UNET), "num_heads": -1}
    if kind == "SD15":
        sizes = {"adm_in_channels": None, "num_classes": None, "use_linear_in_transformer": False}
        settings = comfy.supported_models.SD15({**config, **sizes, "num_heads": 2, "num_head_channels": -1})
    elif kind == "SDXLRefiner":
        settings = comfy.supported_models.SDXLRefiner({**config, "num_head_channels": 16})
    elif kind == "SD3":
        sizes = {
            "in_channels": 16,
            "patch_size": 2,
            "depth": 1,
            "pos_embed_max_size": 8,
            "adm_in_channels": 8,
        }
        context = {"target": "torch.nn.Linear", "params": {"in_features": 8, "out_features": 64}}
        settings = comfy.supported_models.SD3({**sizes, "context_embedder_config": context})
    else:
        sizes = {"in_channels": 16, "vec_in_dim": 8, "context_in_dim": 8, "hidden_size": 64, "mlp_ratio": 1.0}
        blocks = {"num_heads": 2, "depth": 1, "depth_single_blocks": 1, "axes_dim": [8, 12, 12], "theta": 100}
        more = {
            "out_channels": 16,
            "qkv_bias": True,
            "guidance_embed": False,
            "patch_size": 2,
            "txt_ids_dims": [],
        }
        settings = comfy.supported_models.Flux({**sizes, **blocks, **more, "image_model": "flux"})
    settings.set_inference_dtype(torch.float32, None)
    return Patcher(settings.get_model({}, "", CPU), load_device=CPU, offload_device=CPU)


@pytest.mark.parametrize("kind", ["SD15", "SDXLRefiner", "SD3", "Flux"])
def test_another_architecture_is_named(clip, adapter, layout, prompts, kind):
    with pytest.raises(
        ModelMismatchError, match=rf"This MODEL is {kind}\. An IFAdapter works with SDXL alone"
    ):
        apply(other_architecture(kind), clip, adapter, layout, prompts)


def test_a_model_whose_attention_cannot_be_reached_is_named():
    sizes = {"cond_seq_dim": 48, "n_layers": 1, "n_double_layers": 1, "max_seq": 64}
    settings = comfy.supported_models.AuraFlow(sizes)
    settings.set_inference_dtype(torch.float32, None)
    model = Patcher(settings.get_model({}, "", CPU), load_device=CPU, offload_device=CPU)
    with pytest.raises(ModelMismatchError, match=r"This MODEL is AuraFlow, whose attention .* cannot reach"):
        bind(model)


def test_an_sdxl_with_fewer_layers_says_which_are_missing(clip, adapter, layout, prompts):
    distilled = {**UNET, "transformer_layers_per_block": (1, 1, 1)}
    weights = UNet2DConditionModel(**distilled).state_dict()
    message = r"This UNet has 11 cross-attention layers and lacks \d of the 8 .*distilled SDXL"
    with pytest.raises(ModelMismatchError, match=message):
        apply(tiny_model(distilled, weights), clip, adapter, layout, prompts)


def test_an_adapter_of_other_sizes_says_what_differs(model, clip, adapter, layout, prompts):
    state = dict(adapter.model.state_dict())
    for key, value in state.items():
        if key.endswith(("q_norm.weight", "k_norm.weight")) and key.startswith("adapter_modules"):
            state[key] = value.repeat(2)
    wider = Patcher(IFAdapter.from_state_dict(state), load_device=CPU, offload_device=CPU)
    message = "does not fit this UNet: .* has 4 heads of 16 .* trained for 2 heads of 32"
    with pytest.raises(ModelMismatchError, match=message):
        apply(model, clip, wider, layout, prompts)


@pytest.mark.parametrize(
    "instances", [(), (Instance("a", Box(0, 0, 1, 1), "  "),), None], ids=["none", "blank", "off"]
)
def test_a_layout_with_nothing_to_place_gives_the_plain_picture(
    model, clip, adapter, layout, prompts, instances
):
    if instances is None:
        instances = tuple(replace(instance, enabled=False) for instance in layout.instances)
    applied = apply(model, clip, adapter, Layout(instances), prompts)
    assert all(one is other for one, other in zip(applied, (model, *prompts), strict=True))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (Box(0.5, 0.2, 0.1, 0.8), "is inverted"),
        (Box(0.5, 0.2, 0.5, 0.8), "has no area"),
        (Box(1.2, 0.2, 1.5, 0.8), "lies outside the canvas"),
        (Box(float("nan"), 0.2, 0.5, 0.8), "not a number"),
        (Box(10, 20, 300, 400), "as if it were in pixels"),
    ],
)
def test_impossible_boxes_name_their_instance(model, clip, adapter, layout, prompts, box, message):
    broken = Layout((*layout.instances, Instance("broken", box, "a broken thing")))
    with pytest.raises(LayoutError, match=rf'Instance "broken" \("a broken thing"\), box: .*{message}'):
        apply(model, clip, adapter, broken, prompts)


def test_duplicate_ids_are_refused(model, clip, adapter, layout, prompts):
    with pytest.raises(LayoutError, match='2 instances have the id "book"'):
        apply(model, clip, adapter, Layout(layout.instances[:1] * 2), prompts)


def test_captions_left_out_and_too_many_instances_are_warned_about(model, clip, adapter, prompts, caplog):
    edges = [n / 4 for n in range(5)]
    boxes = [Box(x, y, x + 0.25, y + 0.25) for x in edges[:4] for y in edges[:4]]
    many = [Instance(f"thing {n}", box, f"thing {n}") for n, box in enumerate(boxes)]
    blank = Instance("blank", Box(0, 0, 0.5, 0.5), "")
    apply(model, clip, adapter, Layout((*many[:11], blank)), prompts)
    text = caplog.text
    assert 'Instance "blank" (no caption), caption: is empty' in text
    assert "more instances than the adapter saw in training, got 11" in text


def test_a_hundred_instances_can_be_placed(model, clip, adapter, prompts):
    boxes = [Box(x / 10, y / 10, (x + 1) / 10, (y + 1) / 10) for x in range(10) for y in range(10)]
    hundred = Layout(tuple(Instance(str(n), box, f"tile {n}") for n, box in enumerate(boxes)))
    trio = apply(model, clip, adapter, hundred, prompts)
    assert evaluate(*trio, noise(1, 16, 16), 500).positive.isfinite().all()


@pytest.mark.parametrize("window", [(0.6, 0.3), (0.5, 0.5), (-0.1, 1.0), (0.0, 1.2)])
def test_an_impossible_window_is_refused_even_at_strength_0(model, clip, adapter, layout, prompts, window):
    for strength in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"start is .* and end is .*: both are fractions"):
            apply(model, clip, adapter, layout, prompts, strength=strength, start=window[0], end=window[1])


def test_an_impossible_window_names_a_way_out_that_the_node_has(model, clip, adapter, layout, prompts):
    window = {"start": 0.5, "end": 0.5}
    ways = (
        (
            lambda: apply(model, clip, adapter, layout, prompts, **window),
            "switch the adapter off, set strength",
        ),
        (
            lambda: draw_regions(model, clip, layout, prompts[0], **window),
            "draw no regions, set strength to 0",
        ),
        (
            lambda: apply_concentration(model, prompts[0], (), Concentration(**window)),
            "concentrate nothing, set strength to 0",
        ),
        # It has neither an adapter nor a strength.
        (lambda: record_attention(model, PromptEntities("", ()), "all", **window), "whole run, set 0 and 1"),
    )
    for attempt, way_out in ways:
        with pytest.raises(ValueError, match=rf"start is 0\.5 and end is 0\.5: .* {way_out}") as refused:
            attempt()
        assert ("adapter" in str(refused.value)) == ("adapter" in way_out)


def test_a_refused_layout_leaves_model_and_prompts_alone(model, clip, adapter, layout, prompts):
    wrappers, values = dict(model.wrappers), [dict(prompt[0][1]) for prompt in prompts]
    with pytest.raises(LayoutError):
        apply(model, clip, adapter, Layout(layout.instances[:1] * 2), prompts)
    assert model.wrappers == wrappers
    assert [set(prompt[0][1]) for prompt in prompts] == [set(value) for value in values]


class Opens:
    """Pickled, it runs code when it is unpickled."""

    def __reduce__(self):
        return (open, ("/dev/null",))


def broken_files(adapter_file: Path, folder: Path):
    whole = adapter_file.read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    IFAdapter.load(adapter_file).save(folder / "whole.bin")
    zipped = (folder / "whole.bin").read_bytes()
    (folder / "truncated.bin").write_bytes(zipped[: len(zipped) // 2])
    torch.save({"text_proj_model": Opens()}, folder / "code.bin")
    torch.save({"conv_in.weight": torch.zeros(2)}, folder / "unet.bin")
    state = torch.load(folder / "whole.bin", weights_only=True)
    state["adapter_modules"].pop(next(iter(state["adapter_modules"])))
    torch.save(state, folder / "incomplete.bin")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("truncated.safetensors", "may be truncated"),
        ("truncated.bin", "may be truncated"),
        ("code.bin", "could run code"),
        ("unet.bin", "is not an IFAdapter file"),
        ("incomplete.bin", "1 of .* weights are missing: adapter_modules"),
    ],
)
def test_files_that_are_not_a_whole_ifadapter(adapter_file, tmp_path, name, message):
    broken_files(adapter_file, tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_adapter(tmp_path / name)


@pytest.fixture
def model_folder(adapter_file, tmp_path, monkeypatch):
    """models/ifadapter with one adapter, and a secret beside it."""
    entries = dict(folder_paths.folder_names_and_paths)
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", entries)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    entries.pop("ifadapter", None)
    folder = tmp_path / "ifadapter"
    folder.mkdir()
    (folder / "tiny.safetensors").write_bytes(adapter_file.read_bytes())
    (folder / "notes.txt").write_text("not a model")
    (tmp_path / "secret.safetensors").write_bytes(b"secret")
    return folder


def test_the_model_folder_lists_adapters_alone(model_folder):
    register_folder()
    assert list_adapters() == ["tiny.safetensors"]
    assert Path(adapter_path("tiny.safetensors")) == model_folder / "tiny.safetensors"


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "..\\secret.safetensors", "absent.bin", ""]
)
def test_paths_outside_the_model_folder_are_refused(model_folder, name):
    register_folder()
    with pytest.raises(FileNotFoundError, match="There is no IFAdapter file"):
        adapter_path(name)


def test_an_adapter_is_found_in_the_other_format_too(model_folder):
    """Workflows of those who converted the file, and of those who did not, run for one another."""
    register_folder()
    assert Path(adapter_path("tiny.bin")) == model_folder / "tiny.safetensors"
    assert LoadIFAdapter.validate_inputs("tiny.bin") is True
    assert LoadIFAdapter.validate_inputs(None) is True, "a link brings the name when the graph runs"
    assert "There is no IFAdapter file 'tiny.pt'" in LoadIFAdapter.validate_inputs("tiny.pt")
    assert "There is no IFAdapter file" in LoadIFAdapter.validate_inputs("../secret.bin")


def test_an_adapter_in_the_other_format_is_loaded_by_the_node_as_comfyui_has_it(model_folder):
    """The list names what is there; the node itself says that more is right."""
    register_folder()
    node = checked(LoadIFAdapter)
    (loaded,) = node.EXECUTE_NORMALIZED(ifadapter_name="tiny.bin").result
    assert isinstance(loaded.model, IFAdapter)
    (model_folder / "tiny.safetensors").unlink()
    loaded.model.save(model_folder / "tiny.bin")
    folder_paths.filename_list_cache.clear()
    assert isinstance(node.EXECUTE_NORMALIZED(ifadapter_name="tiny.safetensors").result[0].model, IFAdapter)
    with pytest.raises(FileNotFoundError, match=r"There is no IFAdapter file 'absent\.bin'"):
        node.EXECUTE_NORMALIZED(ifadapter_name="absent.bin")
    with pytest.raises(WrongInputError, match="ifadapter_name needs one of: tiny"):
        node.EXECUTE_NORMALIZED(ifadapter_name=3)


def test_a_folder_from_extra_model_paths_stays_and_gets_our_extensions(model_folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.bin").write_bytes(b"")
    folder_paths.add_model_folder_path("ifadapter", str(elsewhere))
    register_folder()
    assert sorted(list_adapters()) == ["other.bin", "tiny.safetensors"]


@pytest.mark.parametrize(
    ("labels", "rows", "options", "expected"),
    [
        ([1, 0], 4, {}, [1, 1]),
        ([1, 0], 8, {"cond_or_uncond_couple": [1, 0, 0, 0]}, [1, 3]),
        ([0, 1], 8, {"cond_or_uncond_hook_couple": [0, 0, 0, 1]}, [3, 1]),
        ([2, 1, 0], 14, {"cond_or_uncond_couple": [0, 0, 0, 1, 0, 0, 0]}, [3, 1, 3]),
        ([1, 0], 8, {"cond_or_uncond_couple": [1, 1, 0, 0]}, [2, 2]),
        ([1, 0], 8, {}, [1, 3]),
        ([0], 6, {}, [3]),
        ([1], 2, {}, [1]),
    ],
)
def test_rows_repeated_by_attention_couple_are_found(labels, rows, options, expected):
    assert copies_of_chunks(labels, rows, 2, options) == expected


@pytest.mark.parametrize(("labels", "rows"), [([1, 0], 5), ([1, 0], 2), ([1], 4), ([1, 0, 0], 8)])
def test_rows_that_cannot_be_explained_name_the_cause(labels, rows):
    with pytest.raises(ValueError, match=f"has {rows} rows where .* Another node pack on this MODEL"):
        copies_of_chunks(labels, rows, 2, {})


@pytest.fixture(autouse=True)
def _log_level(caplog):
    caplog.set_level(logging.WARNING, logger="instance_composer")
