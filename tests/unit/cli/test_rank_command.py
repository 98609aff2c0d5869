"""`instance-composer rank` without a page: what is exported, and what is refused by name."""

from __future__ import annotations

import json

import pytest
from gallery_runs import ranking_run, write_gallery
from PIL import Image

from instance_composer.cli import main
from instance_composer.rankings.answers import Answer, AnswerFile
from instance_composer.rankings.pictures import picture_digests, picture_file, write_picture


@pytest.fixture
def ranked(tmp_path):
    """A run with one answer, which says its pictures."""
    run = tmp_path / "run"
    first = ranking_run(run).prompts[0]
    order = (("right",), ("other",), ("third",))
    digests = picture_digests(run, ("right", "other", "third"), first)
    AnswerFile(run, "Ana").add(Answer(first.aspect, first.number, first.text, order, digests))
    return run


def refused(capsys, *words: object) -> str:
    assert main(["rank", *map(str, words)]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    return found.err


def test_rankings_are_exported_where_a_folder_has_yet_to_be_made(ranked, tmp_path, capsys):
    target = tmp_path / "new" / "rankings.jsonl"
    assert main(["rank", str(ranked), "--export", str(target)]) == 0
    (line,) = (json.loads(one) for one in target.read_text(encoding="utf-8").splitlines())
    assert line["images"] == [f"../run/pictures/{m}/attribute/00000.png" for m in ("right", "other", "third")]
    assert [one.name for one in target.parent.iterdir()] == ["rankings.jsonl"]


def test_a_folder_to_export_to_is_told_and_stays_as_it_is(ranked, tmp_path, capsys):
    there = sorted(tmp_path.iterdir())
    told = refused(capsys, ranked, "--export", tmp_path)
    assert f"--export is the folder {tmp_path}; name a file, such as" in told
    assert sorted(tmp_path.iterdir()) == there


def test_answers_to_earlier_pictures_are_told_and_not_exported(ranked, capsys):
    file = picture_file(ranked, "right", ranking_prompt(ranked))
    write_picture(file, Image.new("RGB", (64, 64)), {"prompt": "made anew"})
    told = refused(capsys, ranked, "--export", ranked / "rankings.jsonl")
    assert "note: 1 answers of Ana are to earlier pictures" in told
    assert "has no rankings" in told
    assert main(["rank", str(ranked), "--agreement"]) == 0
    assert "Ana: 0 rankings" in capsys.readouterr().out


def ranking_prompt(run):
    from instance_composer.rankings.gallery import read_gallery

    return read_gallery(run).prompts[0]


def test_a_gallerys_file_in_place_of_the_folder_is_told(ranked, capsys):
    told = refused(capsys, ranked / "gallery.toml")
    assert f"gallery.toml is a file; give the run's folder, {ranked}, and a gallery of another name" in told


@pytest.mark.parametrize("more", [(), ("--judge", "world")])
def test_nothing_to_rank_is_told_whoever_ranks(more, tmp_path, capsys):
    write_gallery(tmp_path)
    told = refused(capsys, tmp_path, *more)
    assert f"{tmp_path} has no prompt with pictures of two members yet; sample them first" in told


def test_a_port_that_is_taken_is_told(ranked, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refused(capsys, ranked, "--port", port)
    assert f"port {port} cannot be opened" in told
    assert "give another with --port, or leave it out for one that is free" in told


@pytest.mark.parametrize(
    ("words", "what", "idle"),
    [
        (
            ("--export", "x", "--judge", "world", "--agreement", "--port", "5", "--device", "cuda:7"),
            "--export",
            "--agreement, --judge, --port, --device",
        ),
        (("--agreement", "--judge", "world"), "--agreement", "--judge"),
        (("--judge", "world", "--port", "5"), "--judge", "--port"),
        (("--device", "cpu"), "the page", "--device"),
    ],
)
def test_options_that_would_be_passed_over_are_refused_by_name(words, what, idle, ranked, capsys):
    assert f"{what} does nothing with {idle}; leave that out" in refused(capsys, ranked, *words)
