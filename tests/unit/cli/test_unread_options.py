"""Options that nothing would read: refused by name, before anything is loaded or written."""

from __future__ import annotations

import pytest

from instance_composer.cli import main

RENDER = "render {}/one.json --model {} --adapter {} --out {}/new.png"
SIFT = "sift {}"
ANNOTATE = "annotate {} --detector none --vlm none"
SCORE = "benchmark {name} score {{}}/run"
BINDING = "evaluate binding {}/run"
LOOP = "train itercomp {}/run --rewards {}"
REWARD = "train reward {}/run"


@pytest.mark.parametrize(
    ("command", "words", "complaint"),
    [
        (RENDER, "--share 1/2", "--share: new.png is of one layout"),
        (SIFT, "--copies same --distance 3", "--distance is for --copies near, and --copies same is given"),
        # What is typed counts, though it be the default.
        (SIFT, "--copies keep --distance 6", "--distance is for --copies near"),
        (ANNOTATE, "--tag-threshold 0.5", "--tag-threshold is for --tagger, which is not given"),
        (ANNOTATE, "--tags 3 --tag-threshold 1", "--tag-threshold and --tags are for --tagger"),
        (ANNOTATE, "--sheet 5 --no-sheet", "--sheet is for the contact sheet, which --no-sheet leaves out"),
        (ANNOTATE, "--words cat --pipeline en", "--pipeline is for the nouns of captions"),
        (ANNOTATE, "--words-file {}/one.json --pipeline en", "--pipeline is for the nouns of captions"),
        (SCORE.format(name="ifg"), "--tiny --vlm nonsense", "--vlm is for models, in whose place --tiny has"),
        (SCORE.format(name="ifg"), "--tiny --detector a --clip b", "--detector and --clip are for models"),
        (SCORE.format(name="t2i-compbench"), "--tiny --blip-vqa other", "--blip-vqa is for models"),
        (SCORE.format(name="ifg"), "--tiny --resize tensorflow", "--resize is for FID and KID, which need"),
        (BINDING, "--sweep bogus", "--sweep is for --strengths, which is not given"),
        (BINDING, "--lora-strength 3", "--lora-strength is for --lora, which is not given"),
        (LOOP, "--iteration 1", "--iteration is for --stage, which is not given"),
        (LOOP, "--iteration 0 --dry-run", "--iteration is for --stage, which is not given"),
        (LOOP, "--stage rewards --until sample", "--until is for the whole loop, and --stage runs one"),
        (REWARD, "--frozen 0.2", "--frozen is for --data, which is not given"),
        (REWARD, "--stage rewards --frozen 0.7", "--frozen is for --data, which is not given"),
    ],
)
def test_what_nothing_would_read_is_refused_by_name(command, words, complaint, tmp_path, capsys):
    (tmp_path / "one.json").write_text("{}")
    assert main(f"{command} {words}".replace("{}", str(tmp_path)).split()) == 2
    assert complaint in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["one.json"]


def test_a_launcher_s_processes_do_not_draw_one_picture_several_times(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(RENDER.replace("{}", str(tmp_path)).split()) == 2
    said = capsys.readouterr().err
    assert "RANK and WORLD_SIZE of a launcher: new.png is of one layout, and each of 2 processes" in said
