"""Drawing of a benchmark's cases: what is missing of a way, picture by picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from ...generation.jobs import Drawer, Job, Sampling
from ...layout import Layout
from ...pictures.reading import read_picture
from ...shapes_world import CaptionError, join, parse
from .cases import Case
from .run_folder import Findings, RunFolder, Shard

# Of benchmarks whose pictures have a name that ends in .jpg.
_JPEG_QUALITY = 95
SECONDS = "seconds"


class Drawn(Protocol):
    """What pictures are drawn by: the name of their folder, and the job of each."""

    @property
    def name(self) -> str: ...

    def job(self, case: Case, /) -> Job:
        """The picture of a case, asked for in this way."""
        ...


@dataclass(frozen=True)
class Way:
    """A way of drawing: the name of its folder, its method in a family, and the settings of every picture.

    Picture n of a benchmark has the case's own seed. `size` in pixels takes the place of the canvas.
    """

    name: str
    family: str
    method: str
    sampling: Sampling
    size: tuple[int, int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def job(self, case: Case) -> Job:
        """The picture of a case, asked for in this way."""
        canvas = case.layout.canvas
        width, height = self.size or (canvas.width, canvas.height)
        sampling = replace(self.sampling, seed=case.seed)
        options = {**self.options, "sentences": _sentences(case.layout)}
        return Job(self.family, self.method, case.layout, width, height, sampling, options)


def draw(
    run: RunFolder,
    way: Drawn,
    open_drawer: Callable[[], AbstractContextManager[Drawer]],
    shard: Shard | None = None,
    on_picture: Callable[[int], object] = lambda count: None,
) -> int:
    """Draw what is missing of a part of the cases; the number of pictures drawn."""
    part = shard or Shard()
    cases = part.of(run.cases)
    missing = [(way, case) for case in cases if not run.picture(way.name, case).is_file()]
    on_picture(len(cases) - len(missing))
    draw_each(run, missing, open_drawer, part, on_picture)
    return len(missing)


def draw_each(
    run: RunFolder,
    missing: Sequence[tuple[Drawn, Case]],
    open_drawer: Callable[[], AbstractContextManager[Drawer]],
    part: Shard,
    on_picture: Callable[[int], object] = lambda count: None,
) -> None:
    """Draw these pictures in this order, of one way or of several.

    A picture is written whole or not at all, and depends on its case alone: stopped at any time, continued,
    or shared by processes, the same files come out. The drawer is opened only if something is missing.
    """
    if not missing:
        return
    seconds: dict[str, Findings] = {}
    with open_drawer() as drawer:
        for way, case in missing:
            target = run.picture(way.name, case)
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f".unfinished-{part.index}-{os.getpid()}.png")
            try:
                taken = drawer.draw(way.job(case), unfinished)
                # Noted first, so that no picture that is there lacks its seconds.
                if way.name not in seconds:
                    seconds[way.name] = run.open_findings(way.name, SECONDS, part)
                seconds[way.name].add({case.id: taken})
                _finish(unfinished, target)
            finally:
                unfinished.unlink(missing_ok=True)
            on_picture(1)


def _sentences(layout: Layout) -> list[str]:
    """What each instance is asked for by, where regions have prompts of their own: its caption.

    The demo model never read a caption of its world without a background, which is added there.
    """
    captions = [one.caption for one in layout.active]
    try:
        _, background = parse(layout.prompt)
    except CaptionError:
        return captions
    return [join([caption], background) for caption in captions]


def _finish(unfinished: Path, target: Path) -> None:
    """Give a picture its name, as the kind of file that the name says."""
    if target.suffix.lower() in (".jpg", ".jpeg"):
        picture: Image.Image = read_picture(unfinished)
        picture.save(unfinished, "JPEG", quality=_JPEG_QUALITY)
    os.replace(unfinished, target)
