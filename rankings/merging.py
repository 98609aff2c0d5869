"""Rankings made of the answers of one or several annotators, and the documented lines of preferences."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .answers import Answer, Question
from .expansion import pairs_of_places, places_of, ranks_of
from .gallery import Gallery, Prompt
from .pictures import picture_file


@dataclass(frozen=True)
class Ranking:
    """Members by place for one prompt, from the best down; those who share a place are tied."""

    prompt: Prompt
    places: tuple[tuple[str, ...], ...]

    @property
    def members(self) -> list[str]:
        return [member for place in self.places for member in place]


def merge(answers: Sequence[Answer]) -> tuple[tuple[str, ...], ...]:
    """The places by the mean of the annotators' ranks, among the members that all of them ranked.

    "Cannot tell" is no opinion; where nobody could tell there are no places. Equal means are a tie.
    """
    told = [answer for answer in answers if answer.places]
    if not told:
        return ()
    common = frozenset.intersection(*(answer.members for answer in told))
    # Who is left out is not between others either, or one annotator's answer would count for more.
    ranks = [_of_members(answer, common).ranks for answer in told]
    # Sums of halves are exact, so equal means are equal numbers.
    sums = {member: sum(one[member] for one in ranks) for member in sorted(common)}
    return tuple(
        tuple(member for member in sums if sums[member] == value) for value in sorted(set(sums.values()))
    )


def rankings(
    gallery: Gallery, answers: Mapping[str, Mapping[Question, Answer]]
) -> tuple[list[Ranking], list[str]]:
    """The ranking of each prompt that somebody could tell, and sentences on answers that do not count."""
    known = set(gallery.members)
    found: list[Ranking] = []
    told: dict[str, int] = {}
    for prompt in gallery.prompts:
        several: list[Answer] = []
        for name, own in answers.items():
            answer = own.get((prompt.aspect, prompt.number))
            if answer is None:
                continue
            if answer.prompt != prompt.text:
                _count(
                    told, f"answers of {name} are to prompts that the gallery has no more; they are left out"
                )
                continue
            if strangers := sorted(one for one in answer.members - known):
                of = ", ".join(strangers)
                _count(told, f"answers of {name} rank {of}, which the gallery has not; they are left out")
            several.append(_of_members(answer, known))
        places = merge(several)
        ranked = frozenset[str]().union(*(one.members for one in several))
        if some := sorted(ranked.difference(*places)):
            _count(told, f"rankings are without {', '.join(some)}, whom not all annotators ranked")
        if places:
            found.append(Ranking(prompt, places))
    return found, [f"{count} {words}" for words, count in told.items()]


def preference_lines(
    run: Path, rankings: Sequence[Ranking], folder: Path, touching: frozenset[str] | None = None
) -> list[dict[str, Any]]:
    """Lines of preferences as reward training reads them, picture files relative to `folder`.

    With `touching`, the pairs that one of these members takes part in, a line each.
    """
    lines: list[dict[str, Any]] = []
    for one in rankings:
        files = {
            member: Path(os.path.relpath(picture_file(run, member, one.prompt), folder)).as_posix()
            for member in one.members
        }
        if touching is None:
            ranks = ranks_of(one.places)
            lines.append(
                {
                    "prompt": one.prompt.text,
                    "images": [files[member] for member in one.members],
                    "ranks": {one.prompt.aspect: [ranks[member] for member in one.members]},
                    "members": one.members,
                    "number": one.prompt.number,
                }
            )
            continue
        lines += [
            {
                "prompt": one.prompt.text,
                "better": files[better],
                "worse": files[worse],
                "aspect": one.prompt.aspect,
            }
            for better, worse in pairs_of_places(one.places, touching)
        ]
    return lines


def read_rankings(gallery: Gallery, lines: Sequence[Mapping[str, Any]]) -> list[Ranking]:
    """Rankings out of lines that `preference_lines` made of them."""
    prompts = {(one.aspect, one.number): one for one in gallery.prompts}
    found: list[Ranking] = []
    for line in lines:
        ((aspect, ranks),) = line["ranks"].items()
        prompt = prompts.get((aspect, line["number"]))
        if prompt is None or prompt.text != line["prompt"]:
            continue
        places = places_of(dict(zip(line["members"], ranks, strict=True)))
        found.append(Ranking(prompt, tuple(tuple(place) for place in places)))
    return found


def _count(told: dict[str, int], words: str) -> None:
    told[words] = told.get(words, 0) + 1


def _of_members(answer: Answer, members: Collection[str]) -> Answer:
    """The answer without anybody else."""
    places = (tuple(one for one in place if one in members) for place in answer.places)
    return replace(answer, places=tuple(place for place in places if place))
