"""Pictures that a model draws of its prompts before it is tuned, ranked: what it does well and what badly.

Pictures of other members say less about that: much of what tells them apart is how they are drawn.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils import gather_object
from PIL import Image

from ...models.rewards import reward_files
from ...pictures.reading import read_picture
from ...rankings.gallery import ASPECTS, Gallery, Member, Prompt
from ...rankings.pictures import read_record, write_lines, write_picture
from ..engine.processes import this_process, wait_for_all
from ..engine.progress import progress_bar
from ..gallery.diffusers_member import DiffusersMember
from ..gallery.judges import load_judge, places_by_score
from ..gallery.sampling import settings_of
from .scores import score_pictures
from .state import place, read_lines, rewards_of

FOLDER, FILE = "own", "own.jsonl"
# What one ranking has in memory at once.
MOST_OWN_PICTURES = 64
# What one pass of sampling has in memory at once.
_TOGETHER = 8


class _Own(NamedTuple):
    """A picture to draw: its file, its prompt and its seed."""

    file: Path
    text: str
    seed: int

    @property
    def record(self) -> dict[str, Any]:
        return {"prompt": self.text, "seed": self.seed}


def rank_own_pictures(
    folder: Path,
    gallery: Gallery,
    iteration: int,
    member: Member,
    prompts: Sequence[str],
    count: int,
    judge: str | None,
) -> Path:
    """The file of rankings of `count` pictures of each prompt by this member, made now or earlier.

    The judge ranks, or if there is none the rewards of the iteration. Each process does its share. Rankings
    of earlier iterations follow: what was better than what is as true of the model as it was then.
    """
    target = place(folder, iteration)
    # The gallery's own pictures are of the first seeds, those of each iteration of others.
    first = gallery.seed + 1_000_000 * (iteration + 1)
    own = [
        [
            _Own(target / FOLDER / f"{number:05d}-{n}.png", text, first + number * count + n)
            for n in range(count)
        ]
        for number, text in enumerate(prompts)
    ]
    parts = (group[begin : begin + _TOGETHER] for group in own for begin in range(0, count, _TOGETHER))
    _draw(gallery, member, [*parts])
    state = this_process()
    mine = range(len(prompts))[state.process_index :: state.num_processes]
    scores = _scores([one for number in mine for one in own[number]], judge, rewards_of(folder, iteration))
    ranked = [(number, _line(own[number], scores, target)) for number in mine]
    wait_for_all()
    lines = dict(gather_object(ranked))
    if state.is_main_process:
        write_lines(
            target / FILE, [*(lines[number] for number in sorted(lines)), *_earlier(folder, iteration)]
        )
    wait_for_all()
    return target / FILE


def _draw(gallery: Gallery, member: Member, groups: Sequence[Sequence[_Own]]) -> None:
    """Draw what is missing, a prompt's pictures together: that is faster than one by one."""
    state = this_process()
    settings = settings_of(member, gallery)
    mine = groups[state.process_index :: state.num_processes]
    # Each group whole, so that a run that was broken off goes on to the same pictures to the last bit.
    wanted = [group for group in mine if not all(_is_there(one, settings) for one in group)]
    if wanted:
        drawer = DiffusersMember(member, gallery, torch.device(state.device or "cpu"))
        count = sum(map(len, wanted))
        with progress_bar(member.name, "picture", count, shown=state.is_main_process) as progress:
            for group in wanted:
                pictures = drawer.draw_several(group[0].text, [one.seed for one in group])
                for one, picture in zip(group, pictures, strict=True):
                    if not _is_there(one, settings):
                        write_picture(one.file, picture, {**one.record, **settings})
                    progress.update()
    wait_for_all()


def _is_there(own: _Own, settings: dict[str, Any]) -> bool:
    return own.file.is_file() and read_record(own.file) == {**own.record, **settings}


def _scores(pictures: Sequence[_Own], judge: str | None, rewards: Path) -> dict[str, dict[Path, float]]:
    """What the judge or the rewards say of each picture, by aspect and file."""
    if judge is None:
        asked = [(one.file, one.text) for one in pictures]
        return {
            aspect: {
                one.file: score for one, score in zip(pictures, score_pictures(file, asked), strict=True)
            }
            for aspect, file in reward_files(rewards).items()
        }
    name, judged = load_judge(judge)
    found: dict[str, dict[Path, float]] = {aspect: {} for aspect in ASPECTS}
    with progress_bar(name, "picture", len(pictures), shown=this_process().is_main_process) as progress:
        for one in pictures:
            picture: Image.Image = read_picture(one.file)
            for aspect, own in found.items():
                own[one.file] = judged(picture, Prompt(aspect, 0, one.text))
            progress.update()
    return found


def _earlier(folder: Path, iteration: int) -> list[dict[str, Any]]:
    """Rankings that the iteration before had, as this one's file names their pictures."""
    before = iteration - 1
    file = place(folder, before) / FILE
    if not file.is_file():
        return []
    return [
        {**line, "images": [posixpath.normpath(f"../{before}/{name}") for name in line["images"]]}
        for line in read_lines(file)
    ]


def _line(
    pictures: Sequence[_Own], scores: Mapping[str, Mapping[Path, float]], folder: Path
) -> dict[str, Any]:
    names = [one.file.relative_to(folder).as_posix() for one in pictures]
    ranks: dict[str, list[int]] = {}
    for aspect, known in scores.items():
        own = {name: known[one.file] for name, one in zip(names, pictures, strict=True)}
        # Without places nobody can tell of the aspect.
        if places := places_by_score(own):
            number = {name: rank for rank, tied in enumerate(places, 1) for name in tied}
            ranks[aspect] = [number[name] for name in names]
    return {"prompt": pictures[0].text, "images": names, "ranks": ranks}
