"""Sampling of a gallery: a picture for each member and prompt, each made once, by all processes together."""

from __future__ import annotations

import gc
import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from PIL import Image

from ...rankings.gallery import Gallery, Member, Prompt
from ...rankings.kinds import PATHS
from ...rankings.pictures import each_once, missing, picture_file, write_picture
from ..engine.processes import this_process, wait_for_all
from ..engine.progress import progress_bar
from .comfyui_member import ComfyUIMember
from .diffusers_member import DiffusersMember
from .drawer import Drawer
from .folder_member import FolderMember
from .sdxl_member import ConcentrationMember, IFAdapterMember

# What stands between a member and its picture, and is told: files, models, servers, and the device's memory.
FAULTS = (ValueError, OSError, ImportError, torch.OutOfMemoryError)

logger = logging.getLogger("instance_composer")


def sample(run: Path, gallery: Gallery, members: Sequence[Member], prompts: Sequence[Prompt]) -> list[str]:
    """Make the pictures that are missing; sentences on members and prompts without a picture.

    Each process makes its share of each member's. What goes wrong with one member does not concern the
    others.
    """
    state = this_process()
    notes: list[str] = []
    for member in members:
        # By place among all prompts: which ones are missing changes while others work.
        mine = each_once(prompts)[state.process_index :: state.num_processes]
        try:
            seed = gallery.seed if _is_seeded(member) else None
            wanted = missing(run, member.name, mine, settings_of(member, gallery), seed)
            notes += _draw(run, gallery, member, wanted, state) if wanted else []
        except FAULTS as error:
            notes.append(f"{member.name} draws nothing: {error}")
        gc.collect()
    if not state.is_main_process:
        # Whoever calls this in the first process tells its own.
        for note in notes:
            logger.warning("%s", note)
    wait_for_all()
    return notes


def other_sizes(run: Path, gallery: Gallery, members: Sequence[Member]) -> list[str]:
    """Sentences on members with pictures of another size than the gallery's, from which tuning cannot learn.

    A folder and a server give what they have; heads of files are read alone.
    """
    notes: list[str] = []
    width, height = gallery.size
    for member in members:
        if member.kind not in ("folder", "comfyui"):
            continue
        files = [picture_file(run, member.name, prompt) for prompt in each_once(gallery.prompts)]
        other = [file for file in files if file.is_file() and _size_of(file) != gallery.size]
        if other:
            wide, high = _size_of(other[0])
            notes.append(
                f"{member.name} has {len(other)} pictures of another size than the gallery's {width} × "
                f"{height}, {other[0]} of {wide} × {high}: the stage feedback cannot learn from their "
                "rankings and will refuse them; have it give that size, or leave --ranking-weight out"
            )
    return notes


def _size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def settings_of(member: Member, gallery: Gallery) -> dict[str, Any]:
    """What decides a member's pictures besides prompt and seed, files by name; kept in each picture."""
    options = {
        name: Path(value).name if name in PATHS else value for name, value in sorted(member.options.items())
    }
    own: dict[str, Any] = {} if member.kind == "folder" else {"size": list(gallery.size)}
    workflow = member.path("workflow")
    if workflow is not None and workflow.is_file():
        # A workflow is changed under its name, as weights seldom are.
        own["workflow"] = hashlib.sha256(workflow.read_bytes()).hexdigest()[:16]
    return {"kind": member.kind, "options": options, **own}


def _is_seeded(member: Member) -> bool:
    """Whether the seed decides what a member draws."""
    return member.kind != "folder" and (member.kind != "comfyui" or "seed" in member.options)


def open_member(member: Member, gallery: Gallery, device: torch.device) -> Drawer:
    """A member ready to draw; ValueError or OSError say why it is not."""
    if member.kind == "folder":
        return FolderMember(member)
    if member.kind == "comfyui":
        return ComfyUIMember(member, gallery)
    if member.kind == "ifadapter":
        return IFAdapterMember(member, gallery, device)
    if member.kind == "concentration":
        return ConcentrationMember(member, gallery, device)
    return DiffusersMember(member, gallery, device)


def _draw(
    run: Path, gallery: Gallery, member: Member, wanted: Sequence[Prompt], state: PartialState
) -> list[str]:
    drawer = open_member(member, gallery, torch.device(state.device or "cpu"))
    notes = list(getattr(getattr(drawer, "layouts", None), "notes", []))
    failed: list[str] = []
    started = time.perf_counter()
    with progress_bar(member.name, "picture", len(wanted), shown=state.is_main_process) as progress:
        for prompt in wanted:
            seed = gallery.seed + prompt.number
            try:
                picture = drawer.draw(prompt, seed)
            except FAULTS as error:
                failed.append(str(error))
            else:
                record = {
                    "member": member.name,
                    "aspect": prompt.drawn_for,
                    "number": prompt.number,
                    "prompt": prompt.text,
                    "seed": seed,
                    **settings_of(member, gallery),
                }
                write_picture(picture_file(run, member.name, prompt), picture, record)
            progress.update()
    if drawn := len(wanted) - len(failed):
        seconds = (time.perf_counter() - started) / drawn
        logger.info("%s: %d pictures, %.2f s each", member.name, drawn, seconds)
    if failed:
        more = f" (and {len(failed) - 1} prompts more)" if len(failed) > 1 else ""
        notes.append(f"{member.name} has no picture for a prompt: {failed[0]}{more}")
    return notes
