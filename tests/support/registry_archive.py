"""The files that the ComfyUI registry hands to users. Standard library only."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def archived_files() -> list[Path]:
    """What git tracks without what .comfyignore names, as the registry's client packs it; relative."""
    left_out = {*_listed("--cached", "--ignored", "--exclude-from=.comfyignore")}
    return sorted(Path(name) for name in _listed("--cached") if name not in left_out)


def unpack_archive(folder: Path) -> Path:
    """Write the archive's files into a folder, and return it."""
    for file in archived_files():
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / file, target)
    return folder


def _listed(*arguments: str) -> list[str]:
    command = ["git", "ls-files", "-z", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (REPOSITORY / name).is_file()]
