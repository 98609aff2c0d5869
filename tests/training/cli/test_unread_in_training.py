"""Options that nothing would read, where that takes training's packages to tell; and runs begun with them."""

from __future__ import annotations

import pytest

from instance_composer.cli import main

FEEDBACK = "train feedback {}/run --model {} --rewards {}"
CAPTIONER = "train captioner {}/run"
BASE = "train base {}/run"


@pytest.mark.parametrize(
    ("command", "words", "complaint"),
    [
        (CAPTIONER, "--decoded 3", "--decoded is for pictures of --model, which is not given"),
        (CAPTIONER, "--drawn 3 --decoded 0", "--decoded and --drawn are for pictures of --model"),
        (BASE, "--stage crops --pictures 3", "--pictures is for stages that encode pictures, and crops does"),
        (BASE, "--stage base-scenes --pictures 0", "--pictures is 0; it must be 1 or more"),
        (BASE, "--pictures -3", "--pictures is -3; it must be 1 or more"),
    ],
)
def test_what_nothing_would_read_is_refused_by_name(command, words, complaint, tmp_path, capsys):
    assert main(f"{command} {words}".replace("{}", str(tmp_path)).split()) == 2
    assert complaint in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_was_begun_with_them_goes_on_and_is_told(begun, tmp_path, capsys, caplog):
    """What it is compared with may hold them, so that it could not go on without."""
    if begun:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "checkpoint.pt").write_bytes(b"")
    words = f"{FEEDBACK} --ranking-reach 2".replace("{}", str(tmp_path)).split()
    assert main(words) == 2
    said = capsys.readouterr().err
    told = "--ranking-reach is for --ranking-weight, which is 0"
    assert (told in caplog.text) == begun
    assert ("has no reward models" in said) == begun
    assert (told in said) or begun


def test_options_of_a_run_file_are_not_refused(tmp_path, capsys):
    """They are not typed, and that file names every one."""
    (tmp_path / "run.toml").write_text("[options]\nranking_reach = 2.0\n")
    words = f"{FEEDBACK} --settings {{}}/run.toml".replace("{}", str(tmp_path)).split()
    assert main(words) == 2
    assert "has no reward models" in capsys.readouterr().err
