"""Drawer of jobs in diffusers: a pipeline that is loaded once, and a method by name."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionXLPipeline

from ....generation.diffusers_methods import METHODS as KNOWN
from ....generation.jobs import Job, Seconds
from ....models.ifadapter import IFAdapter
from ..errors import UnsuitableModelError
from ..pipeline import fit_size
from .drawing import METHODS, Request


@dataclass
class DiffusersDrawer:
    """A `Drawer` of the family "diffusers"; the adapter is needed by those methods that say so."""

    pipeline: StableDiffusionXLPipeline
    adapter: IFAdapter | None = None

    def draw(self, job: Job, file: Path) -> Seconds:
        """Write the picture of a job; ValueError for what its method lacks or cannot do."""
        method = KNOWN[job.method]
        if method.adapter and self.adapter is None:
            raise UnsuitableModelError(f"{job.method} draws with an IFAdapter; name its file with --adapter")
        if method.boxes and not job.layout.active:
            raise UnsuitableModelError(
                f"{job.method} needs boxes, and this picture is asked for by its prompt alone; draw plain"
            )
        size = fit_size(self.pipeline, job.width, job.height)
        if size != (job.width, job.height):
            raise UnsuitableModelError(
                f"SDXL makes pictures in steps of 8 pixels, which {job.width} x {job.height} is not; name a "
                f"--size WxH in steps of 8, such as --size {size[0]}x{size[1]}"
            )
        started, cpu = time.perf_counter(), time.process_time()
        picture: Any = METHODS[job.method](Request(self.pipeline, job, self.adapter))
        seconds = {"cpu": time.process_time() - cpu, "clock": time.perf_counter() - started}
        picture.save(file, "PNG")
        return seconds
