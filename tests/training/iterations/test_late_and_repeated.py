"""What comes late, does not fit, or is done once more: told in the stage, with what can be done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from loop_runs import BRIEF, SIDE, write_loop
from PIL import Image
from tiny_rewards import write_tiny_rewards

from instance_composer.cli import main
from instance_composer.rankings.gallery import Gallery, Member, Prompt
from instance_composer.rankings.pictures import picture_file, write_lines, write_picture
from instance_composer.training.gallery.sampling import other_sizes
from instance_composer.training.iterations.options import LoopRun
from instance_composer.training.iterations.ranking import expanded_rankings
from instance_composer.training.iterations.state import rewards_of

PROMPTS = tuple(Prompt("attribute", number, f"a red circle {number}") for number in range(3))


def write_pictures(run: Path, name: str, prompts=PROMPTS, size=(32, 32)) -> None:
    for prompt in prompts:
        write_picture(picture_file(run, name, prompt), Image.new("RGB", size, "red"), {"prompt": prompt.text})


def ranking(number: int, prompt: str, members: list[str]) -> dict[str, object]:
    images = [f"../../pictures/{name}/{number}.png" for name in members]
    ranks = {"attribute": list(range(1, len(members) + 1))}
    return {"prompt": prompt, "images": images, "ranks": ranks, "members": members, "number": number}


@pytest.fixture
def ranked(tmp_path):
    """Two members that iteration 0 ranked, with pictures."""
    write_tiny_rewards(rewards_of(tmp_path, 0))
    for name in ("base", "other"):
        write_pictures(tmp_path, name)
    lines = [ranking(one.number, one.text, ["base", "other"]) for one in PROMPTS]
    write_lines(tmp_path / "iterations" / "0" / "rankings.jsonl", lines)
    return tmp_path


def notes_of(run: Path, *members: Member, prompts=PROMPTS) -> list[str]:
    every = (Member("base", "diffusers", {}), Member("other", "folder", {}), *members)
    gallery = Gallery(run / "gallery.toml", {one.name: one for one in every}, prompts, "base", (32, 32))
    return expanded_rankings(LoopRun(rewards=run), run, gallery, 1)


def test_who_came_after_the_iteration_it_joined_is_named_with_both_ways(ranked):
    late = Member("late", "folder", {})
    assert notes_of(ranked, late) == []
    write_pictures(ranked, "late", PROMPTS[:2])
    (note,) = notes_of(ranked, late)
    assert note == (
        "late has pictures of 2 ranked prompts and no place in them, so that they teach nothing: it joined "
        "in iteration 0, which is ranked already; write joins = 1 for it and start --stage rank --iteration "
        "1, or rank that one again with --stage rank --iteration 0"
    )
    # The first of them places it.
    assert notes_of(ranked, Member("late", "folder", {}, 1)) == [
        "late has no picture of 1 ranked prompts and takes no place in them"
    ]
    text = (ranked / "iterations" / "1" / "rankings.jsonl").read_text()
    assert ["late" in json.loads(line)["members"] for line in text.splitlines()] == [True, True, False]


def test_a_tuned_model_that_was_not_drawn_in_time_has_one_way(ranked):
    write_pictures(ranked, "tuned-0")
    (note,) = notes_of(ranked, Member("tuned-0", "diffusers", {}))
    assert note.endswith("which is ranked already; rank that one again with --stage rank --iteration 0")


def test_a_place_of_before_is_no_missing_picture(ranked):
    """A member may have pictures of some prompts in one iteration, and joins = 1 when the rest is there."""
    assert notes_of(ranked, Member("other", "folder", {}, 1)) == []


def test_rankings_of_prompts_that_have_changed_and_prompts_without_any_are_counted(ranked):
    changed = (*PROMPTS[:2], Prompt("attribute", 2, "a blue circle"), Prompt("attribute", 3, "a new one"))
    unranked, left_out = notes_of(ranked, prompts=changed)
    assert unranked.startswith("2 prompts have no ranking, which iteration 0 makes, so that their pictures")
    assert left_out.startswith("1 rankings of iteration 0 are of prompts that the gallery has no more")


def test_pictures_of_another_size_are_named_by_member(tmp_path):
    members = {name: Member(name, "folder", {}) for name in ("fits", "wide")}
    gallery = Gallery(tmp_path / "gallery.toml", members, PROMPTS, "base", (32, 32))
    write_pictures(tmp_path, "fits")
    write_pictures(tmp_path, "wide", PROMPTS[:2], (48, 32))
    (note,) = other_sizes(tmp_path, gallery, [*members.values()])
    assert note.startswith("wide has 2 pictures of another size than the gallery's 32 × 32, ")
    assert "of 48 × 32: the stage feedback cannot learn from their rankings" in note


def words(run: Path, *more: str) -> list[str]:
    settings = [word for one in BRIEF for word in ("--set", one)]
    return ["train", "itercomp", str(run), "--rewards", str(run / "start"), *settings, *more]


@pytest.fixture
def loop(tmp_path):
    """A loop's folder whose gallery is the base and real renders, the first of another size."""
    run = write_loop(tmp_path / "run")
    text = (run / "gallery.toml").read_text()
    start, end = text.index("[members.placed]"), text.index("[members.renders]")
    (run / "gallery.toml").write_text(text[:start] + text[end : text.index("[members.late]")])
    picture = run / "renders" / "0.png"
    Image.open(picture).resize((SIDE, 2 * SIDE)).save(picture)
    return run


@pytest.mark.slow
def test_the_stage_sample_tells_what_rankings_could_not_teach(loop):
    def notes(*more: str) -> list[str]:
        assert main(words(loop, "--stage", "sample", *more)) == 0
        return json.loads((loop / "iterations" / "0" / "done-sample.json").read_text())["notes"]

    assert notes() == []
    (note,) = notes("--ranking-weight", "1")
    # Its prompt is one of both aspects.
    assert note.startswith("renders has 2 pictures of another size than the gallery's 64 × 64")
    assert notes("--ranking-weight", "1", "--own-pictures", "2") == []


@pytest.mark.slow
def test_rewards_of_other_rankings_name_the_folder_to_delete(loop, capsys, caplog):
    """The folder is the loop's own choice, and what follows a stage is not repeated by itself."""
    caplog.set_level("INFO", "instance_composer")
    own = loop / "iterations" / "0"
    own.mkdir(parents=True)
    pictures = [f"../../renders/{number}.png" for number in range(4)]

    def rank(*order: int) -> None:
        line = {"prompt": "a red circle", "images": pictures, "ranks": {"attribute": [*order]}}
        for name in ("train.jsonl", "held-out.jsonl"):
            (own / name).write_text(json.dumps(line) + "\n")

    again = words(loop, "--stage", "rewards")
    rank(1, 2, 3, 4)
    assert main(again) == 0
    assert "what was done behind it" not in caplog.text
    rank(4, 3, 2, 1)
    (own / "done-report.json").write_text("{}")
    assert main(again) == 2
    said = capsys.readouterr().err
    folder = own / "train" / "attribute"
    assert "this run was started with another model or data: data was" in said
    assert f"Delete {folder} to have it trained anew, and start the same stage again" in said
    assert "choose another folder" not in said
    shutil.rmtree(folder)
    caplog.clear()
    assert main(again) == 0
    assert "what was done behind it stays as it is: report; repeat that with --stage" in caplog.text
