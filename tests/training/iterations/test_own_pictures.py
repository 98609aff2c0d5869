"""Pictures of the model in tuning, ranked by a judge: ties, what it cannot tell of, and who does what."""

from __future__ import annotations

import json

import own_pictures_run
import pytest
from PIL import Image
from two_processes import run_in_two

from instance_composer.rankings.gallery import Gallery, Member
from instance_composer.rankings.pictures import write_picture
from instance_composer.shapes_world import ShapesWorld
from instance_composer.shapes_world.preferences import parse_wish
from instance_composer.training.data.comparisons import PreferenceFile
from instance_composer.training.gallery.sampling import settings_of
from instance_composer.training.iterations.own_pictures import rank_own_pictures

WORLD = ShapesWorld(3, 64, 64, figures=2, related=1.0)
CAT = "a tabby cat asleep on a sofa"


def test_equal_pictures_tie_and_a_prompt_that_the_judge_cannot_read_is_left_out(tmp_path):
    sample = WORLD[0]
    assert parse_wish(sample.layout.prompt).relation
    prompts = [sample.layout.prompt, CAT]
    member = Member("base", "diffusers", {"model": str(tmp_path / "nowhere")})
    gallery = Gallery(tmp_path / "gallery.toml", {"base": member}, (), "base", (64, 64))
    # All there already, so that no model is needed: six equal pictures.
    for number, text in enumerate(prompts):
        for n in range(3):
            picture = tmp_path / "iterations" / "1" / "own" / f"{number:05d}-{n}.png"
            record = {"prompt": text, "seed": 2_000_000 + 3 * number + n, **settings_of(member, gallery)}
            write_picture(picture, Image.fromarray(sample.image), record)
    file = rank_own_pictures(tmp_path, gallery, 1, member, prompts, 3, "world")
    assert file == tmp_path / "iterations" / "1" / "own.jsonl"
    shapes, cat = (json.loads(line) for line in file.read_text().splitlines())
    assert shapes["ranks"] == {key: [1, 1, 1] for key in ("attribute", "spatial", "non-spatial")}
    assert cat["ranks"] == {}
    assert all((file.parent / name).is_file() for one in (shapes, cat) for name in one["images"])
    # Nothing to learn from either, and both can be read.
    assert len(PreferenceFile(file, "attribute", needed=False)) == 0


def test_what_was_ranked_before_teaches_on(tmp_path):
    member = Member("base", "diffusers", {"model": str(tmp_path / "nowhere")})
    gallery = Gallery(tmp_path / "gallery.toml", {"base": member}, (), "base", (64, 64))
    for iteration in range(3):
        for n in range(2):
            picture = tmp_path / "iterations" / str(iteration) / "own" / f"00000-{n}.png"
            seed = 1_000_000 * (iteration + 1) + n
            record = {"prompt": CAT, "seed": seed, **settings_of(member, gallery)}
            write_picture(picture, Image.new("RGB", (64, 64)), record)
        file = rank_own_pictures(tmp_path, gallery, iteration, member, [CAT], 2, "world")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    names = [f"{folder}own/00000-{n}.png" for folder in ("", "../1/", "../0/") for n in range(2)]
    assert [name for line in lines for name in line["images"]] == names
    assert all((file.parent / name).is_file() for name in names)


@pytest.mark.slow
def test_two_processes_draw_and_rank_what_one_does(tiny_model, tmp_path):
    alone = own_pictures_run.rank(tmp_path / "alone", tiny_model)
    run_in_two(own_pictures_run, tmp_path / "both", tiny_model)
    both = tmp_path / "both" / "iterations" / "0" / "own.jsonl"
    assert both.read_text() == alone.read_text()
    names = [name for line in alone.read_text().splitlines() for name in json.loads(line)["images"]]
    assert len(names) == 6
    assert all((both.parent / name).read_bytes() == (alone.parent / name).read_bytes() for name in names)
