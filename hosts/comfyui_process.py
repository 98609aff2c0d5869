"""Process in which ComfyUI samples, seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..generation.jobs import Job, Seconds

_PROCESS = "instance_composer.hosts.comfyui.methods.process"


class SamplingError(ValueError):
    """ComfyUI is not there, ended, or could not make a picture."""


class ComfyUIProcess:
    """A running process that draws one job after the other."""

    def __init__(self, process: subprocess.Popen[str], log: Any) -> None:
        self._process, self._log = process, log

    def draw(self, job: Job, file: Path) -> Seconds:
        """Write the picture of a job; `SamplingError` names its method."""
        assert self._process.stdin is not None
        asked = {"job": job.to_dict(), "file": str(file.resolve())}
        # A process that is gone leaves the reason in its log, which is read below.
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{json.dumps(asked)}\n")
            self._process.stdin.flush()
        reply = self.read()
        if "error" in reply:
            raise SamplingError(f"{job.method}: {reply['error']}")
        return reply["seconds"]

    def read(self) -> dict[str, Any]:
        """The next answer; `SamplingError` with the end of the log if the process is gone."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            last = self._log.read().decode(errors="replace").strip().splitlines()[-3:]
            raise SamplingError(f"the ComfyUI process ended: {' | '.join(last) or 'without a word'}")
        return json.loads(line)


@contextmanager
def running_comfyui(
    comfyui: Path, model: Path, packs: Path | None, python: str | None = None, threads: int = 1
) -> Iterator[ComfyUIProcess]:
    """A process that has loaded the demo model in the ComfyUI of this folder."""
    comfyui = comfyui.expanduser().resolve()
    if not (comfyui / "comfy").is_dir():
        raise SamplingError(f"there is no ComfyUI in {comfyui}; name the folder that holds its main.py")
    words: Sequence[str] = [python or sys.executable, "-m", _PROCESS, str(comfyui), str(model.resolve())]
    words = [*words, *([] if packs is None else [str(packs.expanduser().resolve())])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            words,
            cwd=comfyui,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            running = ComfyUIProcess(process, log)
            running.read()
            yield running
        finally:
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
