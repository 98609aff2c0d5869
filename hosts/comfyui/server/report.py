"""The report of `instance-composer doctor`, made by ComfyUI's server about itself."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import folder_paths
from aiohttp import web

from ....doctor.examine import examine
from ....doctor.installation import FOLDERS, Installation
from ....doctor.report import PassRefusedError
from .body import read_body, refusal
from .running import running_server

PATH = "/instance_composer/doctor"
MOST_BYTES = 1_000

logger = logging.getLogger("instance_composer")
_one_at_a_time = asyncio.Lock()


class DrawingError(PassRefusedError):
    """Model files cannot be tried now, because ComfyUI draws."""


async def answer(request: web.Request) -> web.Response:
    """`{"thorough": bool}` to `{"text", "faults"}`; a thorough report has hashes and a pass of each model.

    A thorough one is refused (409) while prompts run or wait: the pass would take the sampled model's memory.
    """
    body = await read_body(request, MOST_BYTES)
    if body is None:
        return refusal(413, f"The request is larger than {MOST_BYTES} bytes.")
    try:
        asked: Any = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        return refusal(400, 'Send {} or {"thorough": true}.')
    thorough = asked.get("thorough") is True
    try:
        async with _one_at_a_time:
            if thorough:
                _check_idle()
            report = await asyncio.to_thread(_examined, thorough)
    except DrawingError as error:
        logger.warning("%s", error)
        return refusal(409, str(error))
    except Exception:
        logger.exception("The report of Instance Composer could not be made.")
        return refusal(500, "The report could not be made; the server's log says why.")
    return web.json_response({"text": str(report), "faults": report.faults})


def _check_idle() -> None:
    """DrawingError while ComfyUI's queue has prompts."""
    queue = getattr(running_server(), "prompt_queue", None)
    if queue is not None and queue.get_tasks_remaining():
        raise DrawingError(
            "The model files were not tried, because ComfyUI is drawing: its memory management serves one "
            "thread alone. Try again when the queue is empty, and queue nothing until the report is there."
        )


def _examined(thorough: bool) -> Any:
    # Only a thorough report needs what these import.
    from ....doctor.model_files import sha256
    from ..checkpoints.unet_pass import predict_noise

    def unet_pass(path: Path, inputs: Mapping[str, Any]) -> Any:
        # Hashes and the files before took minutes, in which a prompt may have begun.
        _check_idle()
        return predict_noise(path, inputs)

    return examine(
        _installation(), thorough=thorough, unet_pass=unet_pass, hashes=sha256 if thorough else None
    )


def _installation() -> Installation:
    try:
        from comfyui_version import __version__ as version
    except ImportError:
        version = "of unknown version"
    known = folder_paths.folder_names_and_paths
    models = {
        name: [Path(folder) for folder in folder_paths.get_folder_paths(name)]
        for name in FOLDERS
        if name in known
    }
    packs = [Path(folder) for folder in folder_paths.get_folder_paths("custom_nodes")]
    return Installation(version, models, packs)
