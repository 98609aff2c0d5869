"""Rankings that teach without rewards: what a place is worth, what the loss pulls to, and whole runs."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_rewards import write_tiny_rewards
from training_tasks import settings

from instance_composer.training.data.errors import SourceError
from instance_composer.training.data.text import Tokenizer
from instance_composer.training.engine.checkpoint import ResumeError
from instance_composer.training.itercomp.feedback_objective import FeedbackForm, FeedbackObjective
from instance_composer.training.itercomp.feedback_options import FeedbackRun
from instance_composer.training.itercomp.feedback_run import train_feedback
from instance_composer.training.itercomp.feedback_task import LORA
from instance_composer.training.itercomp.ranked_pictures import RankedPictures, ranked_loss
from instance_composer.training.noise import size_conditioning

# The rate is large enough for two steps to show.
BRIEF = settings(steps=2, batch=1, every_log=1, learning_rate=0.01)
SHADES = {"white": 255, "grey": 128, "black": 0}


@pytest.fixture
def rankings(tmp_path):
    """Two prompts, ranked in all aspects but not each in all; the pictures are plain."""
    for name, shade in SHADES.items():
        Image.new("RGB", (64, 64), (shade,) * 3).save(tmp_path / f"{name}.png")
    images = [f"{name}.png" for name in SHADES]
    lines = [
        {
            "prompt": "a red circle",
            "images": images,
            "ranks": {"attribute": [1, 2, 2], "non-spatial": [2, 1, 2]},
        },
        {
            "prompt": "a blue square",
            "images": images,
            "ranks": {"attribute": [3, 2, 1], "spatial": [1, 1, 1]},
        },
        {"prompt": "a blue square", "better": "black.png", "worse": "white.png", "aspect": "spatial"},
    ]
    file = tmp_path / "rankings.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return file


@pytest.fixture
def run(tiny_model, tmp_path, rankings) -> FeedbackRun:
    return FeedbackRun(
        model=tiny_model,
        rewards=write_tiny_rewards(tmp_path / "rewards"),
        prompts=None,
        rankings=rankings,
        size=(64, 64),
        reward_weight=0.0,
        ranking_weight=1.0,
        ranking_reach=2.0,
    )


def losses(folder) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["ranked"] for line in lines]


def test_a_place_is_worth_the_pictures_it_beats_times_its_aspects_weight_in_all_aspects_together(rankings):
    every = RankedPictures(rankings, {"attribute": 1.0, "spatial": 0.5, "non-spatial": 2.0}, (64, 64))
    found = [(one.prompt, one.numbers, one.advantages) for one in (every[n] for n in range(len(every)))]
    white, grey, black = range(3)
    assert found == [
        ("a red circle", [white, grey, black], [0.0, 1.5, -1.5]),
        ("a blue square", [white, grey, black], [-1.0, 0.0, 1.0]),
        ("a blue square", [black, white], [0.5, -0.5]),
    ]
    assert len(RankedPictures(rankings, {"attribute": 0.0, "spatial": 1.0}, (64, 64))) == 1


def test_the_loss_is_the_papers_but_for_what_has_no_gradient():
    torch.manual_seed(0)
    before, target = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    predicted = (before + 0.1 * torch.randn_like(before)).requires_grad_(True)
    advantages, reach = torch.tensor([0.6, -1.0]), 0.4
    (own,) = torch.autograd.grad(ranked_loss(predicted, before, target, advantages, reach), predicted)
    share, beta = ((1 + advantages) / 2).view(-1, 1, 1, 1), 1 / reach
    positive = (1 - beta) * before + beta * predicted
    negative = (1 + beta) * before - beta * predicted
    paper = share * (positive - target).square() + (1 - share) * (negative - target).square()
    usual = (before - target).square().mean(dim=(1, 2, 3))
    (its,) = torch.autograd.grad((paper.mean(dim=(1, 2, 3)) / usual).mean(), predicted)
    torch.testing.assert_close(own, its)


def test_predictions_go_so_far_and_no_further():
    before, target = torch.zeros(1, 4, 2, 2), torch.full((1, 4, 2, 2), 3.0)
    best = torch.full_like(before, 0.4 * 0.5 * 3.0).requires_grad_(True)
    (gradient,) = torch.autograd.grad(ranked_loss(best, before, target, torch.tensor([0.5]), 0.4), best)
    torch.testing.assert_close(gradient, torch.zeros_like(best), atol=1e-7, rtol=0)


@pytest.mark.parametrize(("other", "moves"), [("same", False), ("different", True)])
def test_only_what_tells_a_prompts_pictures_apart_moves_the_model(other, moves, pipeline):
    original = copy.deepcopy(pipeline.unet).requires_grad_(False)
    objective = FeedbackObjective(pipeline, [], FeedbackForm(reward=0.0, ranking=1.0), original=original)
    better = torch.rand(3, 64, 64)
    worse = better if other == "same" else torch.rand(3, 64, 64)
    ranked = {
        "pictures": torch.stack((better, worse)),
        "numbers": torch.tensor([0, 1]),
        "prompts": torch.tensor([0, 0]),
        "ids": Tokenizer(pipeline)(["a red circle"]),
        "sizes": size_conditioning([(64, 64)]),
        "advantages": torch.tensor([1.0, -1.0]),
    }
    objective.rank(ranked, torch.Generator().manual_seed(0)).backward()
    largest = max(float(one.grad.abs().max()) for one in pipeline.unet.parameters() if one.grad is not None)
    assert (largest > 1e-4) == moves


def test_rankings_of_held_out_prompts_teach_nothing(rankings):
    found = RankedPictures(rankings, {"attribute": 1.0, "spatial": 1.0}, (64, 64), {"a blue square"})
    assert [found[number].prompt for number in range(len(found))] == ["a red circle"]
    assert found.left_out == 2
    with pytest.raises(SourceError, match="but for 3 of held-out prompts"):
        RankedPictures(
            rankings, {"attribute": 1.0, "spatial": 1.0}, (64, 64), {"a blue square", "a red circle"}
        )


@pytest.mark.parametrize("rank", [0, 2])
def test_a_run_learns_from_rankings_alone_and_goes_on_to_the_same_weights(rank, run, tmp_path):
    run = replace(run, rank=rank)
    train_feedback(run, BRIEF, tmp_path / "whole")
    first, second = losses(tmp_path / "whole")
    # Before the first step nothing has moved; then something has.
    assert first == pytest.approx(0.0, abs=1e-6)
    assert second != pytest.approx(0.0, abs=1e-6)
    train_feedback(run, replace(BRIEF, steps=1), tmp_path / "parts")
    train_feedback(run, BRIEF, tmp_path / "parts")
    name = f"model/{LORA}" if rank else "model/unet/diffusion_pytorch_model.safetensors"
    whole, parts = (load_file(tmp_path / folder / name) for folder in ("whole", "parts"))
    assert all(torch.equal(parts[key], value) for key, value in whole.items())


@pytest.mark.parametrize("rank", [0, 2])
def test_rankings_move_a_model_from_where_the_run_starts(rank, run, tmp_path):
    run = replace(run, rank=rank)
    train_feedback(run, BRIEF, tmp_path / "earlier")
    model = tmp_path / "earlier" / "model" / (LORA if rank else "unet")
    train_feedback(replace(run, init=model), BRIEF, tmp_path / "later")
    # The earlier run moved the model; the later one counts from there, and moves it on.
    first, second = losses(tmp_path / "later")
    assert first == pytest.approx(0.0, abs=1e-6)
    assert second != pytest.approx(0.0, abs=1e-6)


def test_rankings_and_rewards_teach_together_and_other_rankings_are_told(run, rankings, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red circle\n", encoding="utf-8")
    both = replace(run, reward_weight=1.0, prompts=prompts)
    train_feedback(both, replace(BRIEF, steps=1), tmp_path / "run")
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8"))
    lacking = sum(2 - line[aspect] for aspect in ("attribute", "spatial", "non-spatial"))
    assert line["loss"] == pytest.approx(1e-3 * (lacking + line["ranked"]), rel=1e-4)
    shorter = rankings.read_text(encoding="utf-8").splitlines()[:2]
    rankings.write_text("\n".join(shorter), encoding="utf-8")
    with pytest.raises(ResumeError, match="rankings"):
        train_feedback(both, BRIEF, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rankings": None}, "--ranking-weight is 1 and there are no --rankings to weigh"),
        ({"ranking_weight": 0.0, "reward_weight": 1.0}, "would teach nothing; give it a weight"),
        ({"rankings": None, "ranking_weight": 0.0}, "nothing teaches"),
        ({"held_out": 1}, "--held-out is about sampled pictures"),
        ({"distance_weight": 1.0}, "--distance-weight is about sampled pictures"),
        ({"ranking_reach": 0.0}, "--ranking-reach is 0; it must be more than 0"),
        ({"size": (96, 64)}, "has 64 × 64 pixels; the run tunes pictures of 96 × 64"),
        (
            {"attribute_weight": 0.0, "spatial_weight": 0.0, "non_spatial_weight": 0.0},
            "has no ranking with a difference in any aspect",
        ),
    ],
)
def test_what_would_teach_nothing_or_cannot_is_told_before_anything_is_loaded(
    change, sentence, run, tmp_path
):
    with pytest.raises(SourceError, match=sentence):
        train_feedback(replace(run, **change, model=tmp_path / "nowhere"), BRIEF, tmp_path / "run")
