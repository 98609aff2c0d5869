"""The examples of docs/python-api.md run in order on the tiny model, with small pictures and short runs."""

import argparse
import re
from pathlib import Path

import pytest

from instance_composer.cli import convert, render

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_examples_run(tmp_path, monkeypatch, sdxl_folder, adapter):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sdxl-base").symlink_to(sdxl_folder, target_is_directory=True)
    adapter.save(tmp_path / "spd_adapter.bin")
    text = (
        (DOCS / "python-api.md")
        .read_text(encoding="utf-8")
        .replace("=1024", "=64")
        .replace("seeds=", "steps=2, seeds=")
    )
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/python-api.md", "exec"), names)
    assert [picture.size for picture in names["pictures"]] == [(64, 64)] * 2
    assert not any(module._forward_pre_hooks for module in names["pipeline"].unet.modules())
    assert len(blocks) == 4


@pytest.mark.parametrize("name", ["render", "convert"])
def test_every_option_is_described(name):
    parser = argparse.ArgumentParser()
    {"render": render, "convert": convert}[name].configure(parser)
    described = (DOCS / "command-line.md").read_text(encoding="utf-8")
    if name == "convert":
        parser = parser._subparsers._group_actions[0].choices["ifadapter"]
    options = [
        option for action in parser._actions for option in action.option_strings if option.startswith("--")
    ]
    assert [option for option in options if f"`{option}" not in described and option != "--help"] == []
