"""Judges: the world's truth put into places, and a vision-language model's yes."""

from __future__ import annotations

import math

import pytest
from gallery_runs import MEMBERS, ranking_run
from tiny_annotators import write_tiny_blip
from tiny_captioners import write_tiny_qwen

from instance_composer.cli import main
from instance_composer.models.vision.asking import YesNoModel
from instance_composer.models.vision.interfaces import ModelError
from instance_composer.pictures.reading import read_picture
from instance_composer.rankings.answers import AnswerFile, all_answers
from instance_composer.rankings.gallery import Prompt
from instance_composer.rankings.pictures import picture_file
from instance_composer.training.gallery.judges import judge_all, places_by_score, world_judge


def test_the_worlds_judge_puts_the_picture_of_the_prompt_first(tmp_path):
    gallery = ranking_run(tmp_path, prompts=3, size=128)
    notes = judge_all(tmp_path, gallery, "judge world", world_judge)
    answers = AnswerFile(tmp_path, "judge world").answers()
    assert {one.question for one in answers.values() if one.places} == {("attribute", n) for n in range(3)}
    for answer in answers.values():
        if answer.places:
            assert answer.places[0] == ("right",)
            assert answer.members == set(MEMBERS)
    # A caption says nothing of places.
    assert "judge world could not tell of 3 spatial prompts" in notes
    before = (tmp_path / "answers" / "judge world.jsonl").read_bytes()
    judge_all(tmp_path, gallery, "judge world", world_judge)
    assert (tmp_path / "answers" / "judge world.jsonl").read_bytes() == before


def test_a_prompt_of_another_world_cannot_be_told(tmp_path):
    gallery = ranking_run(tmp_path, prompts=1)
    picture = read_picture(picture_file(tmp_path, "right", gallery.prompts[0]))
    assert math.isnan(world_judge(picture, Prompt("attribute", 0, "a tabby cat asleep on a sofa")))


def test_equal_scores_share_a_place():
    assert places_by_score({"a": 0.5, "b": 1.0, "c": 0.5}) == (("b",), ("a", "c"))
    assert places_by_score({"a": 0.5, "b": float("nan")}) == ()


def test_a_vision_language_model_is_asked_and_ranks(tmp_path, capsys):
    ranking_run(tmp_path / "run", prompts=1)
    folder = write_tiny_qwen(tmp_path / "tiny-qwen", more=("yes", "no"))
    model = YesNoModel.load(str(folder))
    first, second = (
        model.ask(read_picture(picture_file(tmp_path / "run", member, Prompt("attribute", 0, ""))), "yes ?")
        for member in MEMBERS[:2]
    )
    assert 0 < first < 1
    assert first != second
    assert main(["rank", str(tmp_path / "run"), "--judge", str(folder)]) == 0
    answers = all_answers(tmp_path / "run")["judge tiny-qwen"]
    assert all(answer.members == set(MEMBERS) for answer in answers.values())


def test_a_model_that_does_not_chat_is_told(tmp_path):
    folder = write_tiny_blip(tmp_path / "blip")
    with pytest.raises(ModelError, match="cannot be asked a question about a picture"):
        YesNoModel.load(str(folder))
