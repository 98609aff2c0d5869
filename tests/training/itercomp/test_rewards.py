"""Reward training: files of preferences, freezing, the best model, and resuming bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_rewards import HEADS, WORDS, tiny_state

from instance_composer.cli import main
from instance_composer.models.rewards import RewardModel, RewardTokenizer
from instance_composer.shapes_world.preferences import Comparisons
from instance_composer.training.data.comparisons import PreferenceFile, WorldPreferences
from instance_composer.training.data.errors import SourceError
from instance_composer.training.engine.checkpoint import ResumeError
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.settings import Settings
from instance_composer.training.itercomp.reward_objective import (
    RewardTask,
    collate,
    freeze,
    share_with_error,
)

PROMPT = "a red circle"


@pytest.fixture(scope="module")
def preferences(tmp_path_factory):
    """Red pictures are better than others, in two forms of lines."""
    folder = tmp_path_factory.mktemp("preferences")
    for number, color in enumerate(("red", "blue", "green", "white")):
        for copy in range(3):
            shade = Image.new("RGB", (20 + 8 * copy, 24), color)
            shade.save(folder / f"{number}-{copy}.png")
    lines = [
        {"prompt": PROMPT, "better": "0-0.png", "worse": "1-0.png", "aspect": "attribute"},
        {"prompt": PROMPT, "better": "0-1.png", "worse": "2-1.png", "aspect": "spatial"},
        {
            "prompt": PROMPT,
            "images": ["1-1.png", "0-2.png", "2-0.png"],
            "ranks": {"attribute": [2, 1, 2], "spatial": [1, 1, 1]},
        },
    ]
    (folder / "train.jsonl").write_text("".join(f"{json.dumps(line)}\n\n" for line in lines))
    return folder / "train.jsonl"


def test_pairs_and_rankings_become_pairs(preferences):
    pair, ranking = (PreferenceFile(preferences, "attribute")[number] for number in range(2))
    assert pair.pairs == [(0, 0, 0, 1)]
    assert ranking.pairs == [(0, 0, 1, 0), (0, 0, 1, 2)]
    assert [picture.size for picture in ranking.pictures] == [(28, 24), (36, 24), (20, 24)]
    # Three pictures in one place differ in nothing.
    assert len(PreferenceFile(preferences, "spatial")) == 1


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 1 is no JSON"),
        ('{"better": "0-0.png"}', 'needs "prompt"'),
        ('{"prompt": "x", "better": "0-0.png", "worse": "1-0.png"}', '"aspect", one of attribute'),
        ('{"prompt": "x", "images": ["0-0.png"], "ranks": {"attribute": [1, 2]}}', "1 places are needed"),
        (
            '{"prompt": "x", "better": "no.png", "worse": "1-0.png", "aspect": "attribute"}',
            "there is no file",
        ),
        ('{"prompt": "x", "images": ["0-0.png"], "ranks": {"attribute": [1]}}', "no pair that differs"),
    ],
)
def test_lines_that_cannot_be_read_are_named(preferences, line, complaint):
    file = preferences.with_name("wrong.jsonl")
    file.write_text(line)
    with pytest.raises(SourceError, match=complaint):
        PreferenceFile(file, "attribute")


def test_candidates_are_scored_once_and_carry_what_is_known_of_their_words():
    world = WorldPreferences(Comparisons(seed=3, width=64, height=64), 2)
    ranked = world[0]
    tokenizer = RewardTokenizer.of_words([*WORDS, "left", "of"], 35)
    batch = collate([ranked, world[1]], tokenizer, 48)
    assert len(batch["pixels"]) == len(ranked.pictures) + len(world[1].pictures)
    keys = set(zip(batch["picture"].tolist(), map(tuple, batch["input_ids"].tolist()), strict=True))
    assert len(keys) == len(batch["picture"]) <= 24
    assert batch["pairs"][:, 1:].max() < len(batch["picture"])
    assert batch["words"].shape == batch["input_ids"].shape
    known = ~batch["words"].isnan()
    assert known.any(dim=1).all()
    assert not known[:, 0].any()
    assert (known & (batch["attention_mask"] == 0)).sum() == 0


class Halved:
    """The first comparison of a source alone."""

    def __init__(self, source) -> None:
        self.source = source

    def __len__(self) -> int:
        return 1

    def __getitem__(self, number):
        return self.source[number]

    def describe(self):
        return {"first of": self.source.describe()}


def make_task(preferences, frozen=0.0):
    torch.manual_seed(0)
    model = RewardModel.from_state_dict(tiny_state(), {**HEADS, "words": WORDS})
    source = PreferenceFile(preferences, "attribute")
    return RewardTask(model, RewardTokenizer.of_words(WORDS, 35), source, source, ("attribute",), frozen)


def settings(**changes):
    values = {
        "steps": 12,
        "batch": 2,
        "learning_rate": 2e-3,
        "warm_up": 0,
        "ema_decay": 0.0,
        "weight_decay": 0.0,
    }
    return Settings(**{**values, "every_checkpoint": 4, "every_sample": 4, "every_log": 4, **changes})


def test_exchanged_pairs_and_another_start_are_not_continued_with(preferences, tmp_path):
    preferences = Path(shutil.copytree(preferences.parent, tmp_path / "data")) / preferences.name
    trainer = Trainer(make_task(preferences, frozen=0.5), settings(), tmp_path)
    trainer.advance()
    trainer.save()
    other = make_task(preferences, frozen=0.5)
    with torch.no_grad():
        next(p for p in other.objective.parameters() if not p.requires_grad).add_(0.01)
    with pytest.raises(ResumeError, match="what is not trained has other weights"):
        Trainer(other, settings(), tmp_path)
    entry, *rest = preferences.read_text(encoding="utf-8").splitlines()
    pair = json.loads(entry)
    pair["better"], pair["worse"] = pair["worse"], pair["better"]
    preferences.write_text("\n".join([json.dumps(pair), *rest]), encoding="utf-8")
    with pytest.raises(ResumeError, match="comparisons"):
        Trainer(make_task(preferences, frozen=0.5), settings(), tmp_path)


def test_it_learns_and_writes_the_best_model_with_its_own_scale(preferences, tmp_path):
    task = make_task(preferences)
    before = task.validate()["attribute"]["accuracy"]
    Trainer(task, settings(steps=30), tmp_path).run()
    found = json.loads((tmp_path / "model" / "validation.json").read_text())["attribute"]
    assert found["accuracy"] == 1.0 >= before
    assert found["pairs"] == 3
    model = RewardModel.load(tmp_path / "model" / "attribute.safetensors")
    assert model.config.mean == pytest.approx(found["mean"])
    assert model.metadata == {**model.config.to_dict(), "words": WORDS, "aspect": "attribute"} | {
        "head": list(model.config.head)
    }
    assert (tmp_path / "samples" / "000030.png").is_file()
    # Of models that are equally good the later one is written, which had the lower rate; a worse one is not.
    written = (tmp_path / "model" / "attribute.safetensors").read_bytes()
    with torch.no_grad():
        for parameter in task.model.head.parameters():
            parameter.mul_(0.5)
    task.export(tmp_path / "model")
    later = (tmp_path / "model" / "attribute.safetensors").read_bytes()
    assert later != written
    with torch.no_grad():
        for parameter in task.model.head[-1].parameters():
            parameter.neg_()
    task.export(tmp_path / "model")
    assert (tmp_path / "model" / "attribute.safetensors").read_bytes() == later
    # Of other held-out pairs the old number says nothing.
    task.validation = Halved(task.validation)
    task.export(tmp_path / "model")
    assert (tmp_path / "model" / "attribute.safetensors").read_bytes() != later
    assert json.loads((tmp_path / "model" / "validation.json").read_text())["attribute"]["pairs"] < 3


def test_an_interrupted_run_continues_bit_for_bit(preferences, tmp_path):
    """With dropout in both towers' heads, so random numbers must be the same too."""
    whole = Trainer(make_task(preferences), settings(every_sample=0), tmp_path / "whole")
    whole.run()
    first = Trainer(make_task(preferences), settings(steps=4, every_sample=0), tmp_path / "parts")
    while first.step < 4:
        first.advance()
    first.save()
    torch.manual_seed(99)
    second = Trainer(make_task(preferences), settings(every_sample=0), tmp_path / "parts")
    assert second.step == 4
    second.run()
    for key, value in whole.task.objective.state_dict().items():
        assert torch.equal(value, second.task.objective.state_dict()[key]), key


def test_frozen_layers_stay_and_the_others_move(preferences, tmp_path):
    task = make_task(preferences, frozen=0.5)
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    trainer = Trainer(task, settings(every_sample=0), tmp_path)
    for _ in range(3):
        trainer.advance()
    moved = {key for key, value in task.model.state_dict().items() if not torch.equal(value, before[key])}
    still = ("vision.embeddings", "text.embeddings", "vision.encoder.layers.0.", "text.encoder.layer.0.")
    assert not [key for key in moved if key.startswith(still)]
    assert any(key.startswith("vision.encoder.layers.1.") for key in moved)
    assert any(key.startswith("text.encoder.layer.1.") for key in moved)
    assert any(key.startswith("head.") for key in moved)


def test_of_the_published_sizes_layers_8_and_16_are_the_first_that_move():
    """IterComp's share of 0.7."""
    blocks = [torch.nn.Linear(1, 1) for _ in range(24)]

    class Tower(torch.nn.Module):
        def __init__(self, name, layers) -> None:
            super().__init__()
            self.embeddings = torch.nn.Linear(1, 1)
            self.encoder = torch.nn.Module()
            setattr(self.encoder, name, torch.nn.ModuleList(layers))

    both = torch.nn.Module()
    both.vision, both.text = (
        Tower("layers", blocks),
        Tower("layer", [torch.nn.Linear(1, 1) for _ in range(12)]),
    )
    freeze(both, 0.7)
    trained = [layer.weight.requires_grad for layer in both.vision.encoder.layers]
    assert trained.index(True) == 16
    trained = [layer.weight.requires_grad for layer in both.text.encoder.layer]
    assert trained.index(True) == 8


def test_the_error_of_a_share_counts_comparisons_not_pairs():
    share, error = share_with_error([(10, 10), (0, 10)])
    assert (share, round(error, 3)) == (0.5, 0.5)
    assert share_with_error([(1, 2)] * 50) == (0.5, 0.0)
    assert share_with_error([]) == (0.0, 0.0)


def test_the_command_needs_all_or_nothing_of_a_file(preferences, tmp_path, capsys):
    assert main(["train", "reward", str(tmp_path), "--data", str(preferences)]) == 2
    assert "give --validation, --init, --aspect too" in capsys.readouterr().err
