"""Lists of `instance-composer evaluate` that name nothing: told in one line before anything is begun."""

from __future__ import annotations

import pytest

from instance_composer.cli import main


@pytest.mark.parametrize(
    ("action", "words", "complaint"),
    [
        ("layout", ["--methods", ","], "--methods: no method is named; name at least one of real, "),
        ("layout", ["--methods", "x"], "--methods: there is no method x"),
        ("layout", ["--naming", ","], "--naming: none is named; name at least one of all, "),
        ("binding", ["--methods", "", "--strengths", "0,1"], "--methods: no method is named"),
        ("binding", ["--sweep", ",", "--strengths", "0,1"], "--sweep: no method is named"),
        ("binding", ["--strengths", ","], "--strengths: none is named; name at least one, as in 0,0.5"),
        ("binding", ["--strengths", "0,1", "--weights", ","], "--weights: none is named; name at least one"),
    ],
)
def test_a_list_that_names_nothing_is_told(action, words, complaint, tmp_path, capsys):
    assert main(["evaluate", action, str(tmp_path / "run"), "--report-only", *words]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
