"""What a run of CoMat is told of before its first step: prompts that are cut, and masks of other models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comat_run import CHANGES, LeftHalf, brightness, options
from torch import nn

from instance_composer.models.vision.likelihood import FunctionScorer
from instance_composer.training.comat.masks import models_of
from instance_composer.training.comat.options import COMAT_SETTINGS
from instance_composer.training.comat.run import train_comat
from instance_composer.training.engine.account.memory import OutOfMemoryError
from instance_composer.training.engine.checkpoint import ResumeError, read_run, write_run
from instance_composer.training.engine.settings import read_settings


class Modelled(LeftHalf):
    """Masks of a function that says it has a SAM and a detector."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.sam, self.detector = nn.Linear(500, 500), nn.Linear(2, 2)
        self.asked: list[list[str]] = []

    def models(self):
        return {"sam": self.sam, "detector": self.detector}

    def masks(self, pictures, nouns):
        self.asked += [list(words) for words in nouns]
        return super().masks(pictures, nouns)


def run(model: Path, folder: Path, segmenter, captioner=brightness, *, dry_run=False, steps=1, **changes):
    settings = read_settings({**CHANGES, "steps": steps}, COMAT_SETTINGS)
    changes = {"fidelity_weight": 0.0, **changes}
    scorer = FunctionScorer(captioner)
    train_comat(options(model, folder, **changes), settings, folder, scorer, segmenter, dry_run=dry_run)


def test_a_segmenter_that_is_a_module_is_a_part_of_the_objective():
    """Its weights are told and counted with the others."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.models = nn.ModuleList([nn.Linear(2, 2)])

        def masks(self, pictures, nouns):
            return LeftHalf().masks(pictures, nouns)

    assert models_of(Own()) == models_of(LeftHalf()) == models_of(None) == {}
    assert models_of(Modelled()).keys() == {"sam", "detector"}


def test_prompts_that_are_cut_are_counted_and_one_is_shown(tiny_model, tmp_path, caplog):
    (tmp_path / "prompts").write_text(f"a red cat\na red dog {'and more ' * 10}\na blue bird\n")
    run(tiny_model, tmp_path / "run", LeftHalf(), dry_run=True, prompts=tmp_path / "prompts")
    (said,) = [one.getMessage() for one in caplog.records if "are cut" in one.getMessage()]
    assert said.startswith(
        "1 of 3 prompts are cut: 77 tokens are read, start and end included, and 'a red dog"
    )
    caplog.clear()
    run(tiny_model, tmp_path / "run", LeftHalf(), dry_run=True)
    assert "are cut" not in caplog.text


def test_masks_of_other_models_and_other_entities_are_refused(tiny_model, tmp_path):
    folder = tmp_path / "run"
    run(tiny_model, folder, Modelled())
    rests_on = read_run(folder)["rests_on"]
    assert {"entities", "pipeline", "thresholds", "sam", "detector"} == rests_on.keys()
    with pytest.raises(ResumeError, match=r"detector was .*, sam was '2-.* and is now '2-"):
        run(tiny_model, folder, Modelled(1), steps=2)
    with pytest.raises(ResumeError, match=r"thresholds was \[0.3, 0.25\] and is now \[0.35, 0.25\]"):
        run(tiny_model, folder, Modelled(), steps=2, box_threshold=0.35)
    state = read_run(folder)
    write_run(folder, {**state, "rests_on": {**rests_on, "entities": "5 of another"}})
    with pytest.raises(ResumeError, match="entities was '5 of another' and is now '5 of"):
        run(tiny_model, folder, Modelled(), steps=2)
    # Earlier versions kept none of it, and a later one may know more.
    write_run(folder, {**state, "rests_on": {"entities": rests_on["entities"]}})
    run(tiny_model, folder, Modelled(1), steps=1, dry_run=True)
    del state["rests_on"]
    write_run(folder, state)
    run(tiny_model, folder, Modelled(1), steps=2)
    assert read_run(folder)["rests_on"].keys() == rests_on.keys()


def test_the_forecast_counts_masks_and_every_caption(tiny_model, tmp_path, caplog):
    """A SAM of a megabyte more in memory, and a prompt with all its rivals in time."""
    caplog.set_level("INFO")
    captions: list[list[str]] = []

    def noted(pictures, some):
        captions.append(list(some))
        return brightness(pictures, some)

    asked = Modelled()
    run(tiny_model, tmp_path, asked, noted, dry_run=True, concept_loss="rivals", rivals=4)
    # Each is asked once without being timed, as a first call takes longer.
    assert [len(some) for some in captions] == [5, 5]
    assert len(set(captions[0])) == 5
    assert [len(words) > 0 for words in asked.asked] == [True, True]
    memory = []
    for segmenter in (LeftHalf(), Modelled()):
        caplog.clear()
        run(tiny_model, tmp_path, segmenter, dry_run=True)
        (line,) = [one for one in caplog.messages if one.startswith("memory: about ")]
        memory.append(float(line.split()[2]))
    assert memory[1] - memory[0] == pytest.approx(1.1 * 4 * (500 * 501 + 6) / 1e6, abs=0.11)


def test_a_batch_that_does_not_fit_is_told_as_large_as_it_is(tiny_model, tmp_path):
    def huge(pictures, captions):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemoryError, match=r"a batch of 2 does not fit .* set batch to 1"):
        run(tiny_model, tmp_path, LeftHalf(), huge, dry_run=True)
    changed = options(tiny_model, tmp_path, fidelity_weight=0.0)
    settings = read_settings({**CHANGES, "batch": 1}, COMAT_SETTINGS)
    with pytest.raises(OutOfMemoryError, match="a batch of one does not fit"):
        train_comat(changed, settings, tmp_path, FunctionScorer(huge), LeftHalf(), dry_run=True)
