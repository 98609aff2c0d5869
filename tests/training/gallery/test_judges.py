"""Judges: the world's truth put into places, and a vision-language model's yes."""

from __future__ import annotations

import math

import pytest
import torch
from gallery_runs import MEMBERS, ranking_run, write_pictures
from safetensors.torch import save_file
from tiny_annotators import write_tiny_blip
from tiny_captioners import write_tiny_qwen

from instance_composer.cli import main
from instance_composer.models.vision.asking import YesNoModel
from instance_composer.models.vision.interfaces import ModelError
from instance_composer.pictures.reading import read_picture
from instance_composer.rankings.answers import AnswerFile, all_answers
from instance_composer.rankings.gallery import Prompt
from instance_composer.rankings.pictures import picture_file
from instance_composer.training.gallery.judges import judge_all, load_judge, places_by_score, world_judge


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


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Writes folders of models whose answers are one number, and counts what each was asked."""
    asked: dict[str, int] = {}

    class Stub:
        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, picture, question: str) -> float:
            asked[self.name] = asked.get(self.name, 0) + 1
            return 0.5

    monkeypatch.setattr(YesNoModel, "load", lambda name, device: Stub(name))

    def write(name: str, weight: float) -> str:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        save_file({"w": torch.tensor([weight])}, folder / "model.safetensors")
        return str(folder)

    return write, asked


def test_two_models_of_the_same_last_name_are_both_asked(stub, tmp_path):
    write, asked = stub
    first, second = write("v1/model", 1.0), write("v2/model", 2.0)
    run = tmp_path / "run"
    ranking_run(run, prompts=1)
    everything = 2 * len(MEMBERS)
    for name in (first, second, first, second):
        assert main(["rank", str(run), "--judge", name]) == 0
    assert asked == {first: everything, second: everything}
    short, long = all_answers(run)
    assert short == "judge model"
    assert long.startswith("judge model ")
    # A model that has moved is still the same.
    moved = write("elsewhere/model", 2.0)
    assert main(["rank", str(run), "--judge", moved]) == 0
    assert moved not in asked
    # Nor does a folder of that name speak for Shapes World's truth.
    assert load_judge(write("World", 3.0), run=run)[0] != load_judge("world", run=run)[0] == "judge world"
    # Names on the hub are their own: nothing is fetched to tell them apart.
    assert load_judge("owner/new", run=run)[0] == "judge new"
    assert load_judge("other/new", run=run)[0] != load_judge("owner/new", run=run)[0] == "judge new"


def test_answers_of_before_models_were_told_apart_go_on(stub, tmp_path):
    write, asked = stub
    run, name = tmp_path / "run", write("v1/model", 1.0)
    gallery = ranking_run(run, prompts=1)
    judge_all(run, gallery, "judge model", world_judge)
    assert main(["rank", str(run), "--judge", name]) == 0
    assert asked == {}


@pytest.mark.parametrize("last", ["my  model", "x" * 49 + " y", "书" * 40, "a\u200bb", "con"])
def test_the_name_of_any_folder_is_an_annotators(last, stub, tmp_path):
    write, _ = stub
    run = tmp_path / "run"
    gallery = ranking_run(run, prompts=1)
    for version in (1.0, 2.0):
        name, judge = load_judge(write(f"v{version:.0f}/{last}", version), run=run)
        judge_all(run, gallery, name, judge)
        assert len(all_answers(run)[name]) == 2


def test_a_judge_is_asked_again_about_pictures_that_were_made_anew(stub, tmp_path):
    write, asked = stub
    run, name = tmp_path / "run", write("model", 1.0)
    gallery = ranking_run(run, prompts=1)
    assert main(["rank", str(run), "--judge", name]) == 0
    before = asked[name]
    write_pictures(run, gallery, ("other", "right", "third"))
    assert main(["rank", str(run), "--judge", name]) == 0
    assert asked[name] == 2 * before


def test_a_model_that_does_not_chat_is_told(tmp_path):
    folder = write_tiny_blip(tmp_path / "blip")
    with pytest.raises(ModelError, match="cannot be asked a question about a picture"):
        YesNoModel.load(str(folder))
