"""The README's examples run as they stand, in order, on the tiny model; only the picture is smaller."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from instance_composer import cli

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = [block.replace("1024", "128") for block in re.findall(r"^```\w*\n(.*?)^```$", README, re.M | re.S)]
LINES = next(block for block in BLOCKS if block.startswith("0.05"))
COMMANDS = next(block for block in BLOCKS if block.startswith("instance-composer")).splitlines()
PYTHON = next(block for block in BLOCKS if block.startswith("from instance_composer"))


@pytest.fixture
def folder(tmp_path, monkeypatch, sdxl_folder, adapter) -> Path:
    """A working directory with the files the README names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sdxl-base").symlink_to(sdxl_folder, target_is_directory=True)
    (tmp_path / "pets.txt").write_text(LINES, encoding="utf-8")
    adapter.save(tmp_path / "spd_adapter.bin")
    return tmp_path


def pixels(path: str) -> tuple[tuple[int, int], bytes]:
    with Image.open(path) as picture:
        return picture.size, picture.convert("RGB").tobytes()


def test_the_commands_and_the_python_example_make_the_same_picture(folder):
    for command in COMMANDS:
        program, *words = shlex.split(command)
        assert (program, cli.main(words)) == ("instance-composer", 0), command
    assert pixels("regions.png")[0] == (128, 128)
    assert (folder / "spd_adapter.safetensors").stat().st_size < (folder / "spd_adapter.bin").stat().st_size
    rendered = pixels("pets.png")

    exec(compile(PYTHON, "README.md, the Python example", "exec"), {})
    assert pixels("pets.png") == rendered


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^):]+)\)", README))))
def test_the_links_lead_somewhere(target):
    assert (Path(__file__).resolve().parents[2] / target).exists()
