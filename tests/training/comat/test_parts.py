"""Parts of CoMat's training switched off and on, several processes, and the original model's latents."""

from __future__ import annotations

import json
from pathlib import Path

import comat_run
import pytest
import torch
from accelerate.state import AcceleratorState
from comat_run import train
from two_processes import run_in_two

from instance_composer.training.comat.original_latents import make_once, missing_latents
from instance_composer.training.data.errors import SourceError
from instance_composer.training.engine.account.memory import OutOfMemoryError
from instance_composer.training.engine.checkpoint import read_run


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


OFF = {
    "concept": {"concept_weight": 0.0},
    "concentration": {"token_weight": 0.0, "pixel_weight": 0.0},
    "fidelity": {"fidelity_weight": 0.0},
}
REPORTS = {"concept": {"concept"}, "concentration": {"token", "pixel"}, "fidelity": {"fooling", "telling"}}


@pytest.mark.parametrize("part", OFF)
def test_each_part_is_left_out_alone(part, tiny_model, tmp_path):
    train(tiny_model, tmp_path, {"steps": 1}, **OFF[part])
    (line,) = metrics(tmp_path)
    for name, reports in REPORTS.items():
        assert (reports <= line.keys()) == (name != part)
    weights = read_run(tmp_path)["weights"]
    assert any(name.startswith("discriminator.") for name in weights) == (part != "fidelity")
    assert (tmp_path / "original-64x64").exists() == (part != "fidelity")


def test_the_distance_holds_the_lora_at_the_original(tiny_model, tmp_path):
    """0 at the start, where the LoRA does nothing; afterwards smaller with a weight than without one."""
    far = {}
    for weight in (1e-9, 1e3):
        folder = tmp_path / str(weight)
        train(tiny_model, folder, {"steps": 4}, fidelity_weight=0.0, distance_weight=weight)
        lines = metrics(folder)
        assert lines[0]["distance"] == 0.0
        far[weight] = lines[-1]["distance"]
    assert 0 < far[1e3] < far[1e-9]


def test_the_captioner_is_heard(tiny_model, tmp_path):
    """Eight steps of a high rate make pictures that the function likes better."""
    train(
        tiny_model,
        tmp_path,
        {"steps": 8, "learning_rate": 1e-2, "batch": 5},
        fidelity_weight=0.0,
        token_weight=0.0,
        pixel_weight=0.0,
    )
    said = [line["concept"] for line in metrics(tmp_path)]
    assert said[-1] < said[0]


@pytest.mark.slow
def test_two_processes_make_one_large_batch_for_both_players(tiny_model, tmp_path):
    """Interrupted in between, and beside them one process with two parts a step."""
    run_in_two(comat_run, tiny_model, tmp_path / "two", 1, 1, 2)
    train(tiny_model, tmp_path / "one", {"accumulate": 2})
    two, one = read_run(tmp_path / "two"), read_run(tmp_path / "one")
    assert two["processes"] == 2
    assert two["weights"].keys() == one["weights"].keys()
    for name, weight in one["weights"].items():
        # Adam's steps are the rate times almost the sign where a gradient is almost 0.
        torch.testing.assert_close(two["weights"][name], weight, atol=2e-4, rtol=1e-3, msg=name)


@pytest.fixture
def _fresh_accelerator():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("_fresh_accelerator")
def test_in_mixed_precision_the_lora_still_learns(tiny_model, tmp_path):
    """Halves of weights made in steps without a gradient must not cut it off in those that have one."""
    train(tiny_model, tmp_path, {"steps": 1, "mixed_precision": "bf16"})
    weights = read_run(tmp_path)["weights"]
    ups = [value for name, value in weights.items() if name.startswith("unet.") and ".lora_B." in name]
    assert ups
    assert all(value.dtype == torch.float32 and bool(value.any()) for value in ups)


def test_a_run_that_cannot_fit_is_refused_with_ways_out(tiny_model, tmp_path, monkeypatch):
    from instance_composer.training.engine.account import announcement

    monkeypatch.setattr(announcement, "memory_of", lambda device: 1000)
    with pytest.raises(OutOfMemoryError, match=r"training needs about .* has 0.0 MB: set batch to 1"):
        train(tiny_model, tmp_path)
    assert read_run(tmp_path) is None


def make(numbers, generators):
    pairs = zip(numbers, generators, strict=True)
    return torch.stack([torch.randn(4, 2, 2, generator=one) + number for number, one in pairs])


PROMPTS = [f"a red thing {number}" for number in range(70)]


def test_original_latents_are_made_once_and_go_on_after_an_interruption(tmp_path):
    asked = []

    def stops(numbers, generators):
        if numbers[0] >= 64:
            raise KeyboardInterrupt
        return make(numbers, generators)

    def counts(numbers, generators):
        asked.extend(numbers)
        return make(numbers, generators)

    assert missing_latents(tmp_path, 70) == 70
    with pytest.raises(KeyboardInterrupt):
        make_once(tmp_path, PROMPTS, {"model": "x"}, 0, 4, stops)
    assert missing_latents(tmp_path, 70) == 6
    latents = make_once(tmp_path, PROMPTS, {"model": "x"}, 0, 3, counts)
    assert asked == list(range(64, 70))
    again = make_once(tmp_path, PROMPTS, {"model": "x"}, 0, 4, counts)
    assert asked == list(range(64, 70))
    assert torch.equal(latents([69, 2]), again([69, 2]))
    assert not list(tmp_path.glob("*.part"))
    # A latent depends on its own number alone, not on its neighbours.
    whole = make_once(tmp_path / "other", PROMPTS, {"model": "x"}, 0, 70, make)
    assert torch.equal(latents(range(70)), whole(range(70)))


@pytest.mark.parametrize(
    ("prompts", "model", "seed", "changed"),
    [(PROMPTS[1:], "x", 0, "digest, prompts"), (PROMPTS, "y", 0, "model"), (PROMPTS, "x", 1, "seed")],
)
def test_latents_of_another_run_are_refused(prompts, model, seed, changed, tmp_path):
    make_once(tmp_path, PROMPTS, {"model": "x"}, 0, 70, make)
    with pytest.raises(SourceError, match=rf"latents of another run \({changed} differ\)"):
        make_once(tmp_path, prompts, {"model": model}, seed, 70, make)


def test_latents_that_are_not_finite_are_not_kept(tmp_path):
    with pytest.raises(SourceError, match="not finite"):
        make_once(tmp_path, PROMPTS, {"model": "x"}, 0, 70, lambda n, g: make(n, g) / 0)
    assert missing_latents(tmp_path, 70) == 70
