"""`instance-composer evaluate` goes on with the model that a folder's pictures are by, and with no other."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file

from instance_composer.cli import main
from instance_composer.demo import ADAPTER, FOLDER
from instance_composer.models.weights import save_weights


@pytest.fixture(scope="module")
def model(fresh_demo):
    return fresh_demo


def evaluate(action, run, *more):
    """What needs no ComfyUI: real pictures, judged, and their features by the model's autoencoder."""
    count = {"layout": "--layouts", "binding": "--prompts"}[action]
    return main(["evaluate", action, str(run), "--methods", "real", count, "3", "--size", "96x64", *more])


def change(file):
    """Train a model a little."""
    state = load_file(file)
    name = next(name for name, value in state.items() if value.is_floating_point())
    save_weights({**state, name: state[name] + 0.01}, file)


@pytest.mark.parametrize("action", ["layout", "binding"])
def test_pictures_by_other_weights_are_not_added_to(action, model, tmp_path, capsys):
    run, other = tmp_path / "run", tmp_path / "other" / model.name
    assert evaluate(action, run, "--model", str(model)) == 0
    records = (run / "records.jsonl").read_bytes()
    shutil.copytree(model, other)
    # Of the same weights it is the same model, wherever it is.
    assert evaluate(action, run, "--model", str(other)) == 0
    for file, part in (
        (other / "unet" / "diffusion_pytorch_model.safetensors", "UNet or transformer"),
        (other / ADAPTER, "UNet or transformer, IFAdapter"),
    ):
        change(file)
        capsys.readouterr()
        assert evaluate(action, run, "--model", str(other)) == 2
        said = capsys.readouterr().err
        assert f"weights of {part} are others than before. Name another folder, or continue with" in said
    assert evaluate(action, run, "--model", str(FOLDER / "flux")) == 2
    assert "weights of UNet or transformer, VAE, text encoders are others" in capsys.readouterr().err
    assert (run / "records.jsonl").read_bytes() == records
    # A folder of a version that did not note them goes on as it did.
    plan = json.loads((run / "plan.json").read_text())
    assert set(plan.pop("weights")) == {"UNet or transformer", "VAE", "text encoders", "IFAdapter"}
    (run / "plan.json").write_text(json.dumps(plan))
    assert evaluate(action, run, "--model", str(other)) == 0
    assert "weights" not in json.loads((run / "plan.json").read_text())


def test_a_report_alone_needs_the_autoencoder_that_measured_and_not_what_drew(model, tmp_path, capsys):
    earlier = tmp_path / "earlier"
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        shutil.copytree(FOLDER / name, earlier / name)
    shutil.copy(FOLDER / ADAPTER, earlier)
    change(earlier / "unet" / "diffusion_pytorch_model.safetensors")
    # By an earlier model of the pack, which is not there any more.
    assert evaluate("layout", tmp_path / "run", "--model", str(earlier)) == 0
    assert evaluate("layout", tmp_path / "run", "--report-only") == 0
    capsys.readouterr()
    assert evaluate("layout", tmp_path / "run") == 2
    assert "weights of UNet or transformer are others" in capsys.readouterr().err
    assert evaluate("layout", tmp_path / "run", "--report-only", "--model", str(FOLDER)) == 2
    assert "weights of UNet or transformer are others" in capsys.readouterr().err
    assert evaluate("layout", tmp_path / "of-another", "--model", str(model)) == 0
    assert evaluate("layout", tmp_path / "of-another", "--report-only") == 2
    assert "weights of VAE are others" in capsys.readouterr().err


@pytest.mark.parametrize(("action", "option"), [("layout", "--layouts"), ("binding", "--prompts")])
def test_a_report_alone_is_of_all_that_is_there_unless_fewer_are_asked_for(action, option, tmp_path, capsys):
    words = ["evaluate", action, str(tmp_path / "run"), "--methods", "real", "--size", "96x64"]
    assert main([*words, option, "5"]) == 0
    for more, count in (([], 5), ([option, "4"], 4)):
        capsys.readouterr()
        assert main([*words, "--report-only", *more]) == 0
        assert f"report.md ({count} {option[2:]})" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["layout", "binding"])
def test_a_report_of_a_folder_that_is_none_leaves_none(action, tmp_path, capsys):
    assert evaluate(action, tmp_path / "run", "--report-only") == 2
    assert "has no plan.json, so nothing has been run there" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
