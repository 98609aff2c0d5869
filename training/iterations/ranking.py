"""The stage `rank`: rankings of people or a judge at first, then newcomers placed in them by rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...models.rewards import reward_files
from ...rankings.answers import AnswerFile, all_answers
from ...rankings.errors import GalleryError
from ...rankings.expansion import insert_newcomers
from ...rankings.gallery import TUNED, Gallery
from ...rankings.merging import Ranking, preference_lines, rankings, read_rankings
from ...rankings.pictures import picture_file, write_lines
from ...rankings.questions import answered, of_these_pictures, questions
from ..data.errors import SourceError
from ..gallery.judges import judge_all, load_judge
from .options import NEW, LoopRun
from .scores import scores
from .state import place, read_lines, rewards_of

RANKINGS, TRAIN, HELD_OUT = "rankings.jsonl", "train.jsonl", "held-out.jsonl"
# What rankings teach the base: all of them, whichever pairs the rewards go on with.
TEACHING = "teaching.jsonl"


def first_rankings(run: LoopRun, folder: Path, gallery: Gallery, *, as_far_as_there: bool) -> list[str]:
    """Write the rankings of iteration 0; sentences on what does not count.

    People must have answered everything, unless what is there is taken as it is; a judge does so now.
    """
    asked, notes = questions(folder, gallery)
    if not asked:
        raise GalleryError(f"{folder} has no prompt with pictures of two members; sample them first")
    answers = all_answers(folder)
    if run.judge is not None:
        name, judge = load_judge(run.judge, run=folder)
        notes = judge_all(folder, gallery, name, judge)
        others = [one for one in answers if one != name]
        answers = {name: AnswerFile(folder, name).answers()}
        if others:
            notes.append(f"{name} ranks, so that answers of {', '.join(others)} do not count")
    # Who joins later is placed by rewards, whoever may have been asked about it.
    first = replace(gallery, members={one.name: one for one in gallery.joined(0)})
    answers, earlier = of_these_pictures(folder, first, answers)
    found, about = rankings(first, answers)
    unanswered = [one for one in asked if not any(answered(one, own) for own in answers.values())]
    if not found:
        raise GalleryError(
            f"{folder} has no rankings: let people rank with instance-composer rank {folder}, or a judge "
            "with --judge; the same command goes on from there"
        )
    if unanswered and not as_far_as_there:
        raise GalleryError(
            f"{len(unanswered)} of {len(asked)} questions have no answer yet: go on with instance-composer "
            f"rank {folder}, or take what there is with --stage rank"
        )
    _write(run, folder, gallery, 0, found, ())
    return notes + earlier + about + _aspects_without(gallery, found)


def expanded_rankings(run: LoopRun, folder: Path, gallery: Gallery, iteration: int) -> list[str]:
    """Write the rankings of an iteration: those before, and in them the members that are new.

    Newcomers are scored by the rewards of the iteration before, and each aspect by its own.
    """
    lines = read_lines(place(folder, iteration - 1) / RANKINGS)
    before = read_rankings(gallery, lines)
    files = reward_files(rewards_of(folder, iteration - 1))
    joined = [member for member in gallery.joined(iteration) if member.joins == iteration]
    # The tuned base is first in the paper's order, the new models after it.
    newcomers = sorted((one.name for one in joined), key=lambda name: not name.startswith(TUNED))
    found: list[Ranking] = []
    placed = [one for one in before if one.prompt.aspect in files]
    notes = _late(folder, gallery, iteration, placed, newcomers) + _unranked(gallery, before)
    if left_out := len(lines) - len(before):
        notes.append(
            f"{left_out} rankings of iteration {iteration - 1} are of prompts that the gallery has no more, "
            "with this text and at this place of their file; they are left out"
        )
    absent = dict.fromkeys(newcomers, 0)
    for aspect in gallery.aspects:
        own = [one for one in before if one.prompt.aspect == aspect]
        if aspect not in files:
            found += own
            if own:
                notes.append(f"there is no reward for the aspect {aspect}: its rankings stay as they were")
            continue
        there = {
            one.prompt.number: [
                name
                for name in newcomers
                if picture_file(folder, name, one.prompt).is_file() and name not in one.members
            ]
            for one in own
        }
        everyone = {one.prompt.number: [*one.members, *there[one.prompt.number]] for one in own}
        prompts = [one.prompt for one in own]
        values = scores(folder, files[aspect], prompts, everyone)
        for one in own:
            number = one.prompt.number
            of_prompt = {member: values[member, number] for member in everyone[number]}
            places = insert_newcomers(one.places, of_prompt, there[number])
            found.append(Ranking(one.prompt, tuple(tuple(group) for group in places)))
            for name in newcomers:
                absent[name] += name not in (*there[number], *one.members)
    notes += [
        f"{name} has no picture of {count} ranked prompts and takes no place in them"
        for name, count in absent.items()
        if count
    ]
    _write(run, folder, gallery, iteration, found, newcomers)
    return notes


def _late(
    folder: Path, gallery: Gallery, iteration: int, before: Sequence[Ranking], newcomers: Sequence[str]
) -> list[str]:
    """Sentences on members whose pictures came after the iteration in which they were to be placed."""
    notes: list[str] = []
    for member in gallery.joined(iteration):
        if member.name in newcomers:
            continue
        count = sum(
            member.name not in one.members and picture_file(folder, member.name, one.prompt).is_file()
            for one in before
        )
        if not count:
            continue
        way = f"rank that one again with --stage rank --iteration {member.joins}"
        if member.name != gallery.base and not member.name.startswith(TUNED):
            way = f"write joins = {iteration} for it and start --stage rank --iteration {iteration}, or {way}"
        notes.append(
            f"{member.name} has pictures of {count} ranked prompts and no place in them, so that they teach "
            f"nothing: it joined in iteration {member.joins}, which is ranked already; {way}"
        )
    return notes


def _unranked(gallery: Gallery, before: Sequence[Ranking]) -> list[str]:
    ranked = {(one.prompt.aspect, one.prompt.number) for one in before}
    unranked = sum((one.aspect, one.number) not in ranked for one in gallery.prompts)
    if not unranked:
        return []
    return [
        f"{unranked} prompts have no ranking, which iteration 0 makes, so that their pictures teach "
        "nothing; where they are new, have them ranked and start --stage rank --iteration 0 again"
    ]


def teaching_rankings(folder: Path, iteration: int) -> Path:
    """The file of an iteration's rankings that teach the base."""
    found = place(folder, iteration) / TEACHING
    # Loops of before there was this file go on.
    earlier = place(folder, iteration) / TRAIN
    return found if found.is_file() or not earlier.is_file() else earlier


def _write(
    run: LoopRun,
    folder: Path,
    gallery: Gallery,
    iteration: int,
    found: Sequence[Ranking],
    newcomers: Sequence[str],
) -> None:
    """Rankings whole, those to learn from, of which rewards may get pairs alone, and the first rankings of
    held-out prompts, which stay.
    """
    target = place(folder, iteration)
    write_lines(target / RANKINGS, preference_lines(folder, found, target))
    measuring = gallery.held_out_texts()
    learnt = [one for one in found if one.prompt.text not in measuring]
    touching = frozenset(newcomers) if iteration and run.pairs == NEW else None
    write_lines(target / TEACHING, preference_lines(folder, learnt, target))
    write_lines(target / TRAIN, preference_lines(folder, learnt, target, touching))
    first = found
    if iteration:
        first = read_rankings(gallery, read_lines(place(folder, 0) / RANKINGS))
    measured = [one for one in first if gallery.is_held_out(one.prompt)]
    write_lines(target / HELD_OUT, preference_lines(folder, measured, target))


def _aspects_without(gallery: Gallery, found: Sequence[Ranking]) -> list[str]:
    notes: list[str] = []
    for aspect in gallery.aspects:
        own = [one for one in found if one.prompt.aspect == aspect and len(one.places) > 1]
        held_out = sum(gallery.is_held_out(one.prompt) for one in own)
        if not own:
            notes.append(f"the aspect {aspect} has no ranking with a difference: its reward stays as it is")
        elif not held_out or held_out == len(own):
            notes.append(
                f"the aspect {aspect} has {len(own)} rankings, {held_out} of them held out; both kinds are "
                "needed, so its reward stays as it is: rank more prompts"
            )
    return notes


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """`SourceError` for a word that is none of those."""
    if value not in allowed:
        raise SourceError(f"{name} is {value!r}; choose {' or '.join(allowed)}")
