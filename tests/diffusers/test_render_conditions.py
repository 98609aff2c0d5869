"""Pictures that steer those of `render`, seeds, sheets and offloading, with tiny models of real classes."""

import json
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from instance_composer.cli import main
from instance_composer.hosts.diffusers_sdxl import encode_layout, generate, load_sdxl, offload
from instance_composer.layout import Layout
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.weights import save_weights

LAYOUT = (
    '{"version": 1, "canvas": {"width": 64, "height": 64}, "prompt": "a cat", "instances": '
    '[{"id": "a", "caption": "a cat", "box": [0, 0, 1, 0.5]}]}'
)
EMBEDDING = 24


@pytest.fixture(scope="module")
def controlnet_folder(sdxl_folder, tmp_path_factory):
    """A ControlNet of the tiny UNet; a trained one does not end in zeros as a fresh one does."""
    torch.manual_seed(0)
    net = ControlNetModel.from_unet(
        load_sdxl(sdxl_folder).unet, conditioning_embedding_out_channels=(4, 4, 4, 8)
    )
    for name, parameter in net.named_parameters():
        if name.startswith(("controlnet_", "controlnet_cond_embedding.conv_out")):
            nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("nets") / "edges"
    net.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=EMBEDDING,
    )
    folder = tmp_path_factory.mktemp("encoder") / "image_encoder"
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def ip_weights(unet, embedding=EMBEDDING, text=None):
    text = text or unet.config.cross_attention_dim
    torch.manual_seed(0)
    weights = {
        "image_proj.proj.weight": torch.randn(4 * text, embedding),
        "image_proj.proj.bias": torch.randn(4 * text),
        "image_proj.norm.weight": torch.ones(text),
        "image_proj.norm.bias": torch.zeros(text),
    }
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            width = unet.get_submodule(name.removesuffix(".processor")).inner_dim
            for part in ("k", "v"):
                weights[f"ip_adapter.{number}.to_{part}_ip.weight"] = torch.randn(width, text)
    return weights


@pytest.fixture(scope="module")
def ip_file(sdxl_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("ip") / "ip-adapter.safetensors"
    save_file(ip_weights(load_sdxl(sdxl_folder).unet), path)
    return path


@pytest.fixture
def render(sdxl_folder, adapter_file, tmp_path):
    (tmp_path / "layout.json").write_text(LAYOUT)
    for name, color in (("red", "red"), ("blue", "blue")):
        picture = Image.new("RGB", (48, 48), "black")
        picture.paste(color, (8, 8, 30, 40))
        picture.save(tmp_path / f"{name}.png")

    def run(*words, layout="layout.json", out="picture.png"):
        model = ("--model", sdxl_folder, "--adapter", adapter_file, "--steps", 2)
        return main([str(w) for w in ("render", tmp_path / layout, *model, "--out", tmp_path / out, *words)])

    return run


def pixels(path: Path) -> numpy.ndarray:
    with Image.open(path) as picture:
        return numpy.asarray(picture, dtype=int)


def told(path: Path) -> dict:
    with Image.open(path) as picture:
        return json.loads(picture.text["instance-composer"])


def test_a_controlnet_and_its_map_reach_the_picture(render, controlnet_folder, tmp_path):
    """Another map gives another picture, strength 0 the plain one; window and map stand in the PNG."""
    found = {}
    net = ("--controlnet", controlnet_folder)
    for name, words in {
        "plain": (),
        "red": (*net, "--control-image", tmp_path / "red.png"),
        "blue": (*net, "--control-image", tmp_path / "blue.png"),
        "off": ("--controlnet", f"{controlnet_folder}:0", "--control-image", tmp_path / "blue.png"),
    }.items():
        assert render(*words, out=f"{name}-out.png") == 0
        found[name] = pixels(tmp_path / f"{name}-out.png")
    assert (found["off"] == found["plain"]).all()
    assert (found["red"] != found["plain"]).any()
    assert (found["red"] != found["blue"]).any()
    settings = told(tmp_path / "red-out.png")
    assert settings["controlnet"] == ["edges", 1.0]
    assert settings["control"][0] == "red.png"
    assert settings["control_window"] == [0.0, 1.0]
    assert "controlnet" not in told(tmp_path / "plain-out.png")


def test_an_ip_adapter_and_a_controlnet_act_together(
    render, ip_file, encoder_folder, controlnet_folder, tmp_path
):
    ip = ("--ip-adapter", ip_file, "--image-encoder", encoder_folder, "--ip-image")
    net = ("--controlnet", controlnet_folder, "--control-image", tmp_path / "red.png")
    found = {}
    for name, words in {
        "red": (*ip, tmp_path / "red.png"),
        "blue": (*ip, tmp_path / "blue.png"),
        "both": (*ip, tmp_path / "red.png", *net),
    }.items():
        assert render(*words, out=f"{name}-out.png") == 0
        found[name] = pixels(tmp_path / f"{name}-out.png")
    assert (found["red"] != found["blue"]).any()
    assert (found["red"] != found["both"]).any()
    settings = told(tmp_path / "both-out.png")
    assert settings["ip_adapter"] == ["ip-adapter.safetensors", 1.0]
    assert settings["image_encoder"] == encoder_folder.name


def test_a_folder_of_maps_belongs_to_layouts_by_name_and_an_edited_map_is_drawn_again(
    render, controlnet_folder, tmp_path, capsys
):
    (tmp_path / "many").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "many" / f"{name}.json").write_text(LAYOUT)
    maps = tmp_path / "maps"
    maps.mkdir()
    for name, color in (("a", "red"), ("b", "blue")):
        Image.open(tmp_path / f"{color}.png").save(maps / f"{name}.png")
    words = ("--controlnet", controlnet_folder, "--control-image", maps)
    assert render(*words, layout="many", out="out") == 1
    captured = capsys.readouterr()
    assert "has no picture c.png" in captured.err
    assert captured.out.splitlines() == [str(tmp_path / "out" / f"{name}.png") for name in ("a", "b")]
    Image.open(tmp_path / "red.png").save(maps / "b.png")
    render(*words, layout="many", out="out")
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "out" / "b.png")]


def test_pictures_that_other_weights_of_the_same_name_steered_are_drawn_again(
    render, controlnet_folder, ip_file, encoder_folder, tmp_path, capsys
):
    net, ip = tmp_path / controlnet_folder.name, tmp_path / ip_file.name
    shutil.copytree(controlnet_folder, net)
    ip.write_bytes(ip_file.read_bytes())
    words = ("--controlnet", net, "--control-image", tmp_path / "red.png", "--ip-adapter", ip)
    words += ("--ip-image", tmp_path / "blue.png", "--image-encoder", encoder_folder)

    def drawn():
        assert render(*words, out="out") == 0
        return capsys.readouterr().out.splitlines()

    (tmp_path / "out").mkdir()
    assert len(drawn()) == 1
    assert drawn() == []
    for file in (net / "diffusion_pytorch_model.safetensors", ip):
        save_weights({name: 1.01 * value for name, value in load_file(file).items()}, file)
        assert len(drawn()) == 1, file.name
        assert drawn() == []


def test_seeds_are_drawn_and_shown_together(render, tmp_path, capsys):
    assert render("--seeds", "9,3-4", "--grid") == 0
    names = ["picture-1.png", "picture-2.png", "picture-3.png", "picture-grid.png"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / name) for name in names]
    assert [told(tmp_path / name)["seed"] for name in names[:3]] == [9, 3, 4]
    with Image.open(tmp_path / names[3]) as sheet:
        # The layout and three pictures, 64 pixels each, in one row.
        assert sheet.width > 4 * 64
        assert 64 < sheet.height < 2 * 64
    assert render("--seeds", "1,2", "--batch", 2) == 2
    assert "leave --seed and --batch away" in capsys.readouterr().err
    for text, message in (("1,1", "names a number twice"), ("5-3", "smaller first"), ("x", "whole numbers")):
        with pytest.raises(SystemExit):
            render("--seeds", text)
        assert message in capsys.readouterr().err


def test_offloaded_models_draw_the_same(sdxl_folder, adapter_file):
    """Hooks move a model in before it computes, here from and to main memory."""
    found = []
    for moved in (False, True):
        pipeline = load_sdxl(sdxl_folder)
        if moved:
            offload(pipeline, "cpu")
        encoded = encode_layout(pipeline, IFAdapter.load(adapter_file), Layout.from_json(LAYOUT))
        (picture,) = generate(pipeline, encoded, height=64, width=64, steps=2)
        found.append(numpy.asarray(picture))
    assert (found[1] == found[0]).all()


def test_what_is_missing_is_said_before_anything_is_loaded(render, controlnet_folder, tmp_path, capsys):
    for words, message in (
        (("--controlnet", controlnet_folder), "--controlnet needs the picture it goes by: --control-image"),
        (("--ip-image", tmp_path / "red.png"), "--ip-image is for --ip-adapter, which is not given"),
        (("--image-encoder", tmp_path), "--image-encoder is for --ip-adapter"),
        (("--control-start", 0.2), "--control-start is for --controlnet, which is not given"),
        (("--control-end", 0.5), "--control-end is for --controlnet, which is not given"),
        (
            ("--controlnet", tmp_path / "none", "--control-image", tmp_path / "red.png"),
            "--controlnet: there is nothing at",
        ),
        (("--cpu-offload", "--device", "cpu"), "this runs on the CPU"),
    ):
        assert render(*words) == 2
        assert message in capsys.readouterr().err


def test_a_controlnet_that_is_none_or_of_another_model(render, controlnet_folder, tmp_path, capsys):
    def refused(folder):
        assert render("--controlnet", folder, "--control-image", tmp_path / "red.png") == 2
        return capsys.readouterr().err

    config = json.loads((controlnet_folder / "config.json").read_text())
    weights = (controlnet_folder / "diffusion_pytorch_model.safetensors").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    assert "is no ControlNet: it has no config.json" in refused(other)
    for changes, message in (
        ({"_class_name": "T2IAdapter"}, "is a T2IAdapter and no ControlNet"),
        ({"cross_attention_dim": 768}, "was made for another model: its text width are 768"),
    ):
        (other / "config.json").write_text(json.dumps(config | changes))
        assert message in refused(other)
    (other / "config.json").write_text(json.dumps(config))
    (other / "diffusion_pytorch_model.safetensors").write_bytes(weights[:2000])
    assert "the ControlNet other cannot be loaded" in refused(other)
    assert "is a single file" in refused(controlnet_folder / "config.json")


def test_an_ip_adapter_that_is_none_or_of_another_model(
    render, sdxl_folder, ip_file, encoder_folder, tmp_path, capsys
):
    def refused(path, *words):
        assert render("--ip-adapter", path, "--ip-image", tmp_path / "red.png", *words) == 2
        return capsys.readouterr().err

    encoder = ("--image-encoder", encoder_folder)
    unet = load_sdxl(sdxl_folder).unet
    path = tmp_path / "other.safetensors"
    path.write_bytes(ip_file.read_bytes()[:3000])
    assert "truncated" in refused(path, *encoder)
    save_file({"lora.weight": torch.zeros(1)}, path)
    assert "is no IP-Adapter" in refused(path, *encoder)
    save_file(ip_weights(unet, text=768), path)
    assert "it writes into text of width 768, and this model reads 48" in refused(path, *encoder)
    save_file({k: v for k, v in load_file(ip_file).items() if not k.startswith("ip_adapter.1.")}, path)
    assert "was made for another model: it has" in refused(path, *encoder)
    save_file(ip_weights(unet, embedding=1280), path)
    assert "reads embeddings of width 1280, and this image encoder makes 24" in refused(path, *encoder)
    assert "this model has none" in refused(ip_file)
    (tmp_path / "ip.bin").write_bytes(b"x")
    assert "is not a .safetensors file" in refused(tmp_path / "ip.bin")
