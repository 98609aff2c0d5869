"""The loop: stages in their order, each of which goes on where it was broken off."""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ...models.rewards import reward_files
from ...models.rewards.tokens import TOKENIZER_FILE, VOCABULARY_FILE
from ...rankings.errors import GalleryError
from ...rankings.gallery import TUNED, Gallery, read_gallery
from ...rankings.pictures import FOLDER as PICTURES
from ...rankings.pictures import clear_unfinished, each_once, index, picture_file, write_lines
from ..data.errors import SourceError
from ..engine.checkpoint import ChangedRunError, ResumeError, write_whole
from ..engine.processes import this_process, wait_for_all
from ..engine.settings import Settings, read_settings
from ..gallery.diffusers_member import check_tunable
from ..gallery.judges import check_judge
from ..gallery.sampling import other_sizes, sample
from ..itercomp.feedback_options import FEEDBACK_SETTINGS, FeedbackRun, FeedbackTuning
from ..itercomp.feedback_run import form_of, prompts_of, read_prompts, train_feedback
from ..itercomp.reward_options import REWARD_SETTINGS, RewardRun
from ..itercomp.reward_run import check_frozen, train_reward
from .options import ALL, BASE, LAST, NEW, LoopRun
from .own_pictures import FOLDER as OWN_PICTURES
from .own_pictures import MOST_OWN_PICTURES, rank_own_pictures
from .ranking import (
    HELD_OUT,
    TRAIN,
    check_choice,
    expanded_rankings,
    first_rankings,
    teaching_rankings,
)
from .report import write_report
from .stage_names import STAGE_NAMES
from .state import (
    check_rank,
    check_tuned,
    is_done,
    mark_done,
    mark_undone,
    next_stage,
    notes_of,
    place,
    read_lines,
    rewards_of,
    timed,
    tuned_digest,
    tuned_model,
    with_tuned,
)

logger = logging.getLogger("instance_composer")

_PROMPTS = "prompts.txt"
_DEFAULTS = {"rewards": REWARD_SETTINGS, "feedback": FEEDBACK_SETTINGS}


class Loop:
    """One run of the loop in a folder; `changes` are settings of its trainings by the name of the stage."""

    def __init__(self, run: LoopRun, folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
        if unknown := sorted(set(changes) - set(_DEFAULTS)):
            raise SourceError(
                f"there are no settings of {', '.join(unknown)}; write them as rewards.steps=400 or "
                "feedback.steps=100"
            )
        check_choice("--pairs", run.pairs, (ALL, NEW))
        check_choice("--tune-from", run.tune_from, (LAST, BASE))
        self.run, self.folder = run, folder
        self.gallery = read_gallery(run.gallery or folder)
        base = self.gallery.members[self.gallery.base]
        if own := [name for name in ("lora", "unet") if name in base.options]:
            raise GalleryError(
                f"the base {base.name} has a {' and a '.join(own)}, which tuning would not begin with; give "
                "a model that holds it"
            )
        # What cannot be is told before hours of sampling.
        form_of(self._feedback(0))
        check_tunable(base)
        check_judge(run.judge)
        check_frozen(run.frozen)
        self._learnt_prompts()
        if run.own_pictures not in (0, *range(2, MOST_OWN_PICTURES + 1)):
            raise SourceError(
                f"--own-pictures is {run.own_pictures}; it must be 0, or 2 to {MOST_OWN_PICTURES} to rank"
            )
        if run.own_pictures and not run.ranking_weight:
            raise SourceError(
                "--ranking-weight is 0, so --own-pictures would teach nothing; give it a weight"
            )
        reward_files(run.rewards)
        self.settings: dict[str, Settings] = {
            name: read_settings(changes.get(name, {}), defaults) for name, defaults in _DEFAULTS.items()
        }
        self.state = this_process()

    def go_on(self, iterations: int, until: str | None = None) -> None:
        """Finish what is not finished of so many iterations, or of the present one up to a stage."""
        first = next_stage(self.folder, iterations)
        if first is None:
            logger.info("all %d iterations are done; more with a larger --iterations", iterations)
        while first is not None:
            iteration, stage = first
            if until is not None and STAGE_NAMES.index(stage) > STAGE_NAMES.index(until):
                logger.info("iteration %d is done up to %s; what follows is %s", iteration, until, stage)
                return
            self.do(iteration, stage)
            if stage == until:
                return
            first = next_stage(self.folder, iterations)

    def foretell(
        self, iterations: int, until: str | None = None, alone: tuple[int, str] | None = None
    ) -> Iterator[str]:
        """What the loop has before it, a line each, or one stage `alone`; nothing is loaded or written."""
        gallery, following = self.gallery, alone or next_stage(self.folder, iterations)
        yield f"prompts: {', '.join(f'{len(gallery.of_aspect(one))} {one}' for one in gallery.aspects)}"
        yield f"held out for measuring: one prompt of {gallery.held_out} in each aspect"
        learnt, left_out = self._learnt_prompts()
        yield f"prompts to tune on: {len(learnt)}, {left_out} held out"
        if following is None:
            yield f"all {iterations} iterations are done; more with a larger --iterations"
            return
        iteration, stage = following
        for name, member in with_tuned(self.folder, gallery, iteration, self.run.rank).members.items():
            if member.joins > iteration:
                yield f"{name}: joins in iteration {member.joins}"
                continue
            every = each_once(gallery.prompts)
            there = sum(picture_file(self.folder, name, one).is_file() for one in every)
            yield f"{name}: {there} of {len(every)} pictures are there"
        end = f"the end of iteration {iterations - 1}" if until is None else f"{until}, and no further"
        yield f"next: iteration {iteration}, {stage}{', alone' if alone else f'; then on to {end}'}"

    def do(self, iteration: int, stage: str, *, by_name: bool = False) -> None:
        """One stage, once more if it was finished; `by_name` if it was asked for alone."""
        for earlier in range(iteration):
            if not is_done(self.folder, earlier, "feedback"):
                raise SourceError(
                    f"iteration {iteration} follows the feedback of iteration {earlier}, not done yet"
                )
        check_tuned(self.folder, iteration, self.run.rank)
        main, again = self.state.is_main_process, is_done(self.folder, iteration, stage)
        wait_for_all()
        said = notes_of(self.folder, iteration, [stage])
        if main:
            logger.info("iteration %d, %s", iteration, stage)
            mark_undone(self.folder, iteration, stage)
            if behind := self._done_behind(iteration, stage):
                logger.info("what was done behind it stays as it is: %s; repeat that with --stage", behind)
        wait_for_all()
        try:
            with timed(self.folder, iteration, stage, self.state.num_processes, main):
                if stage == "feedback":
                    notes = self._tune(iteration, again)
                else:
                    notes = self._stage(iteration, stage, by_name)
        except Exception:
            # A stage that refuses to begin again is as finished as before.
            if main and again:
                mark_done(self.folder, iteration, stage, {"notes": said})
            raise
        gc.collect()
        if main:
            for note in notes:
                logger.warning("%s", note)
            mark_done(self.folder, iteration, stage, {"notes": notes})
        wait_for_all()

    def _done_behind(self, iteration: int, stage: str) -> str:
        """The stages that are done and rest on one that begins again, in words."""
        following = STAGE_NAMES[STAGE_NAMES.index(stage) + 1 :]
        behind = [one for one in following if is_done(self.folder, iteration, one)]
        later = is_done(self.folder, iteration + 1, STAGE_NAMES[0])
        return ", ".join([*behind, *(["later iterations"] if later else [])])

    def _stage(self, iteration: int, stage: str, by_name: bool) -> list[str]:
        gallery = with_tuned(self.folder, self.gallery, iteration, self.run.rank)
        if stage == "sample":
            return self._sample(gallery, iteration)
        if stage == "rewards":
            return self._rewards(iteration)
        if stage == "report":
            return self._report(iteration)
        if not self.state.is_main_process:
            return []
        if iteration:
            return expanded_rankings(self.run, self.folder, gallery, iteration)
        return first_rankings(self.run, self.folder, gallery, as_far_as_there=by_name)

    def _sample(self, gallery: Gallery, iteration: int) -> list[str]:
        if self.state.is_main_process:
            clear_unfinished(self.folder)
        wait_for_all()
        members = gallery.joined(iteration)
        notes = sample(self.folder, gallery, members, gallery.prompts)
        if self.state.is_main_process:
            names = [member.name for member in members]
            write_lines(self.folder / "pictures.jsonl", index(self.folder, names, gallery.prompts))
            if self.run.ranking_weight and not self.run.own_pictures:
                notes += other_sizes(self.folder, gallery, members)
        return notes

    def _rewards(self, iteration: int) -> list[str]:
        """Train the reward of each aspect on; what cannot be trained stays as it is, and is told."""
        before = rewards_of(self.folder, iteration - 1) if iteration else self.run.rewards
        target, own = rewards_of(self.folder, iteration), place(self.folder, iteration)
        files = reward_files(before)
        notes = [
            f"{before} has no reward for the aspect {aspect}; its rankings teach nothing"
            for aspect in self.gallery.aspects
            if aspect not in files
        ]
        for aspect, file in files.items():
            trained = own / "train" / aspect
            if self._learnable(iteration, aspect):
                run = RewardRun(own / TRAIN, own / HELD_OUT, file, aspect, self.run.frozen)
                with _in_a_folder_of_ours(trained):
                    train_reward(run, self.settings["rewards"], trained)
                found = trained / "model" / f"{aspect}.safetensors"
            else:
                notes.append(f"the reward for the aspect {aspect} stays as it is: there is nothing to learn")
                found = file
            if self.state.is_main_process:
                _copy(found, target / found.name)
            gc.collect()
        if self.state.is_main_process:
            _copy_vocabulary(before, target)
        wait_for_all()
        return notes

    def _learnable(self, iteration: int, aspect: str) -> bool:
        """Whether there are pairs of an aspect both to learn from and to measure on."""
        own = place(self.folder, iteration)
        return all(
            any(_has_pair(line, aspect) for line in read_lines(own / name)) for name in (TRAIN, HELD_OUT)
        )

    def _feedback(self, iteration: int) -> FeedbackRun:
        """The run of an iteration's feedback learning."""
        run, base = self.run, self.gallery.members[self.gallery.base]
        init = None
        if iteration and run.tune_from == LAST:
            init = tuned_model(self.folder, iteration - 1, run.rank)
        tuning = {one.name: getattr(run, one.name) for one in fields(FeedbackTuning)}
        return FeedbackRun(
            model=Path(base.options["model"]),
            config=base.path("config"),
            rewards=rewards_of(self.folder, iteration),
            prompts=place(self.folder, iteration) / _PROMPTS,
            rankings=teaching_rankings(self.folder, iteration) if run.ranking_weight else None,
            size=self.gallery.size,
            init=init,
            **tuning,
        )

    def _tune(self, iteration: int, again: bool) -> list[str]:
        """Tune the base; `again` where that was finished before, with other settings or with fewer steps."""
        target, model = place(self.folder, iteration) / "feedback", self._tuned(iteration)
        check_rank(self.folder, iteration, self.run.rank)
        main = self.state.is_main_process
        before = tuned_digest(model) if main and again and model.exists() else None
        if main and before is None:
            self._forget_pictures(iteration)
        wait_for_all()
        notes = self._prompts(iteration)
        feedback = self._feedback(iteration)
        if self.run.own_pictures:
            feedback = replace(feedback, rankings=self._own_pictures(iteration, feedback))
        with _in_a_folder_of_ours(target):
            train_feedback(feedback, self.settings["feedback"], target)
        if main and before is not None and tuned_digest(model) != before:
            self._forget_pictures(iteration)
            notes.append(
                f"{TUNED}{iteration + 1} is another model now and its pictures were removed; what was made "
                f"with the earlier one, the report of iteration {iteration} and iterations after it, is made "
                "again with --stage, or after its folder in iterations was deleted"
            )
        wait_for_all()
        return notes

    def _tuned(self, iteration: int) -> Path:
        return tuned_model(self.folder, iteration, self.run.rank)

    def _forget_pictures(self, iteration: int) -> None:
        """Remove pictures by an earlier model of this name."""
        shutil.rmtree(self.folder / PICTURES / f"{TUNED}{iteration + 1}", ignore_errors=True)
        shutil.rmtree(place(self.folder, iteration + 1) / OWN_PICTURES, ignore_errors=True)

    def _own_pictures(self, iteration: int, feedback: FeedbackRun) -> Path:
        """Rankings of pictures by the model that is tuned next."""
        gallery = with_tuned(self.folder, self.gallery, iteration, self.run.rank)
        started_from = gallery.base if feedback.init is None else f"{TUNED}{iteration}"
        return rank_own_pictures(
            self.folder,
            gallery,
            iteration,
            gallery.members[started_from],
            prompts_of(feedback),
            self.run.own_pictures,
            self.run.judge,
        )

    def _prompts(self, iteration: int) -> list[str]:
        """Write the prompts to tune on, each once: those given or the gallery's, none that measures."""
        learnt, left_out = self._learnt_prompts()
        if self.state.is_main_process:
            file = place(self.folder, iteration) / _PROMPTS
            write_whole(file, "".join(f"{text}\n" for text in learnt))
        wait_for_all()
        if self.run.prompts is None or not left_out:
            return []
        return [f"{left_out} prompts of {self.run.prompts} are held out for measuring and teach nothing"]

    def _learnt_prompts(self) -> tuple[list[str], int]:
        """The prompts to tune on, and how many others are for measuring."""
        held_out, given = self.gallery.held_out_texts(), self.run.prompts
        texts = [one.text for one in self.gallery.prompts] if given is None else read_prompts(given)
        every = [*dict.fromkeys(texts)]
        learnt = [text for text in every if text not in held_out]
        if not learnt:
            raise SourceError(
                f"all prompts of {given or self.gallery.path} are held out for measuring, and none is left "
                "to tune on; give others with --prompts"
            )
        return learnt, len(every) - len(learnt)

    def _report(self, iteration: int) -> list[str]:
        gallery = with_tuned(self.folder, self.gallery, iteration + 1, self.run.rank)
        measured = [one for one in gallery.prompts if gallery.is_held_out(one)]
        newest = [gallery.members[name] for name in gallery.members if name.startswith(TUNED)]
        # The base's are there; made otherwise than now they would not be those of the same noise.
        notes = sample(self.folder, gallery, [gallery.members[gallery.base], *newest], measured)
        if self.state.is_main_process:
            write_report(self.folder, gallery, iteration, self.run.judge)
        return notes


@contextmanager
def _in_a_folder_of_ours(folder: Path) -> Iterator[None]:
    """Inside the block a run that was started with something else is told for what can be done here."""
    try:
        yield
    except ChangedRunError as error:
        raise ResumeError(
            f"{error.trouble}. Delete {folder} to have it trained anew, and start the same stage again"
        ) from error


def _has_pair(line: Mapping[str, Any], aspect: str) -> bool:
    if "better" in line:
        return line["aspect"] == aspect
    return len(set(line["ranks"].get(aspect, ()))) > 1


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    beginning = target.with_name(f"{target.name}.part")
    shutil.copyfile(source, beginning)
    beginning.replace(target)


def _copy_vocabulary(before: Path, target: Path) -> None:
    """The vocabulary that rewards of the published size need beside them, where there is one."""
    for folder in (before, before / "bert-base-uncased", before.parent, before.parent / "bert-base-uncased"):
        for name in (VOCABULARY_FILE, TOKENIZER_FILE):
            if (folder / name).is_file():
                _copy(folder / name, target / name)
                return
