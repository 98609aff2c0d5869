"""What a loop has done, as plain files: a folder for each iteration, a mark for each finished stage."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...models.weights import digest_of_weights
from ...rankings.gallery import TUNED, Gallery, Member
from ..data.errors import SourceError
from ..engine.checkpoint import write_whole
from ..itercomp.feedback_task import LORA, UNET
from .stage_names import STAGE_NAMES


def place(folder: Path, iteration: int) -> Path:
    """The folder of an iteration, counted from 0."""
    return folder / "iterations" / str(iteration)


def rewards_of(folder: Path, iteration: int) -> Path:
    """The reward models that an iteration ends with, one file for each aspect."""
    return place(folder, iteration) / "rewards"


def tuned_model(folder: Path, iteration: int, rank: int) -> Path:
    """What an iteration's feedback learning wrote: a UNet folder, or with a rank a LoRA."""
    return place(folder, iteration) / "feedback" / "model" / (LORA if rank else UNET)


def tuned_member(folder: Path, gallery: Gallery, iteration: int, rank: int) -> Member:
    """The base as iteration `iteration` tuned it, which is a member from the next one on."""
    base = gallery.members[gallery.base]
    own = {"lora" if rank else "unet": str(tuned_model(folder, iteration, rank))}
    return Member(f"{TUNED}{iteration + 1}", base.kind, {**base.options, **own}, iteration + 1)


def with_tuned(folder: Path, gallery: Gallery, iterations: int, rank: int) -> Gallery:
    """The gallery with the tuned bases of the first `iterations` iterations, before other newcomers."""
    return gallery.with_members([tuned_member(folder, gallery, number, rank) for number in range(iterations)])


def tuned_digest(model: Path) -> str:
    """A digest of what feedback learning wrote, a UNet folder or a LoRA."""
    return digest_of_weights(sorted(model.glob("*.safetensors")) if model.is_dir() else [model])


def check_tuned(folder: Path, iterations: int, rank: int) -> None:
    """`SourceError` where what the first `iterations` iterations tuned is not what this rank asks for."""
    for number in range(iterations):
        check_rank(folder, number, rank)
        if not tuned_model(folder, number, rank).exists():
            raise SourceError(
                f"there is no {tuned_model(folder, number, rank)} of iteration {number}; tune it again with "
                f"--stage feedback --iteration {number}"
            )


def check_rank(folder: Path, iteration: int, rank: int) -> None:
    """`SourceError` where an iteration tuned a LoRA and the rank asks for a UNet, or the other way round."""
    other = tuned_model(folder, iteration, 0 if rank else 1)
    if other.exists() and not tuned_model(folder, iteration, rank).exists():
        was = "a whole UNet" if rank else "a LoRA"
        now = "leave --rank out" if rank else "give the --rank that it was started with"
        raise SourceError(f"iteration {iteration} tuned {was}, {other}; {now}")


def mark_undone(folder: Path, iteration: int, stage: str) -> None:
    """Take the note back that a stage is finished: it begins again."""
    _mark(folder, iteration, stage).unlink(missing_ok=True)


def is_done(folder: Path, iteration: int, stage: str) -> bool:
    """Whether a stage was finished."""
    return _mark(folder, iteration, stage).is_file()


def mark_done(folder: Path, iteration: int, stage: str, facts: Mapping[str, Any]) -> None:
    """Note that a stage is finished, and what there is to say of it."""
    write_json(_mark(folder, iteration, stage), {"iteration": iteration, "stage": stage, **facts})


def notes_of(folder: Path, iteration: int, stages: Sequence[str] = STAGE_NAMES) -> list[str]:
    """What was said of an iteration's stages."""
    found: list[str] = []
    for stage in stages:
        mark = _mark(folder, iteration, stage)
        if mark.is_file():
            found += read_json(mark).get("notes", [])
    return found


def next_stage(folder: Path, iterations: int) -> tuple[int, str] | None:
    """The first stage that is not finished; None if all are."""
    for iteration in range(iterations):
        for stage in STAGE_NAMES:
            if not is_done(folder, iteration, stage):
                return iteration, stage
    return None


@contextmanager
def timed(folder: Path, iteration: int, stage: str, processes: int, wanted: bool) -> Iterator[None]:
    """Add the time that a stage took to `costs.jsonl`, broken off or not; several lines of a stage add up."""
    started = time.perf_counter()
    try:
        yield
    finally:
        if wanted:
            seconds = round(time.perf_counter() - started, 1)
            line = {"iteration": iteration, "stage": stage, "seconds": seconds, "processes": processes}
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "costs.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def costs(folder: Path, iteration: int) -> dict[str, float]:
    """Seconds of each stage of an iteration so far, over all its attempts."""
    found: dict[str, float] = dict.fromkeys(STAGE_NAMES, 0.0)
    file = folder / "costs.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        values = json.loads(line)
        if values["iteration"] == iteration:
            found[values["stage"]] += values["seconds"]
    return found


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file; `SourceError` says what is missing."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except FileNotFoundError:
        raise SourceError(f"there is no {path}; an earlier stage writes it: run that first") from None
    except json.JSONDecodeError as error:
        raise SourceError(f"{path} holds a line that is no JSON ({error}); run its stage again") from error


def read_json(path: Path) -> dict[str, Any]:
    """The values of a JSON file that this program wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values, whole or not at all."""
    write_whole(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def _mark(folder: Path, iteration: int, stage: str) -> Path:
    return place(folder, iteration) / f"done-{stage}.json"
