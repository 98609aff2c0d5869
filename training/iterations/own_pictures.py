"""Pictures that a model draws of its prompts before it is tuned, ranked: what it does well and what badly.

Pictures of other members say less about that: much of what tells them apart is how they are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ...models.rewards import reward_files
from ...pictures.reading import read_picture
from ...rankings.gallery import ASPECTS, Gallery, Member, Prompt
from ...rankings.pictures import read_record, write_lines, write_picture
from ..engine.processes import this_process, wait_for_all
from ..engine.progress import progress_bar
from ..gallery.judges import load_judge, places_by_score
from ..gallery.sampling import open_member, settings_of
from .scores import score_pictures
from .state import place, rewards_of

FOLDER, FILE = "own", "own.jsonl"
# What one ranking has in memory at once.
MOST_OWN_PICTURES = 64


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

    The judge ranks, or if there is none the rewards of the iteration. Each process draws its share.
    """
    target = place(folder, iteration)
    # The gallery's own pictures are of the first seeds, those of each iteration of others.
    first = gallery.seed + 1_000_000 * (iteration + 1)
    asked = [
        (target / FOLDER / f"{number:05d}-{n}.png", text, first + number * count + n)
        for number, text in enumerate(prompts)
        for n in range(count)
    ]
    _draw(gallery, member, asked)
    state = this_process()
    if state.is_main_process:
        files = [file for file, *_ in asked]
        scores = _scores(files, [text for _, text, _ in asked], judge, rewards_of(folder, iteration))
        lines = (
            _line(
                text,
                files[number * count : (number + 1) * count],
                {aspect: own[number * count : (number + 1) * count] for aspect, own in scores.items()},
                target,
            )
            for number, text in enumerate(prompts)
        )
        write_lines(target / FILE, lines)
    wait_for_all()
    return target / FILE


def _draw(gallery: Gallery, member: Member, asked: Sequence[tuple[Path, str, int]]) -> None:
    state = this_process()
    settings = settings_of(member, gallery)
    mine = asked[state.process_index :: state.num_processes]
    wanted = [one for one in mine if not _is_there(*one, settings)]
    if wanted:
        drawer = open_member(member, gallery, state.device or torch.device("cpu"))
        with progress_bar(member.name, "picture", len(wanted), shown=state.is_main_process) as progress:
            for file, text, seed in wanted:
                picture = drawer.draw(Prompt(ASPECTS[0], 0, text), seed)
                write_picture(file, picture, {"prompt": text, "seed": seed, **settings})
                progress.update()
    wait_for_all()


def _is_there(file: Path, text: str, seed: int, settings: dict[str, Any]) -> bool:
    return file.is_file() and read_record(file) == {"prompt": text, "seed": seed, **settings}


def _scores(
    files: Sequence[Path], texts: Sequence[str], judge: str | None, rewards: Path
) -> dict[str, list[float]]:
    """What the judge or the rewards say of each picture, by aspect."""
    if judge is None:
        return {
            aspect: score_pictures(file, [*zip(files, texts, strict=True)])
            for aspect, file in reward_files(rewards).items()
        }
    name, judged = load_judge(judge)
    found: dict[str, list[float]] = {aspect: [] for aspect in ASPECTS}
    with progress_bar(name, "picture", len(files)) as progress:
        for file, text in zip(files, texts, strict=True):
            picture: Image.Image = read_picture(file)
            for aspect, own in found.items():
                own.append(judged(picture, Prompt(aspect, 0, text)))
            progress.update()
    return found


def _line(text: str, files: Sequence[Path], scores: dict[str, list[float]], folder: Path) -> dict[str, Any]:
    names = [file.relative_to(folder).as_posix() for file in files]
    ranks: dict[str, list[int]] = {}
    for aspect, own in scores.items():
        # Without places nobody can tell of the aspect.
        if places := places_by_score(dict(zip(names, own, strict=True))):
            number = {name: rank for rank, tied in enumerate(places, 1) for name in tied}
            ranks[aspect] = [number[name] for name in names]
    return {"prompt": text, "images": names, "ranks": ranks}
