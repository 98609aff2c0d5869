"""Where methods act that draw in diffusers, when in the run, and on which words."""

from __future__ import annotations

import pytest
import torch
from tiny_sdxl import write_tiny_sdxl

from instance_composer.generation.diffusers_methods import FAMILY
from instance_composer.generation.jobs import Job, Sampling
from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.hosts.diffusers_sdxl.entities import read_prompt
from instance_composer.hosts.diffusers_sdxl.methods import dense_diffusion
from instance_composer.hosts.diffusers_sdxl.methods.drawing import METHODS, Request
from instance_composer.hosts.diffusers_sdxl.methods.predictions import replaced_forward
from instance_composer.layout import Box, Canvas, Instance, Layout

PROMPT = "a red book"
LEFT, RIGHT = Box(0, 0, 0.5, 1), Box(0.5, 0, 1, 1)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    pipeline = load_sdxl(write_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "sdxl"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def job(method: str, box: Box, caption: str, steps: int, size: int = 128) -> Job:
    layout = Layout((Instance("0", box, caption),), Canvas(size, size), PROMPT)
    return Job(FAMILY, method, layout, size, size, Sampling(steps=steps, cfg=3.0, seed=0))


def draw(pipeline, asked: Job) -> None:
    METHODS[asked.method](Request(pipeline, asked))


def shown(pipeline, asked: Job) -> list[torch.Tensor]:
    """What the UNet is given, call by call."""
    samples: list[torch.Tensor] = []

    def watched(forward, sample, timestep, prompt, **others):
        samples.append(sample.clone())
        return forward(sample, timestep, prompt, **others)

    with replaced_forward(pipeline.unet, watched):
        draw(pipeline, asked)
    return samples


def columns_of(box: Box, side: int) -> torch.Tensor:
    """The cells of the left or the right half: bool (side, side)."""
    cells = torch.zeros(side, side, dtype=torch.bool)
    cells[:, slice(0, side // 2) if box is LEFT else slice(side // 2, side)] = True
    return cells


@pytest.mark.parametrize("box", [LEFT, RIGHT])
def test_multidiffusion_changes_the_cells_of_its_region(box, pipeline):
    """In the first of two steps, as the second one is given it."""
    plain = shown(pipeline, job("plain", box, "", 2))[1]
    own = shown(pipeline, job("multidiffusion", box, "a blue vase", 2))[2]
    changed = (own - plain)[1].abs().amax(0)
    assert torch.equal(changed > 1e-5, columns_of(box, len(changed)))


@pytest.mark.parametrize("method", ["rpg", "omost"])
@pytest.mark.parametrize("box", [LEFT, RIGHT])
def test_a_cross_attention_layer_changes_in_the_cells_of_a_region(method, box, pipeline):
    """The first layer, which gets the same as without regions: later ones get what the first has changed."""
    layer = next(part for name, part in pipeline.unet.named_modules() if name.endswith(".attn2"))

    def given(asked):
        found = []
        with layer.register_forward_hook(lambda module, inputs, output: found.append(output[-1].clone())):
            draw(pipeline, asked)
        return found[0]

    changed = (given(job(method, box, "a blue vase", 1)) - given(job("plain", box, "", 1))).abs().amax(-1)
    side = int(len(changed) ** 0.5)
    assert torch.equal(changed.view(side, side) > 1e-5, columns_of(box, side))


def test_multidiffusion_shows_plain_colors_in_noise_in_the_first_fifth_of_the_run(pipeline):
    """Around the region, in steps 1 and 2 of 10; later each region is shown all there is."""
    calls = shown(pipeline, job("multidiffusion", LEFT, "a blue vase", 10))
    # Of each step the guided pair, then the one region.
    pairs, regions = calls[::2], calls[1::2]
    assert [len(one) for one in calls] == [2, 1] * 10
    half = regions[0].shape[-1] // 2
    for step, (pair, region) in enumerate(zip(pairs, regions, strict=True)):
        assert torch.equal(region[0, ..., :half], pair[1, ..., :half])
        assert torch.equal(region[0, ..., half:], pair[1, ..., half:]) == (step >= 2)
    # Nearly all that the UNet is given at the largest noise level is noise, of unit deviation.
    around = regions[0][0, ..., half:]
    assert ((around.std((1, 2)) - 1).abs() < 0.2).all()


def test_densediffusion_has_the_papers_weights_and_leaves_other_words_to_what_nothing_covers(
    pipeline, monkeypatch
):
    attend, seen = dense_diffusion.attend_modulated, []

    def watched(query, key, value, heads, same, share, weight):
        seen.append((key.shape[0], same, weight))
        return attend(query, key, value, heads, same, share, weight)

    monkeypatch.setattr(dense_diffusion, "attend_modulated", watched)
    draw(pipeline, job("densediffusion", LEFT, "book", 4))
    # The two of four steps that begin before 0.3 of the run, and the paper's fifth power of their times.
    assert pipeline.scheduler.timesteps[:2].tolist() == [751, 501]
    powers = (0.238891, 0.031564)
    crossing = [(same, weight) for keys, same, weight in seen if keys == 77]
    itself = [weight for keys, _, weight in seen if keys != 77]
    layers = sum(name.endswith(".attn2") for name, _ in pipeline.unet.named_modules())
    expected = [power for power in powers for _ in range(layers)]
    assert [weight for _, weight in crossing] == pytest.approx(expected, rel=1e-4)
    assert itself == pytest.approx([0.3 * power for power in expected], rel=1e-4)
    read = read_prompt(pipeline, job("plain", LEFT, "book", 1).layout)
    named = torch.zeros(77, dtype=torch.bool)
    named[list(read.entities[0].tokens)] = True
    words = torch.zeros(77, dtype=torch.bool)
    words[list(read.words)] = True
    assert (words & ~named).any()
    for same, _ in crossing:
        side = int(len(same) ** 0.5)
        cells = same.unflatten(0, (side, side))
        assert (cells[:, : side // 2] == named).all()
        assert (cells[:, side // 2 :] == (words & ~named)).all()


def test_start_end_and_padding_are_no_words(pipeline):
    read = read_prompt(pipeline, job("plain", LEFT, "", 1).layout)
    length = len(pipeline.tokenizer(PROMPT)["input_ids"])
    assert 2 < length < len(read.spans)
    assert read.words == tuple(range(1, length - 1))
    assert "".join(PROMPT[slice(*read.spans[word])] for word in read.words) == "aredbook"
