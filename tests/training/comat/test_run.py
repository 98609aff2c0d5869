"""`train comat` on tiny models: what it learns, what stays, how it goes on, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_annotators import write_tiny_blip
from tiny_stable_diffusion_1 import CROSS_ATTENTION, write_tiny_stable_diffusion_1

from instance_composer.cli import main
from instance_composer.models.comat.lora import attention_targets, read_lora
from instance_composer.training.comat.lora import add_lora
from instance_composer.training.engine.checkpoint import read_run

PROMPTS = "a red cat and a blue dog\na red dog\na picture of this\na blue light\n"
SETTINGS = ("batch=2", "every_log=1", "every_sample=0", "every_checkpoint=1", "learning_rate=1e-3")


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    return write_tiny_blip(tmp_path_factory.mktemp("captioner"))


@pytest.fixture
def command(tiny_model, captioner, tmp_path):
    (tmp_path / "prompts.txt").write_text(PROMPTS)
    words = ["train", "comat", str(tmp_path / "run"), "--model", str(tiny_model), "--size", "64x64"]
    words += ["--captioner", str(captioner), "--prompts", str(tmp_path / "prompts.txt")]
    words += ["--segmenter", "world", "--rank", "2", "--sampling-steps", "3", "--gradient-steps", "2"]
    for setting in SETTINGS:
        words += ["--set", setting]
    return words


def weights(folder) -> dict[str, torch.Tensor]:
    return read_run(folder)["weights"]


@pytest.mark.slow
def test_a_lora_is_trained_continued_bit_for_bit_and_written(command, tmp_path, capsys, caplog):
    caplog.set_level("INFO", "instance_composer")
    assert main([*command, "--set", "steps=2"]) == 0
    assert main([*command, "--set", "steps=3"]) == 0
    straight = [word.replace(str(tmp_path / "run"), str(tmp_path / "straight")) for word in command]
    assert main([*straight, "--set", "steps=3"]) == 0
    one, two = weights(tmp_path / "run"), weights(tmp_path / "straight")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    # The LoRA and the discriminator's are kept, and nothing that is not trained.
    trained = [name for name in one if "position_ids" not in name]
    assert all(name.startswith(("unet.", "discriminator.")) for name in trained)
    assert all(".lora_" in name or ".head." in name for name in trained)

    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert {"concept", "token", "pixel", "fooling", "telling", "told"} <= lines[0].keys()
    path = tmp_path / "run" / "model" / "comat_lora.safetensors"
    assert str(path) in capsys.readouterr().out
    assert all(key.startswith("unet.") and not key.startswith("unet.unet.") for key in load_file(path))
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["task"] == "comat"
    said = caplog.text
    for words in (
        "concept matching: weight 1",
        "3 of 4 prompts have an entity",
        "time: about",
        "memory: about",
    ):
        assert words in said
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--captioner", "{tmp}"], "holds no config.json"),
        (["--captioner", "{model}/text_encoder"], "gives no likelihood of a caption"),
        (["--concept-loss", "rivals", "--rivals", "0"], "--rivals is 0; it must be 1 or more"),
        (["--gradient-until", "0"], "--gradient-until is 0.0; it must be more than 0, up to 1"),
        (["--gradient-until", "0.4"], "until 0.4 of them; at most 1 can have a gradient"),
        (["--rank", "0"], "--rank is 0; it must be 1 or more"),
        (["--gradient-steps", "4"], "at most 3 can have a gradient"),
        (["--concept-weight", "-1"], "--concept-weight is -1.0; it must be 0 or more"),
        (["--token-loss", "mine"], "--token-loss is mine; it must be released or paper"),
        (["--label-smoothing", "1"], "--label-smoothing is 1.0; it must be 0 up to 1"),
        (["--segmenter", "{tmp}/sam.pth"], "give --detector a Grounding DINO"),
        (["--segmenter", "{tmp}/sam.pth", "--detector", "{tmp}"], "there is no file"),
        (["--concept-weight", "0", "--token-weight", "0", "--pixel-weight", "0"], "nothing is learned"),
        (["--size", "60x64"], "both sides must be multiples of 32"),
        (["--init", "{tmp}/none.safetensors"], "cannot be read as a safetensors file"),
        (["--prompts", "{tmp}/nothing.txt"], "has no prompts"),
        (["--prompts", "{tmp}/plain.txt"], "none of the 1 prompts has an entity"),
        (["--model", "{tmp}/none"], "there is no model at"),
        (["--model", "{tmp}/flux"], "is a FluxPipeline; SDXL and Stable Diffusion 1 can be used here"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(words, complaint, command, tiny_model, tmp_path, capsys):
    (tmp_path / "nothing.txt").write_text("\n")
    (tmp_path / "flux").mkdir()
    (tmp_path / "flux" / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    (tmp_path / "plain.txt").write_text("a cat\n")
    given = [word.format(tmp=tmp_path, model=tiny_model) for word in words]
    assert main([*command, *given, "--set", "steps=1"]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert "Traceback" not in error


def test_against_rivals_the_first_steps_learn(command, tmp_path, caplog, capsys):
    """Without any other part; a prompt of four has no word to exchange and no say."""
    caplog.set_level("INFO", "instance_composer")
    words = ["--concept-loss", "rivals", "--rivals", "3", "--gradient-until", "0.7", "--token-weight", "0"]
    words += ["--pixel-weight", "0", "--fidelity-weight", "0", "--set", "steps=1"]
    # A tiny random captioner hardly sees a difference: gradients are below the usual epsilon.
    words += ["--set", "epsilon=1e-30", "--label-smoothing", "0.1"]
    assert main([*command, *words]) == 0
    assert "1 of 4 prompts have no rivals" in caplog.text
    assert "--label-smoothing is not used" in caplog.text
    ups = [value for name, value in weights(tmp_path / "run").items() if ".lora_B" in name]
    assert ups
    assert all(bool(value.any()) for value in ups)
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    refused = [word.replace(str(tmp_path / "run"), str(tmp_path / "other")) for word in command]
    assert main([*refused, *words]) == 2
    assert "none of the 2 prompts has rivals" in capsys.readouterr().err


@pytest.mark.parametrize("left_out", ["--captioner", "--segmenter"])
def test_a_part_without_its_model_names_both_ways_out(left_out, command, capsys):
    place = command.index(left_out)
    assert main([*command[:place], *command[place + 2 :], "--set", "steps=1"]) == 2
    error = capsys.readouterr().err
    assert left_out in error
    assert "leave this part out with" in error


def test_a_lora_of_another_model_is_no_start(command, tmp_path, capsys):
    """Its own LoRA is; one with a layer of another width is refused by that layer's name."""
    assert main([*command, "--set", "steps=1"]) == 0
    lora = tmp_path / "run" / "model" / "comat_lora.safetensors"
    again = [word.replace(str(tmp_path / "run"), str(tmp_path / "again")) for word in command]
    assert main([*again, "--init", str(lora), "--set", "steps=1"]) == 0
    from safetensors.torch import save_file

    state = load_file(lora)
    key = next(key for key in state if "attn2.processor.to_k_lora.down" in key)
    save_file({**state, key: state[key][:, :-1].contiguous()}, tmp_path / "other.safetensors")
    capsys.readouterr()
    assert main([*again, "--init", str(tmp_path / "other.safetensors"), "--set", "steps=1"]) == 2
    assert "is a LoRA of another model: " in capsys.readouterr().err
    save_file({**state, "unet.conv_in.lora.up.weight": torch.zeros(2, 2)}, tmp_path / "more.safetensors")
    assert main([*again, "--init", str(tmp_path / "more.safetensors"), "--set", "steps=1"]) == 2
    assert "and nothing else" in capsys.readouterr().err


@pytest.mark.slow
def test_stable_diffusion_1_is_trained_by_the_same_command(command, tmp_path, capsys):
    """All parts on; and diffusers loads what was written, as the UNet that was trained."""
    folder = write_tiny_stable_diffusion_1(tmp_path / "sd15")
    words = list(command)
    words[words.index("--model") + 1] = str(folder)
    assert main([*words, "--set", "steps=2"]) == 0
    path = tmp_path / "run" / "model" / "comat_lora.safetensors"
    assert str(path) in capsys.readouterr().out
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    latents, prompt = torch.randn(1, 4, 8, 8), torch.randn(1, 77, CROSS_ATTENTION)
    with torch.no_grad():
        plain = pipeline.unet(latents, 500, prompt).sample
        pipeline.load_lora_weights(path)
        loaded = pipeline.unet(latents, 500, prompt).sample
        trained = StableDiffusionPipeline.from_pretrained(folder).unet
        targets = attention_targets(trained)
        shapes = {name: tuple(trained.get_submodule(name).weight.shape) for name in targets}
        add_lora(trained, 2, read_lora(path, targets, shapes))
        wanted = trained(latents, 500, prompt).sample
    torch.testing.assert_close(loaded, wanted, rtol=0, atol=1e-5)
    assert not torch.equal(loaded, plain)
