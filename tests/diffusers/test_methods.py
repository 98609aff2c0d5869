"""Methods that draw in diffusers: the same noise for all, and regions that change what they should alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_sdxl import write_tiny_sdxl

from instance_composer.generation.diffusers_methods import FAMILY
from instance_composer.generation.diffusers_methods import METHODS as KNOWN
from instance_composer.generation.jobs import Job, Sampling
from instance_composer.hosts.diffusers_sdxl import UnsuitableModelError, load_sdxl
from instance_composer.hosts.diffusers_sdxl.methods.drawer import DiffusersDrawer
from instance_composer.hosts.diffusers_sdxl.methods.drawing import METHODS, Request
from instance_composer.layout import Box, Canvas, Instance, Layout

REGIONAL = ("multidiffusion", "rpg", "omost")
PROMPT = "a red book"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    pipeline = load_sdxl(write_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "sdxl"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def job(method: str, *boxes: tuple[Box, str], seed: int = 0, size: int = 64) -> Job:
    instances = tuple(Instance(str(n), box, caption) for n, (box, caption) in enumerate(boxes))
    layout = Layout(instances, Canvas(size, size), PROMPT)
    return Job(FAMILY, method, layout, size, size, Sampling(steps=2, cfg=3.0, seed=seed))


def drawn(pipeline, asked: Job) -> np.ndarray:
    return np.asarray(METHODS[asked.method](Request(pipeline, asked)), dtype=int)


def test_every_method_that_is_known_can_be_drawn():
    assert list(METHODS) == list(KNOWN)


@pytest.mark.parametrize("method", REGIONAL)
def test_a_region_of_everything_with_the_prompt_itself_changes_nothing(method, pipeline):
    plain = drawn(pipeline, job("plain"))
    same = drawn(pipeline, job(method, (Box(0, 0, 1, 1), PROMPT)))
    # Rows of another batch size differ by rounding.
    assert np.abs(same - plain).max() <= 1


@pytest.mark.parametrize("method", REGIONAL)
def test_a_caption_acts_and_the_model_is_left_as_it_was(method, pipeline):
    plain = drawn(pipeline, job("plain"))
    box = Box(0.25, 0.25, 0.75, 0.75)
    first = drawn(pipeline, job(method, (box, "a blue vase")))
    assert np.abs(first - plain).max() > 1
    assert (drawn(pipeline, job(method, (box, "a blue vase"))) == first).all()
    assert (drawn(pipeline, job("plain")) == plain).all()


def test_sentences_take_the_place_of_captions(pipeline):
    asked = job("rpg", (Box(0.25, 0.25, 0.75, 0.75), "a blue vase"))
    same = replace(asked, options={"sentences": ["a blue vase"]})
    other = replace(asked, options={"sentences": ["a red cat on grey"]})
    assert (drawn(pipeline, same) == drawn(pipeline, asked)).all()
    assert (drawn(pipeline, other) != drawn(pipeline, asked)).any()


def test_what_a_method_lacks_is_told(pipeline, tmp_path):
    drawer = DiffusersDrawer(pipeline)
    with pytest.raises(UnsuitableModelError, match="--adapter"):
        drawer.draw(job("ifadapter", (Box(0, 0, 1, 1), "a cup")), tmp_path / "x.png")
    with pytest.raises(UnsuitableModelError, match="needs boxes"):
        drawer.draw(job("rpg"), tmp_path / "x.png")
    with pytest.raises(UnsuitableModelError, match="steps of 8"):
        drawer.draw(job("plain", size=60), tmp_path / "x.png")
    taken = drawer.draw(job("plain"), tmp_path / "x.png")
    assert set(taken) == {"cpu", "clock"}
    assert (tmp_path / "x.png").is_file()
