"""Process that samples in ComfyUI without its server what it is asked for, one line of JSON each way.

`python -m instance_composer.hosts.comfyui.methods.process COMFYUI MODEL [PACKS]`, started in its folder,
loads the demo model folder MODEL, or a transformer's, and answers every line on standard input, a job and a
file, with the picture written there and the seconds it took, or with an error.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ....generation.jobs import Job


def start_comfyui(comfyui: Path, base: str) -> None:
    """Make ComfyUI importable, on the CPU, with a base directory of its own.

    Arguments are not parsed unless ComfyUI's main.py runs, and most modules read them when they are imported.
    """
    sys.path.insert(0, str(comfyui))
    from comfy.cli_args import args

    args.cpu = True
    args.base_directory = base


def answer(parts: Any, vae: Any, job: Job, file: str) -> dict[str, Any]:
    """Make the picture of a job and write it; seconds of CPU time and of the clock, loading not counted."""
    import torch

    started, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        pixels = _reconstruct(vae, job) if job.method == "reconstructed" else _sample(parts, vae, job)
    seconds = {"cpu": time.process_time() - cpu, "clock": time.perf_counter() - started}
    _write(pixels, file)
    return {"file": file, "seconds": seconds}


def load_parts(model: Path, packs: Path | None) -> tuple[Any, Any]:
    """The parts of a packed demo model and its VAE; a transformer draws with those of the pack's."""
    from ....demo import ADAPTER, demo_folder, holds_transformer
    from ..checkpoints.small_flux import load_transformer, load_unpadded_clip
    from ..checkpoints.small_sdxl import load_clip, load_vae
    from ..checkpoints.unet import load_unet
    from ..ifadapter.weights import load_adapter
    from .placing import Parts

    if holds_transformer(model):
        base = demo_folder()
        return Parts(load_transformer(model), load_unpadded_clip(base), None, packs), load_vae(base)
    adapter = load_adapter(model / ADAPTER)
    return Parts(load_unet(str(model)), load_clip(model), adapter, packs), load_vae(model)


def _sample(parts: Any, vae: Any, job: Job) -> Any:
    import comfy.sample
    import torch

    model, positive, negative = _prepare(parts, job)
    settings = job.sampling
    empty = torch.zeros(1, 4, job.height // 8, job.width // 8)
    latents = comfy.sample.sample(
        model,
        comfy.sample.prepare_noise(empty, settings.seed),
        settings.steps,
        settings.cfg,
        settings.sampler,
        settings.scheduler,
        positive,
        negative,
        empty,
        disable_pbar=True,
        seed=settings.seed,
    )
    return vae.decode(latents)


def _prepare(parts: Any, job: Job) -> Any:
    """MODEL, positive and negative, by the method's name in its family."""
    from . import binding, placing

    if job.family == "binding":
        return binding.METHODS[job.method](parts, binding.BindingRequest.from_job(job))
    return placing.METHODS[job.method](parts, placing.Request.from_job(job))


def _reconstruct(vae: Any, job: Job) -> Any:
    import numpy as np
    import torch

    from ....pictures.reading import PictureError, read_picture

    try:
        pixels = np.asarray(read_picture(job.original))
    except PictureError as error:
        raise PictureError(f"{job.original} {error}") from error
    return vae.decode(vae.encode(torch.from_numpy(pixels.astype(np.float32) / 255)[None]))


def _write(pixels: Any, file: str) -> None:
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.rint(pixels[0].float().cpu().numpy() * 255).astype(np.uint8))
    # Whole or not at all: a picture that is there need not be drawn again.
    picture.save(f"{file}.part", format="PNG")
    os.replace(f"{file}.part", file)


def main(comfyui: str, model: str, packs: str | None = None) -> None:
    """Load once, then answer until standard input ends."""
    lines, replies = sys.stdin, sys.stdout
    # Whatever ComfyUI and other packs print must not end up between the answers.
    sys.stdout = sys.stderr
    with tempfile.TemporaryDirectory(prefix="instance-composer-") as base:
        start_comfyui(Path(comfyui), base)
        parts, vae = load_parts(Path(model), None if packs is None else Path(packs))
        print(json.dumps({"ready": True}), file=replies, flush=True)
        for line in lines:
            asked = json.loads(line)
            try:
                reply = answer(parts, vae, Job.from_dict(asked["job"]), asked["file"])
            except Exception as error:
                reply = {"file": asked["file"], "error": f"{type(error).__name__}: {error}"}
            print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
