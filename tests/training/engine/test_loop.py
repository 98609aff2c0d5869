"""The loop, with a model of a handful of weights: what it promises holds for every model."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from line_task import Line, LineTask, settings
from torch import nn

from instance_composer.training.engine.account.memory import OutOfMemoryError, out_of_memory
from instance_composer.training.engine.checkpoint import FILE, ResumeError, check_same, read_run, write_run
from instance_composer.training.engine.divergence import DivergedError
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.settings import Settings, SettingsError, read_settings
from instance_composer.training.engine.task import BatchPosition, parameter_groups


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in trainer.task.objective.state_dict().items()}


def assert_same(one, two) -> None:
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def metrics(folder) -> list[str]:
    return (folder / "metrics.jsonl").read_text().splitlines()


def all_finite(folder) -> bool:
    return all(weight.isfinite().all() for weight in read_run(folder)["weights"].values())


def straight(tmp_path, **changes) -> Trainer:
    trainer = Trainer(LineTask(), settings(**changes), tmp_path / "straight")
    trainer.run()
    return trainer


@pytest.mark.parametrize("changes", [{}, {"accumulate": 3}, {"cool_down": 4}, {"weight_decay": 0.3}])
def test_a_resumed_run_equals_a_straight_one(tmp_path, changes):
    """Interrupted between two checkpoints, so that steps are done again."""
    whole = straight(tmp_path, **changes)
    first = Trainer(LineTask(), settings(**changes), tmp_path / "resumed")
    for _ in range(5):
        first.advance()
        if first.step == 3:
            first.save()
    torch.manual_seed(12345)
    second = Trainer(LineTask(), settings(**changes), tmp_path / "resumed")
    assert second.step == 3
    second.run()
    assert_same(weights(whole), weights(second))
    one, two = whole.state(), second.state()
    for a, b in zip(one["average"]["shadow_params"], two["average"]["shadow_params"], strict=True):
        assert torch.equal(a, b)
    assert one["optimizer"]["param_groups"] == two["optimizer"]["param_groups"]
    for number, moments in one["optimizer"]["state"].items():
        assert_same(moments, two["optimizer"]["state"][number])
    assert torch.equal(one["random"], two["random"])


def test_training_fits(tmp_path):
    trainer = Trainer(LineTask(), settings(steps=200, batch=16, learning_rate=3e-2), tmp_path)
    losses = [trainer.advance()["loss"] for _ in range(200)]
    assert sum(losses[-10:]) / 10 < 0.1 * losses[0]


def test_accumulated_parts_make_one_large_batch(tmp_path):
    """Without noise, four parts of 4 have the gradient of one batch of 16."""

    class Quiet(Line):
        def forward(self, batch, generator):
            return {"loss": (self.head(self.body(batch["x"]))[:, 0] - batch["y"]).square().mean()}

    runs = []
    for name, batch, parts in (("whole", 16, 1), ("parts", 4, 4)):
        task = LineTask()
        torch.manual_seed(7)
        task.objective = Quiet()
        trainer = Trainer(task, settings(batch=batch, accumulate=parts), tmp_path / name)
        for _ in range(4):
            trainer.advance()
        runs.append(weights(trainer))
    for name in runs[0]:
        torch.testing.assert_close(runs[0][name], runs[1][name], atol=1e-6, rtol=1e-5)


def test_what_is_frozen_stays(tmp_path):
    task = LineTask()
    before = task.objective.fixed.weight.clone()
    trainer = Trainer(task, settings(), tmp_path)
    trainer.run()
    assert torch.equal(task.objective.fixed.weight, before)
    assert not any(name.startswith("fixed") for name in trainer.state()["weights"])


def test_every_field_of_every_optimizer_group(tmp_path):
    chosen = settings(weight_decay=0.2, beta1=0.8, beta2=0.95, epsilon=1e-6)
    trainer = Trainer(LineTask(), chosen, tmp_path)
    trainer.advance()
    groups = trainer.turns[0].optimizer.param_groups
    body, head = (trainer.task.objective.body, trainer.task.objective.head)
    by_decay = {group["weight_decay"]: group["params"] for group in groups}
    assert {id(p) for p in by_decay[0.2]} == {id(body.weight), id(head.weight)}
    assert {id(p) for p in by_decay[0.0]} == {id(body.bias), id(head.bias)}
    for group in groups:
        assert group["lr"] == pytest.approx(1e-2 / 3)
        assert group["betas"] == (0.8, 0.95)
        assert group["eps"] == 1e-6
        assert (group["amsgrad"], group["maximize"]) == (False, False)
        assert group["scale"] == 1.0


def test_groups_can_have_rates_of_their_own():
    module = nn.ModuleDict({"text": nn.Linear(2, 2), "unet": nn.Embedding(3, 2)})
    named = [("text.weight", module["text"].weight), ("unet.embedding.weight", module["unet"].weight)]
    groups = parameter_groups(named, 0.1, {"text": 0.5})
    assert [(g["scale"], g["weight_decay"]) for g in groups] == [(0.5, 0.1), (1.0, 0.0)]


def test_the_rate_rises_stays_and_falls():
    rates = [Settings(steps=10, warm_up=4, cool_down=4).rate(step) for step in range(10)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_pictures_show_the_average_and_leave_the_run_alone(tmp_path):
    shown = straight(tmp_path)
    silent = Trainer(LineTask(), settings(every_sample=0, every_checkpoint=0), tmp_path / "silent")
    while silent.step < 8:
        silent.advance()
    assert_same(weights(shown), weights(silent))
    last = shown.task.shown[-1]
    head = [id(p) for p in shown.trained].index(id(shown.task.objective.head.weight))
    assert torch.equal(last, shown.average.shadow_params[head])
    assert not torch.equal(last, shown.task.objective.head.weight)
    assert sorted(p.name for p in (tmp_path / "straight/samples").iterdir()) == ["000004.png", "000008.png"]


def test_metrics_are_one_line_every_few_steps_and_never_twice(tmp_path):
    trainer = Trainer(LineTask(), settings(), tmp_path)
    trainer.run()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "loss": 1.0}\n')
    Trainer(LineTask(), settings(steps=12), tmp_path).run()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    assert {"loss", "bias", "gradient", "rate", "seconds_per_step"} <= lines[-1].keys()


def test_what_some_steps_alone_report_is_the_mean_over_those(tmp_path):
    class Sometimes(Line):
        steps = 0

        def forward(self, batch, generator):
            self.steps += 1
            found = super().forward(batch, generator)
            return {**found, "rare": torch.tensor(float(self.steps))} if self.steps % 3 == 2 else found

    task = LineTask()
    task.objective = Sometimes()
    Trainer(task, settings(steps=10, every_log=5), tmp_path).run()
    # Of steps 1 to 5 those are 2 and 5, of 6 to 10 it is 8.
    assert [json.loads(line).get("rare") for line in metrics(tmp_path)] == [3.5, 8.0]


def test_what_is_left_of_a_line_of_metrics_is_dropped(tmp_path):
    Trainer(LineTask(), settings(), tmp_path).run()
    file = tmp_path / "metrics.jsonl"
    before = file.read_text()
    file.write_text(before + '{"step": 1')
    Trainer(LineTask(), settings(), tmp_path)
    assert file.read_text() == before
    file.write_text(f"no metric\n{before}")
    with pytest.raises(ResumeError, match=r"metrics.jsonl holds a line that is no metric"):
        Trainer(LineTask(), settings(), tmp_path)


def test_lines_of_metrics_that_stay_are_not_written_again(tmp_path):
    """And where some go, an interruption leaves the file as it was."""
    Trainer(LineTask(), settings(), tmp_path).run()
    file = tmp_path / "metrics.jsonl"
    before = file.stat()
    Trainer(LineTask(), settings(steps=9), tmp_path)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    with file.open("a") as more:
        more.write('{"step": 9}\n')
    (tmp_path / "metrics.jsonl.part").mkdir()
    with pytest.raises(IsADirectoryError):
        Trainer(LineTask(), settings(steps=9), tmp_path)
    assert len(file.read_text().splitlines()) == 5
    (tmp_path / "metrics.jsonl.part").rmdir()
    Trainer(LineTask(), settings(steps=9), tmp_path)
    assert len(file.read_text().splitlines()) == 4


class Asked(LineTask):
    """Is asked to end while a step, counted from 1, is made."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def batch(self, position, size, seed):
        if position.step == self._step - 1:
            signal.raise_signal(signal.SIGTERM)
        return super().batch(position, size, seed)


@pytest.mark.usefixtures("usual_handlers")
def test_no_step_is_without_a_line(tmp_path):
    """Behind an interruption and at the end there are lines of fewer steps."""

    chosen = settings(steps=8, every_log=3)
    with pytest.raises(KeyboardInterrupt):
        Trainer(Asked(4), chosen, tmp_path).run()
    Trainer(LineTask(), chosen, tmp_path).run()
    assert [json.loads(line)["step"] for line in metrics(tmp_path)] == [3, 4, 6, 8]


def test_a_part_is_let_go_of_after_its_backward_pass(tmp_path):
    task = LineTask()
    Trainer(task, settings(accumulate=3), tmp_path).advance()
    assert task.let_go == 3


def test_weights_that_run_away_never_reach_the_disk(tmp_path):
    """A rate that no model survives: the run ends in words, and what it had before stays."""
    straight(tmp_path)
    with pytest.raises(
        DivergedError,
        match=r"no step after .*checkpoint\.pt was finite.*rename checkpoint-000008\.pt to "
        r"checkpoint\.pt.*lower learning_rate",
    ):
        Trainer(
            LineTask(), settings(steps=99, learning_rate=1e30, every_checkpoint=1), tmp_path / "straight"
        ).run()
    assert all_finite(tmp_path / "straight")
    lines = [json.loads(line, parse_constant=pytest.fail) for line in metrics(tmp_path / "straight")]
    assert lines


def test_a_checkpoint_that_finite_steps_followed_is_from_before(tmp_path):
    class Broken(Line):
        calls = 0

        def forward(self, batch, generator):
            type(self).calls += 1
            report = super().forward(batch, generator)
            return {**report, "loss": report["loss"] * (float("nan") if self.calls > 4 else 1.0)}

    task = LineTask()
    task.objective = Broken()
    with pytest.raises(DivergedError, match=r"checkpoint\.pt is from before\. To mend it"):
        Trainer(task, settings(steps=99, every_sample=0), tmp_path).run()
    assert read_run(tmp_path)["step"] == 3


def test_a_step_without_a_finite_gradient_moves_nothing(tmp_path):
    class Broken(Line):
        calls = 0

        def forward(self, batch, generator):
            report = super().forward(batch, generator)
            type(self).calls += 1
            return {**report, "loss": report["loss"] * (float("nan") if self.calls == 2 else 1.0)}

    task = LineTask()
    torch.manual_seed(7)
    task.objective = Broken()
    trainer = Trainer(task, settings(), tmp_path)
    trainer.advance()
    before = weights(trainer)
    moments = trainer.turns[0].optimizer.state_dict()["state"][0]["step"].clone()
    trainer.advance()
    assert_same(before, weights(trainer))
    assert torch.equal(trainer.turns[0].optimizer.state_dict()["state"][0]["step"], moments)
    trainer.save()
    assert not (tmp_path / FILE).exists(), "a checkpoint in the middle of trouble would push a good one out"
    trainer.advance()
    assert not torch.equal(before["head.weight"], weights(trainer)["head.weight"])
    trainer.save()
    assert (tmp_path / FILE).exists()


class Failing(Line):
    """A loss that is no number in some calls."""

    def __init__(self, wrong) -> None:
        super().__init__()
        self.calls, self.wrong = 0, wrong

    def forward(self, batch, generator):
        self.calls += 1
        report = super().forward(batch, generator)
        return {**report, "loss": report["loss"] * (float("nan") if self.calls in self.wrong else 1.0)}


def failing(*wrong) -> LineTask:
    task = LineTask()
    torch.manual_seed(7)
    task.objective = Failing(wrong)
    return task


def test_the_last_checkpoint_is_written_behind_a_step_that_moved_nothing(tmp_path):
    """It moved nothing and lost nothing; the one before stays, whatever is wrong."""
    chosen = settings(steps=5, every_checkpoint=2, keep_checkpoints=1)
    Trainer(failing(5), chosen, tmp_path).run()
    assert read_run(tmp_path)["step"] == 5
    assert all_finite(tmp_path)
    assert (tmp_path / "checkpoint-000004.pt").is_file()
    Trainer(LineTask(), settings(steps=6, every_checkpoint=2, keep_checkpoints=1), tmp_path).run()
    assert [file.name for file in tmp_path.glob("checkpoint*")] == [FILE]


@pytest.mark.usefixtures("usual_handlers")
def test_a_run_that_is_asked_to_end_behind_such_a_step_goes_on_from_there(tmp_path):
    task = Asked(5)
    task.objective = failing(5).objective
    with pytest.raises(KeyboardInterrupt, match="ended after step 5; the same command goes on"):
        Trainer(task, settings(every_checkpoint=0), tmp_path).run()
    assert Trainer(LineTask(), settings(), tmp_path).step == 5


def test_the_last_checkpoints_stay_and_any_of_them_continues(tmp_path):
    chosen = settings(every_checkpoint=2, keep_checkpoints=3)
    whole = Trainer(LineTask(), chosen, tmp_path)
    whole.run()
    names = sorted(file.name for file in tmp_path.glob("checkpoint*"))
    assert names == ["checkpoint-000004.pt", "checkpoint-000006.pt", "checkpoint.pt"]
    (tmp_path / FILE).write_bytes(b"cut off")
    with pytest.raises(ResumeError, match=r"rename checkpoint-000006\.pt to checkpoint\.pt"):
        Trainer(LineTask(), chosen, tmp_path)
    (tmp_path / "checkpoint-000006.pt").rename(tmp_path / FILE)
    again = Trainer(LineTask(), chosen, tmp_path)
    assert again.step == 6
    again.run()
    assert_same(weights(whole), weights(again))


@pytest.fixture
def usual_handlers():
    """Whoever runs the tests may ignore signals, and the command line takes one for itself."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield usual
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_end_loses_nothing(tmp_path, number, usual_handlers):
    whole = straight(tmp_path)

    class Asked(LineTask):
        def batch(self, position, size, seed):
            if position.step == 4:
                signal.raise_signal(number)
            return super().batch(position, size, seed)

    chosen = settings(every_checkpoint=0, every_sample=0)
    with pytest.raises(KeyboardInterrupt, match="ended after step 5"):
        Trainer(Asked(), chosen, tmp_path / "asked").run()
    rest = Trainer(LineTask(), chosen, tmp_path / "asked")
    assert rest.step == 5
    rest.run()
    assert_same(weights(whole), weights(rest))
    assert signal.getsignal(number) is usual_handlers[number]


def test_an_ignored_signal_stays_ignored(tmp_path, usual_handlers):
    class Asked(LineTask):
        def batch(self, position, size, seed):
            signal.raise_signal(signal.SIGINT)
            return super().batch(position, size, seed)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    trainer = Trainer(Asked(), settings(), tmp_path)
    trainer.run()
    assert trainer.step == 8


def test_the_time_of_a_step_is_not_that_of_samples(tmp_path):
    class Slow(LineTask):
        def sample(self, path):
            time.sleep(0.5)
            super().sample(path)

    Trainer(Slow(), settings(every_sample=1, steps=4), tmp_path).run()
    assert all(json.loads(line)["seconds_per_step"] < 0.4 for line in metrics(tmp_path))


@pytest.mark.parametrize("changes", [{"batch": 8}, {"seed": 1}, {"accumulate": 2}, {"ema_decay": 0.5}])
def test_a_run_is_not_continued_with_other_numbers(tmp_path, changes):
    straight(tmp_path)
    (name,) = changes
    with pytest.raises(ResumeError, match=name):
        Trainer(LineTask(), settings(**changes), tmp_path / "straight")


def test_a_run_is_not_continued_with_other_data(tmp_path):
    straight(tmp_path)
    with pytest.raises(ResumeError, match="data was 64 and is now 32"):
        Trainer(LineTask(32), settings(), tmp_path / "straight")


def test_a_run_is_not_continued_on_other_frozen_weights(tmp_path):
    straight(tmp_path)
    task = LineTask()
    with torch.no_grad():
        task.objective.fixed.weight[1, 1] += 1e-3
    with pytest.raises(ResumeError, match="what is not trained has other weights: fixed was"):
        Trainer(task, settings(), tmp_path / "straight")


def test_a_run_is_not_continued_from_another_start(tmp_path):
    """What is trained comes from the checkpoint; whoever names another start would not learn of it."""
    straight(tmp_path)
    task = LineTask()
    with torch.no_grad():
        task.objective.head.weight[0, 0] += 1e-3
    with pytest.raises(ResumeError, match="another start: weights to train from: head was"):
        Trainer(task, settings(), tmp_path / "straight")
    # Another torch may draw other numbers for fresh weights.
    state = read_run(tmp_path / "straight")
    state["start"]["torch"] = "1.0"
    write_run(tmp_path / "straight", state)
    assert Trainer(task, settings(), tmp_path / "straight").step == 8


def test_where_only_the_number_of_texts_was_kept_their_digest_goes_on(tmp_path):
    check_same("model or data", {"prompts": 12}, {"prompts": "12 of 71d35c1f453720b0"})
    with pytest.raises(ResumeError, match="prompts was 1 and is now '12 of"):
        check_same("model or data", {"prompts": 1}, {"prompts": "12 of 71d35c1f453720b0"})


def test_a_run_of_an_earlier_version_goes_on(tmp_path):
    straight(tmp_path)
    state = read_run(tmp_path / "straight")
    del state["frozen"], state["start"]
    write_run(tmp_path / "straight", state)
    assert Trainer(LineTask(), settings(), tmp_path / "straight").step == 8


class Noting(LineTask):
    """Notes with how many processes its run is said to have begun."""

    def __init__(self) -> None:
        super().__init__()
        self.together: list[int] = []

    def batch(self, position, size, seed):
        self.together.append(position.together)
        return super().batch(position, size, seed)


@pytest.mark.parametrize("began", [2, 1, None])
def test_a_run_remembers_with_how_many_processes_it_began(tmp_path, began):
    """Whoever goes on with it; an earlier version did not keep it, and had another order of its sets."""
    Trainer(Noting(), settings(steps=2, accumulate=2), tmp_path).run()
    state = read_run(tmp_path)
    assert state["start"].pop("processes") == 1
    if began is not None:
        state["start"]["processes"] = began
    write_run(tmp_path, state)
    for steps in (3, 4):
        task = Noting()
        Trainer(task, settings(steps=steps, accumulate=2), tmp_path).run()
        assert task.together == [began or 0] * 2
    assert read_run(tmp_path)["start"].get("processes") == began


class Resting(LineTask):
    """A task that says what else it rests on, and learns of a part of its data when that is made."""

    def __init__(self, made: int | None = 3, **rests) -> None:
        super().__init__()
        self.made, self.rests, self.complete = made, rests, False

    def rests_on(self):
        return self.rests

    def prepare(self) -> None:
        self.complete = True

    def describe(self):
        return {**super().describe(), "made": self.made if self.complete else None}


def test_what_a_run_rests_on_is_compared_as_far_as_its_checkpoint_knows(tmp_path):
    trainer = Trainer(Resting(masks="one"), settings(), tmp_path)
    trainer.prepare()
    trainer.run()
    assert Trainer(Resting(masks="one", words="more"), settings(), tmp_path).step == 8
    with pytest.raises(ResumeError, match="another model or data: masks was 'one' and is now 'two'"):
        Trainer(Resting(masks="two"), settings(), tmp_path)
    with pytest.raises(ResumeError, match="masks was 'one' and is now None"):
        Trainer(Resting(), settings(), tmp_path)


def test_what_only_preparing_tells_is_compared_behind_it(tmp_path):
    trainer = Trainer(Resting(), settings(steps=4), tmp_path)
    trainer.prepare()
    trainer.run()
    Trainer(Resting(), settings(), tmp_path).prepare()
    with pytest.raises(ResumeError, match="made was 3 and is now 4"):
        Trainer(Resting(4), settings(), tmp_path).prepare()


def test_a_damaged_checkpoint_is_told(tmp_path):
    straight(tmp_path)
    path = tmp_path / "straight" / FILE
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ResumeError, match="damaged"):
        Trainer(LineTask(), settings(), tmp_path / "straight")


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path):
    torch.save({"step": BatchPosition}, tmp_path / FILE)
    with pytest.raises(ResumeError):
        Trainer(LineTask(), settings(), tmp_path)


def test_too_little_memory_is_told_with_a_way_out(tmp_path):
    class Huge(Line):
        def forward(self, batch, generator):
            raise torch.OutOfMemoryError("CUDA out of memory")

    task = LineTask()
    task.objective = Huge()
    with pytest.raises(OutOfMemoryError, match="set batch to 2 and accumulate to 2"):
        Trainer(task, settings(), tmp_path).advance()


class HugeOnce(Line):
    """Fits until a step that does not."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def forward(self, batch, generator):
        self.left -= 1
        if self.left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(batch, generator)


@pytest.mark.parametrize("changes", [{}, {"mixed_precision": "fp16"}, {"optimizer": "adamw8bit"}])
def test_a_run_with_a_checkpoint_is_not_told_to_change_what_it_cannot(tmp_path, changes):
    """Batch, accumulate and precision are those of the checkpoint, or it is refused."""
    task = LineTask()
    task.objective = HugeOnce(4)
    with pytest.raises(OutOfMemoryError) as told:
        Trainer(task, settings(), tmp_path).run()
    now, anew = str(told.value).split(", or begin anew in another folder")
    assert "goes on with its batch alone: switch gradient checkpointing on" in now
    assert not any(word in now for word in ("set batch", "accumulate", "precision"))
    assert "set batch to 2 and accumulate to 2" in anew
    assert "--init" in anew
    # Whose moments or loss scale cannot be shared out is not told to.
    words = str(out_of_memory("too large", settings(**changes), task, begun=True))
    assert ("fsdp" in words) == (not changes)


@pytest.mark.skipif(sys.platform != "linux", reason="reads which files the process has mapped")
def test_a_checkpoint_is_mapped_and_a_run_that_goes_on_holds_on_to_nothing_of_it(tmp_path):
    """The next one takes its name, and what was mapped would keep the old one's memory and disk."""

    def mapped() -> bool:
        return str(tmp_path) in Path("/proc/self/maps").read_text()

    straight(tmp_path)
    state = read_run(tmp_path / "straight")
    assert mapped()
    before = (tmp_path / "straight" / FILE).read_bytes()
    for weight in state["weights"].values():
        weight.zero_()
    assert (tmp_path / "straight" / FILE).read_bytes() == before
    del state, weight
    assert not mapped()
    trainer = Trainer(LineTask(), settings(steps=10), tmp_path / "straight")
    assert not mapped()
    trainer.run()


class Dropping(Line):
    """Forgets parts of what it sees, and notes which."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.masks: list[list[bool]] = []

    def forward(self, batch, generator):
        kept = self.dropout(torch.ones(8, 4))
        self.masks.append((kept > 0).flatten().tolist())
        error = self.head(self.body(batch["x"]) * kept[: len(batch["x"])])[:, 0] - batch["y"]
        return {"loss": error.square().mean()}


def dropping() -> LineTask:
    task = LineTask()
    torch.manual_seed(7)
    task.objective = Dropping()
    return task


def test_masks_of_dropout_are_those_of_the_position(tmp_path):
    """Whatever else draws from torch's generators, and after an interruption."""
    whole = Trainer(dropping(), settings(accumulate=2), tmp_path / "whole")
    whole.run()
    first = Trainer(dropping(), settings(accumulate=2, steps=3), tmp_path / "resumed")
    first.run()
    state = read_run(tmp_path / "resumed")
    write_run(tmp_path / "resumed", {**state, "random": torch.Generator().manual_seed(5).get_state()})
    second = Trainer(dropping(), settings(accumulate=2), tmp_path / "resumed")
    second.run()
    assert_same(weights(whole), weights(second))
    masks = whole.task.objective.masks
    assert first.task.objective.masks + second.task.objective.masks == masks
    assert len({tuple(mask) for mask in masks}) == len(masks) == 16


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"stepz": 5}, "unknown settings: stepz"),
        ({"learning_rate": "fast"}, "must be of type float"),
        ({"batch": 2.5}, "must be of type int"),
        ({"mixed_precision": "half"}, "one of no, fp16, bf16"),
        ({"ema_decay": 1.0}, "from 0 up to 1"),
    ],
)
def test_settings_are_checked(values, complaint):
    with pytest.raises(SettingsError, match=complaint):
        read_settings(values)


def test_settings_of_a_file_keep_the_defaults_they_do_not_name():
    read = read_settings({"steps": 5, "learning_rate": 1}, Settings(batch=7))
    assert (read.steps, read.batch, read.learning_rate) == (5, 7, 1.0)
