"""What an annotator is asked next: questions of a gallery with the pictures that are there."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .answers import Answer, Question
from .gallery import ASPECTS, Gallery, Prompt
from .pictures import picture_file


@dataclass(frozen=True)
class Asked:
    """A prompt with the members that have a picture of it, in the file's order."""

    prompt: Prompt
    members: tuple[str, ...]

    @property
    def question(self) -> Question:
        return self.prompt.aspect, self.prompt.number

    def shown_to(self, annotator: str) -> list[str]:
        """The members in an order of this annotator's own, so that no place on the page is favoured."""
        shown = list(self.members)
        random.Random(f"{annotator}\n{self.prompt.aspect}\n{self.prompt.number}").shuffle(shown)
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
            asked.append(Asked(prompt, there))
    notes = [
        f"{name} has no picture of {count} of {len(gallery.prompts)} prompts; they are ranked without it"
        for name, count in absent.items()
        if count
    ]
    return asked, notes


def answered(asked: Asked, answers: Mapping[Question, Answer]) -> bool:
    """Whether there is an answer to this prompt about these pictures, or more; "cannot tell" is one."""
    answer = answers.get(asked.question)
    if answer is None or answer.prompt != asked.prompt.text:
        return False
    return not answer.places or answer.members >= frozenset(asked.members)


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
