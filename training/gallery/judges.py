"""Judges in place of people: Shapes World's truth, or a vision-language model asked the aspect's question."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from ...models.vision.asking import YesNoModel
from ...models.weights import digest_of_model
from ...pictures.reading import read_picture
from ...rankings.answers import Answer, AnswerFile, check_name
from ...rankings.gallery import ASPECTS, Gallery, Prompt, looks_like_a_hub_name
from ...rankings.pictures import picture_file
from ...rankings.questions import answered, questions
from ...shapes_world import CaptionError
from ...shapes_world.preferences import Content, measure, parse_wish, read_content
from ..data.errors import SourceError
from ..engine.processes import this_process
from ..engine.progress import progress_bar

WORLD = "world"
_WORLDS = f"judge {WORLD}"
# A picture's score for a prompt in the prompt's aspect; nan where it cannot be told.
Judge = Callable[[Image.Image, Prompt], float]

# What a vision-language model is asked; the question of the ranking page, of one picture.
QUESTIONS = {
    "attribute": "Do all things in this picture have the colors, shapes and materials that this text says, "
    'each on the right thing: "{prompt}"? Answer yes or no.',
    "spatial": "Are all things in this picture where this text says, left or right, above or below, in front "
    'or behind: "{prompt}"? Answer yes or no.',
    "non-spatial": "Does this picture show what this text says of numbers, sizes, actions and how things "
    'belong together: "{prompt}"? Answer yes or no.',
}
# Scores closer than this are a tie.
_LEAST = 1e-6


def check_judge(name: str | None) -> None:
    """`SourceError` for a judge's name that can be neither a folder nor a model on the hub."""
    if name not in (None, WORLD) and not Path(name).exists() and not looks_like_a_hub_name(name):
        raise SourceError(
            f"--judge is {name!r}; it is world, the folder of a vision-language model that chats, or such a "
            "model's name on the hub, as owner/model"
        )


def load_judge(name: str, device: str | None = None, run: Path | None = None) -> tuple[str, Judge]:
    """A judge and the annotator's name under which a run keeps its answers; the device is this process's."""
    if name == WORLD:
        return _WORLDS, world_judge
    model = YesNoModel.load(name, device or str(this_process().device or "cpu"))

    def judge(picture: Image.Image, prompt: Prompt) -> float:
        return model.ask(picture, QUESTIONS[prompt.aspect].replace("{prompt}", prompt.text))

    return _annotator(name, run), judge


def _annotator(name: str, run: Path | None) -> str:
    """The name of a model as an annotator, with a mark where another model of that name has answered."""
    last = "".join(filter(str.isprintable, Path(name).name))
    # So long that all of it is taken in the name of a file.
    while len(quote(last)) > 180:
        last = last[:-1]
    own = check_name(f"judge {last[:50]}")
    if run is None:
        return own
    folder = Path(name)
    model = name
    if folder.is_dir():
        model = digest_of_model(folder).get("model") or str(folder.resolve())
    if own.casefold() != _WORLDS and AnswerFile(run, own).is_of_judge(model):
        return own
    return check_name(f"judge {last[:44]} {hashlib.sha256(model.encode()).hexdigest()[:8]}")


def world_judge(picture: Image.Image, prompt: Prompt) -> float:
    """How far a picture of Shapes World fulfils its prompt, 0 to 1, as the world's own judge reads it."""
    try:
        wish = parse_wish(prompt.text)
    except CaptionError:
        return math.nan
    found = measure(wish, _content(picture.size, picture.convert("RGB").tobytes()))
    return found[ASPECTS.index(prompt.aspect)]


# All aspects are asked of a picture one after another.
@lru_cache(maxsize=1)
def _content(size: tuple[int, int], pixels: bytes) -> Content:
    return read_content(np.frombuffer(pixels, np.uint8).reshape(size[1], size[0], 3))


def judge_all(run: Path, gallery: Gallery, name: str, judge: Judge, iteration: int = 0) -> list[str]:
    """Answer every question that this judge has not answered; sentences on what was left open.

    What it cannot tell of a prompt's pictures is answered so; equal scores are a tie.
    """
    asked, notes = questions(run, gallery, iteration)
    file = AnswerFile(run, name)
    answers = file.answers()
    open_ones = [one for one in asked if not answered(one, answers)]
    with progress_bar(name, "prompt", len(open_ones)) as progress:
        for one in open_ones:
            # Before the pictures are looked at: one that changes meanwhile is asked about again.
            digests = one.digests
            scores = {
                member: judge(read_picture(picture_file(run, member, one.prompt)), one.prompt)
                for member in one.members
            }
            file.add(Answer(*one.question, one.prompt.text, places_by_score(scores), digests))
            progress.update()
    unable: dict[str, int] = {}
    for answer in file.answers().values():
        if not answer.places:
            unable[answer.aspect] = unable.get(answer.aspect, 0) + 1
    notes += [f"{name} could not tell of {count} {aspect} prompts" for aspect, count in unable.items()]
    return notes


def places_by_score(scores: dict[str, float]) -> tuple[tuple[str, ...], ...]:
    """Places from the highest score down, equal ones tied; none if one is no number."""
    if not all(math.isfinite(score) for score in scores.values()):
        return ()
    places: list[list[str]] = []
    last = math.inf
    for member in sorted(scores, key=lambda one: -scores[one]):
        if places and last - scores[member] < _LEAST:
            places[-1].append(member)
        else:
            places.append([member])
            last = scores[member]
    return tuple(tuple(place) for place in places)
