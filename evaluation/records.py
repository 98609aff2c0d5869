"""An evaluation on disk: pictures, what the judge says of each, and what is still missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..generation.comfyui_process import Sampler, running_comfyui
from ..generation.methods import NOT_SAMPLED
from ..layout import Layout
from ..pictures.reading import read_picture
from .scenes import PlanError, Scenes
from .scorers.features import PictureFeatures
from .scorers.placement import score

Record = dict[str, Any]
AnyPlan = TypeVar("AnyPlan", bound=Scenes)
Score = Callable[[NDArray[np.uint8], Layout], dict[str, Any]]
# Digits of a feature that are kept; the judge's own noise is far above.
_DIGITS = 5


class Evaluation(Generic[AnyPlan]):
    """A folder with `plan.json`, `records.jsonl` (one line a picture) and `pictures/<method>/<number>.png`.

    It continues where it stopped: methods and numbers may be added at any time, what is there is kept. Two
    processes may share the folder as long as no method is run by both. `judge` says what a picture shows of
    its layout, as plain JSON values.
    """

    def __init__(self, folder: Path, plan: AnyPlan, model: Path, judge: Score = score) -> None:
        self.folder, self.plan, self.model, self.judge = folder, plan, model, judge
        folder.mkdir(parents=True, exist_ok=True)
        self._check_plan(folder / "plan.json")
        self.records = {(one["method"], one["number"]): one for one in self._read()}

    def missing(self, methods: Sequence[str], count: int) -> list[tuple[str, int]]:
        """Method and number of every picture without a record, number by number.

        So that a run that is stopped has as many pictures of each method.
        """
        return [(m, n) for n in range(count) for m in methods if (m, n) not in self.records]

    def run(
        self,
        methods: Sequence[str],
        count: int,
        comfyui: Path | None,
        packs: Path | None,
        python: str | None = None,
        threads: int = 1,
        on_picture: Callable[[], object] = lambda: None,
    ) -> None:
        """Make and judge what is missing; `on_picture` is called after each."""
        missing = self.missing(methods, count)
        features = PictureFeatures(self.model) if missing else None
        with ExitStack() as stack:
            sampler: Sampler | None = None
            if any(method != "real" for method, _ in missing):
                if comfyui is None:
                    raise PlanError("--comfyui: name the folder of a ComfyUI, in which the methods are run")
                sampler = stack.enter_context(running_comfyui(comfyui, self.model, packs, python, threads))
                self._warm_up(sampler)
            for method, number in missing:
                seconds = self._make(sampler, method, number)
                self._record(method, number, seconds, features)
                on_picture()

    def complete(self, methods: Sequence[str]) -> dict[str, list[Record]]:
        """For each method its records of the scenes that all of them have been run on.

        Raises ValueError for fewer than 3, which say nothing.
        """
        done = [{n for m, n in self.records if m == method} for method in methods]
        numbers = sorted(set.intersection(*done))
        if len(numbers) < 3:
            raise ValueError(
                f"{len(numbers)} layouts have been run with all of {', '.join(methods)}; 3 are needed"
            )
        return {method: [self.records[method, number] for number in numbers] for method in methods}

    def reference(self, count: int) -> np.ndarray:
        """Features (count, d) of real renders of other scenes; made once."""
        path = self.folder / "reference.npy"
        known = np.load(path) if path.is_file() else np.zeros((0, 0))
        if len(known) >= count:
            return known[:count]
        features = PictureFeatures(self.model)
        made = np.stack([features(self.plan.reference(n).image) for n in range(count)])
        np.save(path, made)
        return made

    def _check_plan(self, file: Path) -> None:
        now = self.plan.to_dict()
        if not file.is_file():
            file.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
            return
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [
            f"{name} was {before.get(name)} and is now {now[name]}"
            for name in now
            if before.get(name) != now[name]
        ]
        if changed:
            raise PlanError(
                f"{self.folder} holds another evaluation: {'; '.join(changed)}. Name another folder, or "
                "continue with the same settings"
            )

    def _read(self) -> Iterator[Record]:
        """The records; what a run that was killed left of its last line is taken out of the file."""
        file = self.folder / "records.jsonl"
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            file.write_text(whole, encoding="utf-8")
        yield from map(json.loads, whole.splitlines())

    def _picture(self, method: str, number: int) -> Path:
        return self.folder / "pictures" / method / f"{number:05d}.png"

    def _make(self, sampler: Sampler | None, method: str, number: int) -> dict[str, float] | None:
        """Write a picture; the seconds it took, None for what was not sampled."""
        path = self._picture(method, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if method in NOT_SAMPLED:
            original = self._picture("real", number)
            original.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(self.plan.sample(number).image).save(original)
            if method == "real":
                return None
            assert sampler is not None
            sampler.sample(
                {"method": method, "file": str(path.resolve()), "original": str(original.resolve())}
            )
            return None
        assert sampler is not None
        return sampler.sample({**self.plan.job(method, number), "file": str(path.resolve())})

    def _warm_up(self, sampler: Sampler) -> None:
        """The first picture of a process pays for what is loaded and cached once."""
        path = self.folder / "pictures" / f"warm-up-{os.getpid()}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        sampler.sample({**self.plan.job("plain", 0), "steps": 1, "file": str(path.resolve())})
        path.unlink()

    def _record(self, method: str, number: int, seconds: Any, features: Any) -> None:
        image = np.array(read_picture(self._picture(method, number)))
        layout: Layout = self.plan.sample(number).layout
        record: Record = {
            "method": method,
            "number": number,
            "things": len(layout.active),
            "seconds": seconds,
            **self.judge(image, layout),
            "features": [float(f"{value:.{_DIGITS}g}") for value in features(image)],
        }
        with (self.folder / "records.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(record)}\n")
        self.records[method, number] = record
