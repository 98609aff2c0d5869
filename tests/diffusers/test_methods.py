"""Methods that draw in diffusers: the same noise for all, and regions that change what they should alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import EDMEulerScheduler, EulerDiscreteScheduler
from tiny_sdxl import write_tiny_sdxl
from tiny_stable_diffusion_1 import write_tiny_gligen

from instance_composer.generation.diffusers_methods import FAMILY
from instance_composer.generation.diffusers_methods import METHODS as KNOWN
from instance_composer.generation.jobs import Job, Sampling
from instance_composer.hosts.diffusers_sdxl import UnsuitableModelError, load_gligen, load_sdxl
from instance_composer.hosts.diffusers_sdxl.methods.dense_diffusion import time_of_noise
from instance_composer.hosts.diffusers_sdxl.methods.drawer import DiffusersDrawer
from instance_composer.hosts.diffusers_sdxl.methods.drawing import METHODS, Request
from instance_composer.hosts.diffusers_sdxl.methods.regional import _plain_colors
from instance_composer.layout import Box, Canvas, Instance, Layout, Polygon
from instance_composer.training.noise import SCHEDULE

REGIONAL = ("multidiffusion", "rpg", "omost")
GUIDED = ("attend-and-excite", "local", "local-boxes", "densediffusion")
PROMPT = "a red book"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    pipeline = load_sdxl(write_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "sdxl"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def job(method: str, *boxes: tuple[Box, str], seed: int = 0, size: int = 64, steps: int = 2) -> Job:
    instances = tuple(Instance(str(n), box, caption) for n, (box, caption) in enumerate(boxes))
    layout = Layout(instances, Canvas(size, size), PROMPT)
    return Job(FAMILY, method, layout, size, size, Sampling(steps=steps, cfg=3.0, seed=seed))


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


@pytest.mark.parametrize("method", GUIDED)
def test_guidance_acts_and_the_model_is_left_as_it_was(method, pipeline):
    # More steps begin nearer to noise, where DenseDiffusion acts most.
    plain = drawn(pipeline, job("plain", steps=4))
    asked = job(method, (Box(0.25, 0.25, 0.75, 0.75), PROMPT), steps=4)
    first = drawn(pipeline, asked)
    assert np.abs(first - plain).max() >= 1
    assert (drawn(pipeline, asked) == first).all()
    assert (drawn(pipeline, job("plain", steps=4)) == plain).all()


def test_densediffusion_acts_on_the_noise_levels_of_edm(tmp_path):
    edm = load_sdxl(write_tiny_sdxl(tmp_path / "sdxl"))
    edm.set_progress_bar_config(disable=True)
    edm.scheduler = EDMEulerScheduler()
    plain = drawn(edm, job("plain", steps=4))
    guided = drawn(edm, job("densediffusion", (Box(0.25, 0.25, 0.75, 0.75), PROMPT), steps=4))
    assert np.abs(guided - plain).max() >= 1
    edm.scheduler = EulerDiscreteScheduler(**SCHEDULE)
    edm.scheduler.set_timesteps(5)
    for level, timestep in zip(edm.scheduler.sigmas, edm.scheduler.timesteps, strict=False):
        assert time_of_noise(float(level)) == pytest.approx(float(timestep) / 1000, abs=0.002)
    assert time_of_noise(80.0) == 1.0


@pytest.mark.parametrize("method", ["attend-and-excite", "local", "local-boxes"])
def test_guidance_without_strength_is_the_plain_prompt(method, pipeline):
    asked = replace(job(method, (Box(0.25, 0.25, 0.75, 0.75), PROMPT)), options={"strength": 0.0})
    assert np.abs(drawn(pipeline, asked) - drawn(pipeline, job("plain"))).max() <= 1


def test_densediffusion_tells_what_the_prompt_does_not_name(pipeline, caplog):
    box = Box(0, 0, 0.5, 1)
    assert (drawn(pipeline, job("densediffusion", (box, "a cat"))) == drawn(pipeline, job("plain"))).all()
    assert "names nothing of what the layout places" in caplog.text
    drawn(pipeline, job("densediffusion", (box, PROMPT), (Box(0.5, 0, 1, 1), "a cat")))
    assert "instances 1:" in caplog.text


@pytest.mark.parametrize("method", ["attend-and-excite", "local"])
def test_a_prompt_that_names_nothing_is_drawn_as_it_is_and_told(method, pipeline, caplog):
    """One of thousands must not end a benchmark."""
    asked, plain = (
        replace(one, layout=replace(one.layout, prompt="it rains")) for one in (job(method), job("plain"))
    )
    assert (drawn(pipeline, asked) == drawn(pipeline, plain)).all()
    assert "drawn as it is: it rains" in caplog.text


@pytest.mark.parametrize("method", [*REGIONAL, "densediffusion", "local-boxes"])
def test_what_a_way_does_not_hear_of_an_instance_is_told(method, pipeline, caplog):
    asked = job(method, (Box(0.25, 0.25, 0.75, 0.75), PROMPT), (Box(0, 0, 0.5, 0.5), PROMPT))
    drawn(pipeline, asked)
    assert "no effect" not in caplog.text
    first, second = asked.layout.instances
    instances = (replace(first, start=0.5, strength=2.0), replace(second, negative="a cat"))
    told = replace(asked, layout=replace(asked.layout, instances=instances))
    drawn(pipeline, told)
    heard = method == "local-boxes"
    ids = "1" if heard else "0, 1"
    assert f"{KNOWN[method].label} hears boxes, captions" in caplog.text
    assert (
        f"{'negatives' if heard else 'parts of the run and negatives'} of these have no effect: {ids}."
        in (caplog.text)
    )


def test_local_boxes_act_in_the_part_of_the_run_of_their_instance(pipeline, caplog):
    """Begun late they act less; where no step is, not at all."""
    asked = job("local-boxes", (Box(0.25, 0.25, 0.75, 0.75), PROMPT), steps=4)
    asked = replace(asked, options={"strength": 4.0})

    def within(start, end):
        (one,) = asked.layout.instances
        layout = replace(asked.layout, instances=(replace(one, start=start, end=end),))
        return drawn(pipeline, replace(asked, layout=layout))

    plain, whole = drawn(pipeline, job("plain", steps=4)), drawn(pipeline, asked)
    assert (within(0.0, 1.0) == whole).all()
    assert (within(0.8, 0.9) == plain).all()
    late = within(0.75, 1.0)
    assert 0 < np.abs(late - plain).sum() < np.abs(whole - plain).sum()
    assert "no effect" not in caplog.text


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


def test_gligen_places_with_its_own_model(pipeline, tmp_path, caplog):
    asked = job("gligen", (Box(0, 0, 0.5, 0.5), "a blue vase"), steps=4)
    with pytest.raises(UnsuitableModelError, match="--model"):
        drawn(pipeline, asked)
    with pytest.raises(UnsuitableModelError, match="diffusers folder of a StableDiffusionGLIGENPipeline"):
        load_gligen(write_tiny_sdxl(tmp_path / "sdxl"))
    own = load_gligen(write_tiny_gligen(tmp_path / "gligen"))
    own.set_progress_bar_config(disable=True)
    first = drawn(own, asked)
    assert (drawn(own, asked) == first).all()
    elsewhere = job("gligen", (Box(0.5, 0.5, 1, 1), "a blue vase"), steps=4)
    assert (drawn(own, elsewhere) != first).any()
    # What is measured is where the instance is, which a mask makes smaller than its box; the rest is told.
    assert "have no effect" not in caplog.text
    corner = Polygon(((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5)))
    masked = Instance("vase", Box(0, 0, 1, 1), "a blue vase", mask=corner)
    layout = replace(asked.layout, instances=(masked,))
    assert (drawn(own, replace(asked, layout=layout)) == first).all()
    assert "these have no effect: vase." in caplog.text


def test_multidiffusion_encodes_in_full_precision_where_the_autoencoder_overflows(pipeline, monkeypatch):
    """Plain colours outside the regions come from an encoder that SDXL's own config forbids halves."""
    vae, seen = pipeline.vae, []
    encode = vae.encode

    def watched(pictures):
        seen.append(pictures.dtype)
        return encode(pictures)

    monkeypatch.setattr(vae, "encode", watched)
    like, noise = torch.zeros(1, 4, 8, 8), torch.Generator().manual_seed(0)
    expected = _plain_colors(pipeline, 2, like, noise)
    try:
        vae.half()
        for forced in (True, False):
            vae.register_to_config(force_upcast=forced)
            found = _plain_colors(pipeline, 2, like, torch.Generator().manual_seed(0))
            assert vae.dtype == torch.float16
            torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)
    finally:
        vae.float()
    assert seen == [torch.float32, torch.float32, torch.float16]
