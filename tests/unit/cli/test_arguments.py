"""Values that several commands read: numbers of any length, and what a launcher says."""

from __future__ import annotations

import argparse

import pytest

from instance_composer.cli import main
from instance_composer.cli.arguments import number

LONG = "9" * 400


@pytest.mark.parametrize(
    ("reader", "text", "complaint"),
    [
        (number(0, whole=True), LONG, "a whole number from 0 to 9007199254740992 is needed"),
        (number(0, whole=True), f"-{LONG}", "a whole number from 0 to"),
        (number(1, 1_000_000, whole=True), LONG, "a whole number from 1 to 1000000 is needed"),
        (number(0, whole=True), "9" * 5000, "a whole number from 0 to"),
        (number(0, whole=True), "1.5", "a whole number from 0 to"),
        (number(1), LONG, "a number from 1 is needed"),
        (number(0.5, 2), "0.4", "a number from 0.5 to 2 is needed"),
        (number(1), "nan", "a number from 1 is needed"),
    ],
)
def test_numbers_out_of_range_are_refused_however_long(reader, text, complaint):
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{complaint}.*, got "):
        reader(text)


def test_numbers_in_range_are_read():
    assert (number(0, whole=True)("12"), number(0, 1)("0.25"), number(1)("1e300")) == (12, 0.25, 1e300)


@pytest.mark.parametrize(
    "words", [["sift", "{}", "--shortest-side", LONG], ["layout", "coco", "a", "--instances", LONG]]
)
def test_a_long_number_is_one_line(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([word.replace("{}", str(tmp_path)) for word in words])
    assert ended.value.code == 2
    assert "a whole number from" in capsys.readouterr().err


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("x", "2"), ("0", "many"), ("-1", "2"), ("0", "0")])
@pytest.mark.parametrize(
    "command",
    [
        "sift {}",
        "annotate {} --detector none --vlm none",
        "render {} --model {} --adapter {} --out {}/out",
        "benchmark overlap score {}/run --tiny",
    ],
)
def test_what_no_launcher_says_is_told_by_name(command, rank, size, tmp_path, capsys, monkeypatch):
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    if command.startswith("benchmark"):
        assert main(["benchmark", "overlap", "prepare", f"{tmp_path}/run", "--tiny", "--limit", "1"]) == 0
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    assert main(command.replace("{}", str(tmp_path)).split()) == 2
    said = capsys.readouterr().err
    assert f'RANK is "{rank}" and WORLD_SIZE "{size}" in the environment' in said.splitlines()[-1]
