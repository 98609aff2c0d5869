"""What an annotator is asked next: questions of a gallery with the pictures that are there."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .answers import Answer, Question
from .errors import GalleryError
from .gallery import ASPECTS, Gallery, Prompt
from .pictures import picture_digests, picture_file


@dataclass(frozen=True)
class Asked:
    """A prompt with the members that have a picture of it in a run, in the file's order."""

    run: Path
    prompt: Prompt
    members: tuple[str, ...]

    @property
    def question(self) -> Question:
        return self.prompt.aspect, self.prompt.number

    @cached_property
    def digests(self) -> dict[str, str]:
        """A digest of each member's picture, as it was when this was first asked for."""
        return picture_digests(self.run, self.members, self.prompt)

    def shown_to(self, annotator: str) -> list[str]:
        """The members in an order of this annotator's own, so that no place on the page is favoured."""
        shown = list(self.members)
        # One annotator's, however the name is written.
        random.Random(f"{annotator.casefold()}\n{self.prompt.aspect}\n{self.prompt.number}").shuffle(shown)
        return shown


def questions(run: Path, gallery: Gallery, iteration: int = 0) -> tuple[list[Asked], list[str]]:
    """Prompts with at least two pictures of members of an iteration, and sentences on what is not there."""
    members = [member.name for member in gallery.joined(iteration)]
    asked: list[Asked] = []
    absent = dict.fromkeys(members, 0)
    for prompt in sorted(gallery.prompts, key=lambda one: (ASPECTS.index(one.aspect), one.number)):
        there = tuple(name for name in members if picture_file(run, name, prompt).is_file())
        for name in members:
            absent[name] += name not in there
        if len(there) > 1:
            asked.append(Asked(run, prompt, there))
    notes = [
        f"{name} has no picture of {count} of {len(gallery.prompts)} prompts; they are ranked without it"
        for name, count in absent.items()
        if count
    ]
    return asked, notes


def check_there_are(asked: Sequence[Asked], run: Path) -> None:
    """`GalleryError` where there is nothing to ask about."""
    if not asked:
        raise GalleryError(
            f"{run} has no prompt with pictures of two members yet; sample them first: "
            f"instance-composer train itercomp {run} --rewards FOLDER --until sample"
        )


def answered(asked: Asked, answers: Mapping[Question, Answer]) -> bool:
    """Whether there is an answer to this prompt about these pictures, or more; "cannot tell" is one."""
    answer = answers.get(asked.question)
    if answer is None or answer.prompt != asked.prompt.text:
        return False
    if answer.places and not answer.members >= frozenset(asked.members):
        return False
    # Pictures are read only where the answer says which they were.
    return not answer.pictures or answer.is_of(asked.digests)


def of_these_pictures(
    run: Path, gallery: Gallery, answers: Mapping[str, Mapping[Question, Answer]]
) -> tuple[dict[str, dict[Question, Answer]], list[str]]:
    """Answers without those to pictures that others have taken the place of, and sentences on these."""
    prompts = {(one.aspect, one.number): one for one in gallery.prompts}

    def still(answer: Answer) -> bool:
        prompt = prompts.get(answer.question)
        if prompt is None or prompt.text != answer.prompt:
            # To no prompt of the gallery, which is told elsewhere.
            return True
        members = [member for member in answer.pictures if member in gallery.members]
        return answer.is_of(picture_digests(run, members, prompt))

    found: dict[str, dict[Question, Answer]] = {}
    notes: list[str] = []
    for name, own in answers.items():
        found[name] = {question: answer for question, answer in own.items() if still(answer)}
        if earlier := len(own) - len(found[name]):
            notes.append(
                f"{earlier} answers of {name} are to earlier pictures; they are left out until they are "
                "given again"
            )
    return found, notes


def progress(
    asked: Sequence[Asked], answers: Mapping[Question, Answer], aspect: str | None
) -> dict[str, Any]:
    """How many questions there are and are answered, in all and in one aspect."""
    done = {one.question for one in asked if answered(one, answers)}
    own = [one.question for one in asked if one.prompt.aspect == aspect]
    return {
        "done": len(done),
        "all": len(asked),
        "aspect": {"done": sum(one in done for one in own), "all": len(own)},
    }
