"""`instance-composer convert`."""

import pytest
import torch
from golden_files import TRIMMED
from safetensors.torch import load_file

from instance_composer.cli import main
from instance_composer.models.ifadapter import IFAdapter, read_checkpoint

SMALL = TRIMMED / "ifadapter" / "adapter_small.safetensors"


def convert(*words):
    return main(["convert", "ifadapter", *map(str, words)])


@pytest.mark.parametrize(("name", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_half_precision_is_half_the_size_and_loads(tmp_path, capsys, name, dtype):
    target = tmp_path / "half.safetensors"
    assert convert(SMALL, target, "--dtype", name) == 0
    assert "1.5 MB, half.safetensors: 0.8 MB" in capsys.readouterr().out
    before, after = load_file(SMALL), load_file(target)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], value.to(dtype)) for key, value in before.items())
    IFAdapter.load(target)
    assert [path.name for path in tmp_path.iterdir()] == ["half.safetensors"]


def test_from_one_container_to_the_other_and_back(tmp_path):
    """Nothing changes on the way, and `.bin` has the three official groups."""
    assert convert(SMALL, tmp_path / "a.bin") == 0
    assert set(torch.load(tmp_path / "a.bin", weights_only=True)) == {
        "text_proj_model",
        "adapter_modules",
        "pos_net",
    }
    assert convert(tmp_path / "a.bin", tmp_path / "b.safetensors") == 0
    before, after = read_checkpoint(SMALL), read_checkpoint(tmp_path / "b.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_nothing_is_overwritten_unasked(tmp_path, capsys):
    target = tmp_path / "target.safetensors"
    target.write_text("mine")
    assert convert(SMALL, target) == 2
    assert "--force overwrites it" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert convert(SMALL, target, "--force") == 0
    IFAdapter.load(target)
    assert convert(target, target, "--force") == 2
    assert "would overwrite what is being read" in capsys.readouterr().err


def test_a_failure_leaves_nothing_half_written(tmp_path, monkeypatch):
    def break_off(self, path, dtype=None):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(IFAdapter, "save", break_off)
    assert convert(SMALL, tmp_path / "target.safetensors") == 130
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("missing.bin", "target.bin", "there is no file"),
        (SMALL, "target.ckpt", r"written as .safetensors or .bin, not as target.ckpt"),
        (SMALL, "missing/target.bin", "there is no folder"),
    ],
)
def test_bad_paths(tmp_path, capsys, source, target, message):
    assert convert(tmp_path / source, tmp_path / target) == 2
    assert message in capsys.readouterr().err


def test_another_file_is_refused(tmp_path, capsys):
    (tmp_path / "cut.safetensors").write_bytes(SMALL.read_bytes()[:1000])
    assert convert(tmp_path / "cut.safetensors", tmp_path / "target.bin") == 2
    assert "truncated" in capsys.readouterr().err
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "other.bin")
    assert convert(tmp_path / "other.bin", tmp_path / "target.bin") == 2
    assert "is not an IFAdapter file" in capsys.readouterr().err


def test_a_table_that_cannot_be_written_is_said_before_anything_is_read(tmp_path, capsys):
    words = ["--itercomp", "none", "--base", "none", "--table", str(tmp_path / "none" / "errors.csv")]
    assert main(["convert", "lora", str(tmp_path / "lora.safetensors"), *words]) == 2
    assert f"--table: there is no folder {tmp_path / 'none'}" in capsys.readouterr().err
