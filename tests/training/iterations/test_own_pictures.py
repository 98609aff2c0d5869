"""Pictures of the model in tuning, ranked by a judge: ties, and what it cannot tell of."""

from __future__ import annotations

import json

from PIL import Image

from instance_composer.rankings.gallery import Gallery, Member
from instance_composer.shapes_world import ShapesWorld
from instance_composer.shapes_world.preferences import parse_wish
from instance_composer.training.data.comparisons import PreferenceFile
from instance_composer.training.iterations.own_pictures import rank_own_pictures

WORLD = ShapesWorld(3, 64, 64, figures=2, related=1.0)
CAT = "a tabby cat asleep on a sofa"


def test_equal_pictures_tie_and_a_prompt_that_the_judge_cannot_read_is_left_out(tmp_path):
    finished = tmp_path / "finished"
    finished.mkdir()
    sample = WORLD[0]
    assert parse_wish(sample.layout.prompt).relation
    for name, text in (("shapes", sample.layout.prompt), ("cat", CAT)):
        Image.fromarray(sample.image).save(finished / f"{name}.png")
        (finished / f"{name}.txt").write_text(text)
    member = Member("finished", "folder", {"pictures": str(finished)})
    gallery = Gallery(tmp_path / "gallery.toml", {"finished": member}, (), "finished", (64, 64))
    prompts = [sample.layout.prompt, CAT]
    file = rank_own_pictures(tmp_path, gallery, 1, member, prompts, 3, "world")
    assert file == tmp_path / "iterations" / "1" / "own.jsonl"
    shapes, cat = (json.loads(line) for line in file.read_text().splitlines())
    assert shapes["ranks"] == {key: [1, 1, 1] for key in ("attribute", "spatial", "non-spatial")}
    assert cat["ranks"] == {}
    assert all((file.parent / name).is_file() for one in (shapes, cat) for name in one["images"])
    # Nothing to learn from either, and both can be read.
    assert len(PreferenceFile(file, "attribute", needed=False)) == 0
