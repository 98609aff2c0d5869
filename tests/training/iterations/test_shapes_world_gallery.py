"""What `scripts/shapes_world_loop.py` writes: a gallery without a fault, layouts that show their prompts."""

from __future__ import annotations

import io
import runpy
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from comfyui_location import REPOSITORY

from instance_composer.layout import formats
from instance_composer.rankings.gallery import ASPECTS, read_gallery
from instance_composer.shapes_world.captions import parse
from instance_composer.shapes_world.preferences import parse_wish

PROMPTS = 3


def write(folder: Path, *more: str) -> tuple[int, str]:
    """The script's exit code, and what it says is wrong."""
    script = str(REPOSITORY / "scripts" / "shapes_world_loop.py")
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said):
        patch.setattr(sys, "argv", [script, str(folder), "--prompts", str(PROMPTS), *more])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(script, run_name="__main__")
    return ended.value.code, said.getvalue()


@pytest.fixture(scope="module")
def loop(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("loop") / "run"
    assert write(folder) == (0, "")
    return folder


def test_every_prompt_has_a_layout_that_shows_it(loop):
    gallery = read_gallery(loop / "gallery.toml")
    assert gallery.base == "demo"
    assert gallery.held_out == 3
    for aspect in ASPECTS:
        prompts = [one for one in gallery.prompts if one.aspect == aspect]
        assert len(prompts) == PROMPTS
        for prompt in prompts:
            wish = parse_wish(prompt.text)
            layout = formats.read_file(loop / "layouts" / f"{aspect}-{prompt.number:05d}.json").layout
            # So that the gallery's own prompt is drawn.
            assert layout.prompt == ""
            shown = sorted(parse(f"{one.caption} on grey")[0][0].look for one in layout.instances)
            assert shown == sorted(phrase.look for phrase in wish.phrases)
            assert wish.relation or aspect != "spatial"


def test_prompts_to_tune_on_are_others_and_can_be_judged(loop):
    prompts = (loop / "tuning.txt").read_text(encoding="utf-8").splitlines()
    assert len(prompts) == len(set(prompts)) == 6 * PROMPTS
    assert not {one.text for one in read_gallery(loop / "gallery.toml").prompts} & set(prompts)
    wishes = [parse_wish(prompt) for prompt in prompts]
    assert {len(wish.phrases) for wish in wishes} == {2, 3}
    assert all(wish.relation for wish in wishes)


def test_as_many_prompts_to_tune_on_as_are_asked_for(tmp_path):
    assert write(tmp_path / "run", "--tuning", "2")[0] == 0
    assert len((tmp_path / "run" / "tuning.txt").read_text(encoding="utf-8").splitlines()) == 2


def test_a_gallery_that_is_there_is_not_written_over(loop):
    before = (loop / "gallery.toml").read_bytes()
    code, said = write(loop)
    assert (code, "choose another folder" in said) == (2, True)
    assert (loop / "gallery.toml").read_bytes() == before


def test_another_model_brings_its_own_adapter_and_the_demos_lora_where_it_has_none(tmp_path):
    model = tmp_path / "packed"
    model.mkdir()
    (model / "ifadapter.safetensors").touch()
    assert write(tmp_path / "run", "--model", str(model))[0] == 0
    members = read_gallery(tmp_path / "run" / "gallery.toml").members
    assert members["placed"].path("adapter") == model / "ifadapter.safetensors"
    assert members["composed"].path("lora") == REPOSITORY / "demo" / "composition_lora.safetensors"
