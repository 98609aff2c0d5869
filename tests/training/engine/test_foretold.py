"""What a run foretells: the time of all that a step does, warm, and ways out of too little memory."""

from __future__ import annotations

import re
import time

import pytest
import torch
from gan_task import Pair, PairTask
from line_task import Line, LineTask, settings
from training_tasks import make_task
from training_tasks import settings as brief

from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.training.data.latents import LatentSet, blank_shards
from instance_composer.training.demo_model.text_to_image import TextToImageTask
from instance_composer.training.engine.account.measure import measure
from instance_composer.training.engine.account.memory import OutOfMemoryError, out_of_memory
from instance_composer.training.engine.loop import train

CPU = torch.device("cpu")


def measured(task, **changes):
    return measure(task, settings(**changes), CPU, lambda batch: batch)


class Slow(Pair):
    """The discriminator's turn takes a tenth of a second."""

    def forward(self, batch, generator, player):
        time.sleep(0.1 if player == "discriminator" else 0.0)
        return super().forward(batch, generator, player)


def test_the_time_of_a_step_is_that_of_all_players():
    task = PairTask()
    task.objective = Slow()
    assert measured(task, batch=1).seconds >= 0.1


class ColdAtFirst(Line):
    """The first call chooses kernels, for a fifth of a second."""

    warm = False

    def forward(self, batch, generator):
        time.sleep(0.0 if self.warm else 0.2)
        self.warm = True
        return super().forward(batch, generator)


@pytest.mark.parametrize("batch", [1, 64])
def test_the_first_call_is_not_taken_for_a_step(batch):
    task = LineTask()
    task.objective = ColdAtFirst()
    # 64 samples of a handful of weights take far less than a tenth of a second.
    assert measured(task, batch=batch).seconds < 0.1


class Long(LineTask):
    """Prepares for a time that is known, or is not."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__()
        self.seconds = seconds

    def before(self, settings, device):
        return self.seconds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, r" steps of [\d.]+ s"),
        (60.0, r" s, of it 60\.0 s before the first"),
        (None, r" s, without what is made before the first"),
    ],
)
def test_what_is_made_before_the_first_step_is_told_or_that_it_is_not_known(seconds, words, tmp_path, caplog):
    caplog.set_level("INFO", "instance_composer")
    train(Long(seconds), settings(), tmp_path, dry_run=True)
    (line,) = (line for line in caplog.messages if line.startswith("time: about "))
    assert re.search(f"{words}$", line)


def test_pictures_that_are_still_to_be_encoded_are_of_unknown_time(pipeline, latents):
    assert make_task("ifadapter", pipeline, latents).before(brief(), CPU) == 0
    task = make_task("base", pipeline, latents)
    assert task.before(brief(), CPU) == 0
    few = [latents.document(0)]
    blank = LatentSet(blank_shards(64, 64, few), [0] * 4, fingerprint="new")
    assert TextToImageTask(task.pipeline, [blank]).before(brief(), CPU) is None
    assert TextToImageTask(task.pipeline, [latents], [blank]).before(brief(), CPU) is None


def test_a_folder_of_pictures_that_are_not_encoded_is_of_unknown_time(tiny_model, latents):
    blank = LatentSet(blank_shards(64, 64, [latents.document(0)]), [0] * 4, fingerprint="new")
    task = make_task("ifadapter", load_sdxl(tiny_model), blank.select(range(4)))
    assert task.before(brief(), CPU) is None


@pytest.mark.parametrize(
    ("batch", "accumulate", "advice"),
    [
        (1, 40, None),
        (3, 1, "set batch to 1 and accumulate to 3 "),
        (4, 2, "set batch to 2 and accumulate to 4 "),
        (9, 2, "set batch to 3 and accumulate to 6 "),
    ],
)
def test_smaller_parts_make_the_same_step_or_are_not_advised(batch, accumulate, advice):
    chosen = settings(batch=batch, accumulate=accumulate)
    words = str(out_of_memory("too large", chosen, LineTask(), begun=False))
    assert words.startswith(f"too large: {advice or 'switch gradient checkpointing on'}")
    anew = str(out_of_memory("too large", chosen, LineTask(), begun=True))
    assert (advice is None) == ("begin anew" not in anew)
    assert advice is None or advice.removeprefix("set ").strip() in anew


class Large(Line):
    """Does not fit from so many samples on."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def forward(self, batch, generator):
        if len(batch["x"]) >= self.samples:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(batch, generator)


@pytest.mark.parametrize(("samples", "smaller"), [(1, False), (2, True)])
def test_a_sample_that_does_not_fit_is_not_told_to_come_in_smaller_batches(samples, smaller, tmp_path):
    task = LineTask()
    task.objective = Large(samples)
    with pytest.raises(OutOfMemoryError) as told:
        train(task, settings(batch=32), tmp_path)
    assert ("set batch to 16 and accumulate to 2" in str(told.value)) == smaller
