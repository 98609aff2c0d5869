"""Own pictures of a tiny model, drawn and ranked: `own_pictures_run.py FOLDER SDXL`, in any processes."""

from __future__ import annotations

import sys
from pathlib import Path

from instance_composer.rankings.gallery import Gallery, Member
from instance_composer.training.iterations.own_pictures import rank_own_pictures

PROMPTS = ("a red circle left of a blue square on white", "a green star on grey", "a pink cross on white")


def rank(folder: Path, sdxl: Path) -> Path:
    """Two pictures of each prompt, ranked by Shapes World's truth."""
    member = Member("base", "diffusers", {"model": str(sdxl), "steps": 2, "guidance": 2.0})
    gallery = Gallery(folder / "gallery.toml", {"base": member}, (), "base", (64, 64))
    return rank_own_pictures(folder, gallery, 0, member, PROMPTS, 2, "world")


if __name__ == "__main__":
    rank(Path(sys.argv[1]), Path(sys.argv[2]))
